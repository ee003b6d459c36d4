"""ZMQ over TCP. Beyond the loopback interface only encrypted, and with keys on both sides."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from typing import Any

import zmq

from casparian.adapters.transport._doorkeeper import Asking
from casparian.adapters.transport._zmq import ZmqTransport
from casparian.adapters.transport._zmq_connection import ZmqConnection
from casparian.adapters.transport.curve import KeyPair, KnownClients
from casparian.domain.errors import ConfigurationError
from casparian.domain.wire import DEFAULT_LIMITS, Limits

SCHEME = "tcp://"


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ZmqTcpTransport(ZmqTransport):
    """`endpoint` is `host:port`, with or without `tcp://`; port 0 picks a free one.

    With `key`, the engine's own, a peer needs a key too: one of `clients`, or the one that is made
    here for the sidecars, which stands in `access` and nowhere else, or the engine's own.
    """

    def __init__(
        self,
        endpoint: str,
        limits: Limits = DEFAULT_LIMITS,
        key: KeyPair | None = None,
        clients: KnownClients | None = None,
    ) -> None:
        self._host, self._port = _parse(endpoint)
        self._clients = clients or KnownClients()
        self._own: tuple[bytes, ...] = ()
        if key is None:
            _refuse_without_keys(self._host, "[transport.settings] key and clients name them")
        elif self._host.is_unspecified:
            raise ConfigurationError(
                f"[transport] endpoint: {self._host} is every address of this machine, and none "
                "that a sidecar can connect to: write the one that clients use"
            )
        super().__init__(self._admit if key is not None else _admit_all, limits)
        if key is not None:
            self._ask_for_keys(key)

    def _ask_for_keys(self, key: KeyPair) -> None:
        sidecars = KeyPair(*zmq.curve_keypair())
        # Who can read the engine's key can stop the engine: it is let in.
        self._own = (sidecars.public, key.public)
        self.access = sidecars.access(key.public)
        self._socket.setsockopt(zmq.CURVE_SERVER, 1)
        self._socket.setsockopt(zmq.CURVE_SECRETKEY, key.secret)

    def bind(self) -> str:
        self._clients.check()
        family = socket.AF_INET6 if self._host.version == 6 else socket.AF_INET
        shown = _shown(self._host, self._port)
        bound = self._listen(family, (str(self._host), self._port), shown)
        return SCHEME + _shown(self._host, bound[1])

    def _name_of(self, bound: Any) -> bytes:
        return f"{SCHEME}{_shown(self._host, bound[1])}".encode()

    def _admit(self, asking: Asking) -> str:
        return "" if asking.key in self._own else self._clients.refusal(asking.key)


def _admit_all(asking: Asking) -> str:
    """On the loopback, without keys: whoever is on this machine. A session has its own secret."""
    return ""


def connect(
    endpoint: str, limits: Limits = DEFAULT_LIMITS, access: Mapping[str, str] | None = None
) -> ZmqConnection:
    """The sidecar's side of what `bind` returned."""
    host, port = _parse(endpoint)
    if not access:
        _refuse_without_keys(host, "[transport.settings] client_key and server name them")
    return ZmqConnection(endpoint, f"{SCHEME}{_shown(host, port)}".encode(), limits, access)


def _parse(endpoint: str) -> tuple[_Address, int]:
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


def _refuse_without_keys(host: _Address, remedy: str) -> None:
    if not host.is_loopback:
        raise ConfigurationError(
            f"[transport] endpoint: {host} can be reached from other machines, which needs "
            f"encryption and authentication by CURVE: {remedy}, and `casparian keys curve NAME` "
            "makes them. Without keys write 127.0.0.1 or [::1]"
        )


def _shown(host: _Address, port: int) -> str:
    return f"[{host}]:{port}" if host.version == 6 else f"{host}:{port}"
