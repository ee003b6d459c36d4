"""Checks of this machine: the compiled module, adapters, limits of sidecars, file events."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from casparian.adapters.host.sandbox.trial import missing_layers
from casparian.app.cli._findings import Finding, Findings, ok, problem, warning
from casparian.app.cli._output import count
from casparian.app.registry import Registry
from casparian.app.settings import Settings
from casparian.domain.errors import ConfigurationError
from casparian.domain.sandbox import PROMISE, REMEDY, Grants, Layer, level_text

HOST = "[plugin_host]"
SANDBOX = "[plugins] sandbox"
WATCHES = Path("/proc/sys/fs/inotify/max_user_watches")
SHARE = 0.8


def check_compiled() -> Finding:
    from casparian import _fastpath

    if _fastpath.IMPLEMENTATION == "pure":
        return warning("compiled module", "The pure-Python twin is in use.", _fastpath.WHY)
    return ok("compiled module", f"The {_fastpath.IMPLEMENTATION} fast path is in use.")


def check_adapters(settings: Settings, registry: Registry) -> Findings:
    """The plugin host that the file names exists."""
    known = sorted(registry.plugin_hosts)
    if settings.plugin_host.adapter not in known:
        yield problem(
            HOST,
            f"There is no plugin host {settings.plugin_host.adapter!r}.",
            f"Choose one of {', '.join(known)}.",
        )


def check_sandbox(settings: Settings) -> Findings:
    """What really stands between a plugin and this machine."""
    if settings.plugin_host.adapter == "inline":
        yield warning(
            SANDBOX,
            "Plugins run inside the engine's process: no limit holds them.",
            'Use plugin_host.adapter = "subprocess" outside of tests.',
        )
        return
    if settings.plugin_host.adapter != "subprocess":
        yield ok(SANDBOX, f"It is what the plugin host {settings.plugin_host.adapter} makes it.")
        return
    if not hasattr(os, "pidfd_open"):
        yield problem(
            HOST, "The system has no handles of processes (pidfd).", "Use Linux 5.3 or newer."
        )
    memory_mb = max((p.memory_mb for p in settings.plugin.values()), default=2048)
    yield from _check_memory(memory_mb, resource.getrlimit(resource.RLIMIT_DATA)[1])
    if settings.plugins.sandbox == "off":
        yield warning(
            SANDBOX,
            "It is off: plugins may read, write and start what the engine's user may.",
            'Write sandbox = "auto", and grant plugins what they need.',
        )
        return
    yield from _check_layers(settings, memory_mb)
    for name, section in settings.plugin.items():
        for path in section.allow_read:
            if not settings.path(path).exists():
                yield problem(
                    f"[plugin.{name}] allow_read",
                    f"{settings.path(path)} does not exist, and without it the plugin is not run.",
                    "Correct it, or put it there.",
                )


def _check_memory(memory_mb: int, most: int) -> Findings:
    """`most`: what this user may give to a process, in bytes."""
    if most != resource.RLIM_INFINITY and most < memory_mb << 20:
        yield warning(
            SANDBOX,
            f"Sidecars get {most >> 20} MiB, since this user's limit is lower than the "
            f"configured {memory_mb}.",
            "Raise the limit (ulimit -d) of the engine's user.",
        )


def _check_layers(settings: Settings, memory_mb: int) -> Findings:
    try:
        missing = missing_layers(memory_mb)
    except ConfigurationError as error:
        yield problem(
            SANDBOX,
            str(error),
            "Run the engine where limits can be set (Linux 5.3 or newer), with enough memory.",
        )
        return
    tell = problem if settings.plugins.sandbox == "required" else warning
    for layer in missing:
        yield tell(SANDBOX, f"Sidecars are without the layer {layer}.", REMEDY[layer.layer])
    held = [PROMISE[layer] for layer in Layer if layer not in {m.layer for m in missing}]
    level = level_text([m.layer for m in missing], Grants())
    yield ok(SANDBOX, f"Sidecars have ({level}): {', '.join(held)}.")


def check_watches(settings: Settings) -> Findings:
    """Whether every directory of the source roots can be watched for events."""
    if not settings.scout.watch:
        yield ok("[scout] watch", "Off: changes are found by full scans alone.")
        return
    try:
        limit = int(WATCHES.read_text())
    except (OSError, ValueError):
        yield warning(
            "[scout] watch",
            f"{WATCHES} cannot be read: how many directories can be watched is not known.",
            "Changes are found by full scans in any case.",
        )
        return
    directories = _directories(settings, limit)
    if directories > limit * SHARE:
        yield warning(
            "[scout] watch",
            f"The source roots have {directories:,} directories or more; this system watches "
            f"{limit:,} for each user.",
            f"Run `sysctl fs.inotify.max_user_watches={max(limit, directories) * 2}`, or set "
            "watch = false: changes are then found by full scans.",
        )
    else:
        watched = count(directories, "directory", "directories")
        yield ok("[scout] watch", f"{watched} of {limit:,} that can be watched.")


def _directories(settings: Settings, at_most: int) -> int:
    """Directories in all source roots; counting ends shortly after `at_most`."""
    found = 0
    for root in settings.source_root:
        for _, below, _ in os.walk(settings.path(root.path)):
            found += 1
            if found + len(below) > at_most:
                return found + len(below)
    return found
