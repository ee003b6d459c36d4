"""ZMQ over TCP. Beyond the loopback interface only encrypted, and with keys on both sides."""

from __future__ import annotations

import socket
from typing import Any

import zmq

from casparian.adapters.transport._doorkeeper import Asking
from casparian.adapters.transport._zmq import ZmqTransport
from casparian.adapters.transport.curve import KeyPair, KnownClients
from casparian.adapters.transport.tcp_connection import (
    SCHEME,
    parse,
    refuse_without_keys,
    shown_as,
)
from casparian.domain.errors import ConfigurationError
from casparian.domain.wire import DEFAULT_LIMITS, Limits


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
        self._host, self._port = parse(endpoint)
        self._clients = clients or KnownClients()
        self._own: tuple[bytes, ...] = ()
        self._cut_off: set[bytes] = set()
        if key is None:
            refuse_without_keys(self._host, "[transport.settings] key and clients name them")
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
        shown = shown_as(self._host, self._port)
        bound = self._listen(family, (str(self._host), self._port), shown)
        return SCHEME + shown_as(self._host, bound[1])

    def _name_of(self, bound: Any) -> bytes:
        return f"{SCHEME}{shown_as(self._host, bound[1])}".encode()

    def _hears(self, peer: bytes, head: zmq.Frame) -> bool:
        if not self._own:
            return True
        key = str(head.get("User-Id")).encode("ascii")
        if key in self._own or self._clients.still_knows(key):
            self._cut_off.discard(peer)
            return True
        if peer not in self._cut_off:
            self._cut_off.add(peer)
            self._door.refuse("its key is known no more: what it sends is not heard")
        return False

    def _admit(self, asking: Asking) -> str:
        return "" if asking.key in self._own else self._clients.refusal(asking.key)


def _admit_all(asking: Asking) -> str:
    """On the loopback, without keys: whoever is on this machine. A session has its own secret."""
    return ""
