"""Checks of what plugins ask for in script metadata: it is made here where it is missing."""

from __future__ import annotations

from threading import Event

from casparian.app.cli._findings import Findings, ok, problem
from casparian.app.loader import PluginRegistry
from casparian.app.settings import Settings
from casparian.domain.errors import ConfigurationError
from casparian.domain.requirements import (
    EnvironmentFailedError,
    Requirements,
    requirements_of,
)


def check_environments(settings: Settings) -> Findings:
    """Of the configured plugins whose files are there; others are told elsewhere."""
    registry = PluginRegistry(settings.plugin_directory)
    there = registry.names()
    for name in settings.plugin:
        if name in there:
            yield from _check(settings, name, registry.manifest(name).code)


def _check(settings: Settings, name: str, code: bytes) -> Findings:
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
        places.make(needed, Event())
    except EnvironmentFailedError as error:
        yield problem(
            where,
            f"Its environment could not be made: {error}",
            "Correct its dependencies, or what pip or uv is configured with. Its jobs wait.",
        )
        return
    packages = ", ".join(places.resolved(needed).split())
    yield ok(where, f"Its environment has {packages}.")
