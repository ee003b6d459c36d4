"""`casparian adapters` and `config-reference`: what this installation is made of, and takes."""

from __future__ import annotations

from typing import Any

import typer

from casparian.app.cli._output import show_json, show_table
from casparian.app.cli._shared import JsonOption

BUILT_IN = "built in"
PORTS = {"transports": "transport", "plugin_hosts": "plugin_host", "sinks": "sink"}


def adapters(as_json: JsonOption = False) -> None:
    """List adapters by port, and where each comes from.

    Those of other packages are registered by entry points and are named by their objects.

    Example: casparian adapters
    """
    documents = _adapters()
    if as_json:
        show_json(documents)
        return
    show_table(("port", "name", "origin"), [list(one.values()) for one in documents])


def _adapters() -> list[dict[str, Any]]:
    from casparian.adapters.queue import SCHEMES
    from casparian.app.registry import Registry

    registry = Registry.default()
    found = [{"port": "queue", "name": name, "origin": BUILT_IN} for name in sorted(SCHEMES)]
    for kind, port in PORTS.items():
        found += [
            {"port": port, "name": name, "origin": registry.origins.get((kind, name), BUILT_IN)}
            for name in sorted(getattr(registry, kind))
        ]
    return found


def config_reference() -> None:
    """Print the reference of the configuration.

    It is made from the settings that this release takes.

    Example: casparian config-reference | less
    """
    from casparian.app.config_reference import reference

    typer.echo(reference(), nl=False)
