"""Adapters of the port Transport, and the way from an endpoint to the connection it needs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from casparian.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from casparian.domain.ports import Connection

__all__ = ["connection_for"]

# Imported when asked for: whoever talks in memory needs no ZMQ.
_MODULES = {
    "ipc": "casparian.adapters.transport.zmq_ipc",
    "tcp": "casparian.adapters.transport.zmq_tcp",
    "memory": "casparian.adapters.transport.memory",
}


def connection_for(endpoint: str) -> Connection:
    """Connects to what a transport's `bind` returned, by the endpoint's scheme.

    Raises ConfigurationError for a scheme nobody knows, UnavailableError if nobody answers.
    """
    scheme, separator, _ = endpoint.partition("://")
    if not separator or scheme not in _MODULES:
        known = ", ".join(f"{name}://" for name in sorted(_MODULES))
        raise ConfigurationError(f"endpoint {endpoint!r} begins with none of {known}")
    connection: Connection = import_module(_MODULES[scheme]).connect(endpoint)
    return connection
