"""The sidecar's side of a Unix socket, and what the socket is called."""

from __future__ import annotations

import os
from collections.abc import Mapping

from casparian.adapters.transport._zmq_connection import ZmqConnection
from casparian.domain.errors import ConfigurationError
from casparian.domain.wire import DEFAULT_LIMITS, Limits

SCHEME = "ipc://"
# sun_path of Linux holds 108 bytes with the closing zero.
PATH_BYTES = 107


def connect(
    endpoint: str, limits: Limits = DEFAULT_LIMITS, access: Mapping[str, str] | None = None
) -> ZmqConnection:
    """To what the transport's `bind` returned. Who connects the kernel says: no key is needed."""
    return ZmqConnection(endpoint, address_of(path_of(endpoint)), limits)


def path_of(endpoint: str) -> str:
    """Raises ConfigurationError for one that is too long."""
    path = os.path.abspath(endpoint.removeprefix(SCHEME))
    size = len(os.fsencode(path))
    if size > PATH_BYTES:
        raise ConfigurationError(
            f"[transport] endpoint: the socket's path is {size} bytes long, the system allows "
            f"{PATH_BYTES}: {path!r}. Choose a shorter one, below /run or /tmp for instance"
        )
    return path


def address_of(path: str) -> bytes:
    """As bytes, for paths that are no UTF-8."""
    return SCHEME.encode() + os.fsencode(path)
