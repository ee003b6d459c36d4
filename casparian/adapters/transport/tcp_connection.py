"""The side of TCP that connects, and which addresses need keys."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from casparian.adapters.transport._zmq_connection import ZmqConnection
from casparian.domain.errors import ConfigurationError
from casparian.domain.wire import DEFAULT_LIMITS, Limits

SCHEME = "tcp://"
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def connect(
    endpoint: str, limits: Limits = DEFAULT_LIMITS, access: Mapping[str, str] | None = None
) -> ZmqConnection:
    """To what the transport's `bind` returned."""
    host, port = parse(endpoint)
    if not access:
        refuse_without_keys(host, "[transport.settings] client_key and server name them")
    return ZmqConnection(endpoint, f"{SCHEME}{shown_as(host, port)}".encode(), limits, access)


def parse(endpoint: str) -> tuple[Address, int]:
    host, colon, port = endpoint.removeprefix(SCHEME).rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise ConfigurationError(
            f"[transport] endpoint: {endpoint!r} is not of the form host:port, "
            'for instance "127.0.0.1:5570"'
        )
    # Not looked up: what a resolver says of localhost is not always the loopback.
    name = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(name), int(port)
    except ValueError:
        raise ConfigurationError(
            f"[transport] endpoint: {host!r} is no IP address: write 127.0.0.1 or [::1], or "
            "another address of this machine"
        ) from None


def refuse_without_keys(host: Address, remedy: str) -> None:
    if not host.is_loopback:
        raise ConfigurationError(
            f"[transport] endpoint: {host} can be reached from other machines, which needs "
            f"encryption and authentication by CURVE: {remedy}, and `casparian keys curve NAME` "
            "makes them. Without keys write 127.0.0.1 or [::1]"
        )


def shown_as(host: Address, port: int) -> str:
    return f"[{host}]:{port}" if host.version == 6 else f"{host}:{port}"
