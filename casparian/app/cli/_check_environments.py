"""Checks of what plugins ask for in script metadata: it is made here where it is missing, and held
against what it was when jobs ran in it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from threading import Event

from casparian.app.cli._findings import Finding, Findings, ok, problem, warning
from casparian.app.code_guard import deployed_plugins
from casparian.app.loader import PluginRegistry
from casparian.app.registry import Registry
from casparian.app.settings import Settings
from casparian.domain.errors import CasparianError, ConfigurationError
from casparian.domain.ports import PluginStore
from casparian.domain.requirements import (
    Environment,
    EnvironmentFailedError,
    Requirements,
    requirements_of,
)


def check_environments(settings: Settings, registry: Registry) -> Findings:
    """Of the configured plugins that have code, deployed or in the directory; others are told
    elsewhere, as is a database that cannot be used."""
    from casparian.adapters.queue import wall_clock_us

    try:
        stores = registry.stores(settings, wall_clock_us, create=False)
    except CasparianError:
        yield from _check_all(settings, None)
        return
    with closing(stores):
        yield from _check_all(settings, stores.store)


def _check_all(settings: Settings, store: PluginStore | None) -> Findings:
    codes = _codes(settings, store)
    for name in settings.plugin:
        if name in codes:
            yield from _check(settings, name, codes[name], store)


def _codes(settings: Settings, store: PluginStore | None) -> dict[str, bytes]:
    files = PluginRegistry(settings.plugin_directory)
    codes = {name: files.manifest(name).code for name in files.names()}
    if store is not None:
        standing = store.standing()
        for name in deployed_plugins(store):
            # Code that was altered is told of elsewhere.
            codes.pop(name, None)
            with suppress(ConfigurationError):
                codes[name] = store.manifest(standing[name].content_hash, name).code
    return codes


def _check(settings: Settings, name: str, code: bytes, store: PluginStore | None) -> Findings:
    where = f"[plugin.{name}]"
    try:
        requirements = requirements_of(name, code)
        if requirements == Requirements():
            return
        if settings.plugin_host.adapter != "subprocess":
            yield problem(
                where,
                "It asks for packages of its own, which only sidecars that are processes can have.",
                'Set [plugin_host] adapter = "subprocess", or install the packages for the engine.',
            )
            return
        from casparian.adapters.host.environments import PluginEnvironments

        places = PluginEnvironments(str(settings.path(settings.plugins.environments)))
        needed = places.needed(name, requirements)
    except ConfigurationError as error:
        yield problem(where, str(error), "Correct the block in the plugin's file.")
        return
    if needed is None:
        yield ok(where, "What it asks for in script metadata the engine has.")
        return
    try:
        found = places.make(needed, Event())
    except EnvironmentFailedError as error:
        yield problem(
            where,
            f"Its environment cannot be used: {error}",
            "Correct its dependencies, or what pip or uv is configured with. Its jobs wait.",
        )
        return
    known = store.environments(needed.key) if store is not None else ()
    yield _compared(where, found.environment, known)


def _compared(where: str, here: Environment, known: Sequence[Environment]) -> Finding:
    """`known`: what jobs ran in, by an environment of this name."""
    if not known or here in known:
        return ok(where, f"Its environment has {_told(here)}.")
    return warning(
        where,
        f"Its environment has {_told(here)}, and jobs ran with {_told(known[-1])}: it was made "
        "anew since, and its versions are not pinned.",
        "Pin the versions in the plugin's script metadata, if rows must be made by the same.",
    )


def _told(environment: Environment) -> str:
    return ", ".join(environment.packages)
