"""Adapters of the port Transport, and the way from an endpoint to the connection it needs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from casparian.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from casparian.domain.peers import Connection

__all__ = ["connection_for"]

GROUP = "casparian.transports"

# Imported when asked for: whoever talks in memory needs no ZMQ.
_MODULES = {
    "ipc": "casparian.adapters.transport.ipc_connection",
    "tcp": "casparian.adapters.transport.tcp_connection",
    "memory": "casparian.adapters.transport.memory",
}


def connection_for(endpoint: str, access: Mapping[str, str] | None = None) -> Connection:
    """Connects to what a transport's `bind` returned, by the endpoint's scheme.

    `access` is the transport's, where it has any: what its peers have to show.

    A transport of another package, registered in the group `casparian.transports` under the
    scheme of its endpoints, has an attribute `connect` for this.

    Raises ConfigurationError for a scheme nobody knows, UnavailableError if nobody answers.
    """
    scheme, separator, _ = endpoint.partition("://")
    connect: Any
    if separator and scheme in _MODULES:
        connect = import_module(_MODULES[scheme]).connect
    else:
        connect = _connect_of_entry_point(scheme if separator else "", endpoint)
    connection: Connection = connect(endpoint, access=access) if access else connect(endpoint)
    return connection


def _connect_of_entry_point(scheme: str, endpoint: str) -> Any:
    from importlib import metadata

    for entry in metadata.entry_points(group=GROUP, name=scheme):
        connect = getattr(entry.load(), "connect", None)
        if connect is None:
            raise ConfigurationError(
                f"The transport {scheme!r} ({entry.value}) has no `connect`, by which a sidecar "
                "reaches its endpoint."
            )
        return connect
    known = ", ".join(f"{name}://" for name in sorted(_MODULES))
    raise ConfigurationError(
        f"endpoint {endpoint!r} begins with none of {known}, and no installed package registers "
        f"such a transport in {GROUP}"
    )
