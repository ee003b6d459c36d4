"""Checks of this machine: the compiled module, adapters, limits of sidecars, file events."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from casparian.app.cli._findings import Finding, Findings, ok, problem, warning
from casparian.app.cli._output import count
from casparian.app.registry import Registry
from casparian.app.settings import Settings

HOST = "[plugin_host]"
SANDBOX = "[plugins] sandbox"
WATCHES = Path("/proc/sys/fs/inotify/max_user_watches")
SHARE = 0.8

# Takes the limits a sidecar takes, in a process of its own, and says which the system gave.
TRIAL = """
import ctypes, json, os, resource, sys
def limit(kind, value):
    hard = resource.getrlimit(kind)[1]
    given = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (given, given))
    return given
told = {"memory": limit(resource.RLIMIT_DATA, int(sys.argv[1]) << 20)}
told["cpu"] = limit(resource.RLIMIT_CPU, int(sys.argv[2]))
libc = ctypes.CDLL(None, use_errno=True)
told["no_new_privileges"] = libc.prctl(38, 1, 0, 0, 0) == 0
told["handles"] = hasattr(os, "pidfd_open")
if told["handles"]:
    os.close(os.pidfd_open(os.getpid()))
print(json.dumps(told))
"""


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
    memory = max((p.memory_mb for p in settings.plugin.values()), default=2048)
    cpu = max((p.cpu_s for p in settings.plugin.values()), default=3600)
    trial = subprocess.run(
        [sys.executable, "-I", "-c", TRIAL, str(memory), str(cpu)],
        capture_output=True,
        text=True,
        check=False,
    )
    if trial.returncode != 0:
        reason = (trial.stderr.strip().splitlines() or [f"exit code {trial.returncode}"])[-1]
        yield problem(
            SANDBOX,
            f"A process with a sidecar's limits does not start: {reason}.",
            "Run the engine where limits can be set (Linux 5.3 or newer), with enough memory.",
        )
        return
    yield from _layers(json.loads(trial.stdout), memory)


def _layers(told: dict[str, int], memory_mb: int) -> Findings:
    if not told["handles"]:
        yield problem(
            HOST, "The system has no handles of processes (pidfd).", "Use Linux 5.3 or newer."
        )
    if told["memory"] < memory_mb << 20:
        yield warning(
            SANDBOX,
            f"Sidecars get {told['memory'] >> 20} MiB, since this user's limit is lower than "
            f"the configured {memory_mb}.",
            "Raise the limit (ulimit -d) of the engine's user.",
        )
    if not told["no_new_privileges"]:
        yield warning(
            SANDBOX,
            "Sidecars can gain privileges by programs that are set-user-id.",
            "Use a kernel with PR_SET_NO_NEW_PRIVS.",
        )
    else:
        yield ok(
            SANDBOX,
            "Sidecars have limits of memory, CPU time and files, a cleared environment and no "
            "way to new privileges; they do read what the engine's user may read.",
        )


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
