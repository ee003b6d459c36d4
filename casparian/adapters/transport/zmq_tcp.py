"""ZMQ over TCP, on the loopback interface only: what travels is neither encrypted nor signed."""

from __future__ import annotations

import ipaddress

import zmq

from casparian.adapters.transport._zmq import ZmqConnection, ZmqTransport
from casparian.domain.errors import ConfigurationError
from casparian.domain.wire import DEFAULT_LIMITS, Limits

SCHEME = "tcp://"


class ZmqTcpTransport(ZmqTransport):
    """`endpoint` is `host:port`, with or without `tcp://`; port 0 picks a free one."""

    def __init__(self, endpoint: str, limits: Limits = DEFAULT_LIMITS) -> None:
        self._host, self._port = _parse(endpoint)
        super().__init__(limits)

    def bind(self) -> str:
        port = str(self._port) if self._port else "*"
        self._bind_to(f"{SCHEME}{self._host}:{port}".encode(), f"{self._host}:{port}")
        bound = self._socket.get_string(zmq.LAST_ENDPOINT)
        return bound.rstrip("\0")


def connect(endpoint: str, limits: Limits = DEFAULT_LIMITS) -> ZmqConnection:
    """The sidecar's side of what `bind` returned."""
    host, port = _parse(endpoint)
    return ZmqConnection(endpoint, f"{SCHEME}{host}:{port}".encode(), limits)


def _parse(endpoint: str) -> tuple[str, int]:
    """Host, in brackets if IPv6, and port; only addresses that never leave the machine."""
    host, colon, port = endpoint.removeprefix(SCHEME).rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise ConfigurationError(
            f"[transport] endpoint: {endpoint!r} is not of the form host:port, "
            'for instance "127.0.0.1:5570"'
        )
    # Not looked up: what a resolver says of localhost is not always the loopback.
    name = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        raise ConfigurationError(
            f"[transport] endpoint: {host!r} is no IP address: write 127.0.0.1 or [::1]"
        ) from None
    if not address.is_loopback:
        raise ConfigurationError(
            f"[transport] endpoint: {host} can be reached from other machines, which needs "
            "encryption and authentication by CURVE, and this version has none: "
            "write 127.0.0.1 or [::1]"
        )
    return (f"[{address}]" if address.version == 6 else str(address)), int(port)
