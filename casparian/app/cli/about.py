"""`casparian adapters` and `config-reference`: what this installation is made of, and takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from casparian.app.cli._output import show_json, show_table
from casparian.app.cli._shared import JsonOption
from casparian.domain.errors import CasparianError

if TYPE_CHECKING:
    from casparian.app.adapters import Adapter
    from casparian.app.cli.shapes import AdapterDocument

PORTS = {
    "queues": "queue",
    "transports": "transport",
    "plugin_hosts": "plugin_host",
    "sinks": "sink",
}


def adapters(as_json: JsonOption = False) -> None:
    """List adapters by port, where each comes from, and whether it can be used.

    Those of other packages are registered by entry points. Where a package that an adapter
    needs is missing, the last column has the command that installs it.

    Example: casparian adapters
    """
    documents = _adapters()
    if as_json:
        show_json(documents)
        return
    show_table(tuple(documents[0]), [list(one.values()) for one in documents])


def _adapters() -> list[AdapterDocument]:
    from casparian.app.registry import Registry

    registry = Registry.default()
    return [
        _document(port, name, adapter)
        for kind, port in PORTS.items()
        for name, adapter in sorted(getattr(registry, kind).items())
    ]


def _document(port: str, name: str, adapter: Adapter) -> AdapterDocument:
    problem = _problem(adapter)
    return {
        "port": port,
        "name": name,
        "origin": adapter.origin,
        "installed": not problem,
        "problem": problem,
    }


def _problem(adapter: Adapter) -> str:
    """Why it cannot be used; found by loading it, as the engine would."""
    try:
        adapter.load()
    except CasparianError as error:
        return str(error)
    return ""


def config_reference() -> None:
    """Print the reference of the configuration.

    It is made from the settings that this release takes.

    Example: casparian config-reference | less
    """
    from casparian.app.config_reference import reference

    typer.echo(reference(), nl=False)
