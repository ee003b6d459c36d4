"""Who may connect: ZMQ asks for each peer before it reads a message of it.

It asks over a socket of its context (ZAP, RFC 27), and tells what becomes of connections over
another one. Both are served by a thread of their own: a peer must not have to wait until the
router has time, and whoever makes a transport may connect to it from the same thread.
"""

from __future__ import annotations

import resource
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import zmq
from zmq.utils import z85

from casparian.adapters.transport._gate import Gate
from casparian.adapters.transport._waker import Waker

ZAP = "inproc://zeromq.zap.01"
DOMAIN = b"casparian"
"""ZMQ asks for peers of sockets that name a domain, whatever it is called."""
MONITOR_EVENT = struct.Struct("=hi")
UNFINISHED = "it did not finish its handshake"
BROKEN = "it does not speak the protocol, or has no key, or one for another engine"
MOST_OPEN = 1024
# A share of the descriptors that this process may have: files and databases need some too.
OPEN_SHARE = 4
EVENTS = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)


class Asking(NamedTuple):
    """A peer that would connect. `uid` where the kernel knows it, `key` where CURVE has shown
    that the peer has its secret half."""

    address: str
    uid: int | None
    key: bytes


Admit = Callable[[Asking], str]
"""Why a peer is refused; empty where it is admitted."""


class Doorkeeper:
    """Counts what is refused. From when there are as many connections as there may be until a
    quarter of them has gone, no new ones are made."""

    def __init__(
        self,
        context: zmq.Context[Any],
        guarded: zmq.Socket[bytes],
        admit: Admit,
    ) -> None:
        self.refused = 0
        self._admit = admit
        self._most_open = _most_open()
        self._crowded = False
        self._open: dict[int, int] = {}
        self._succeeded = 0
        self._blamed = 0
        self._reasons: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._waker = Waker()
        self._ending = False
        self._context = context
        self._guarded = guarded
        guarded.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
        self._thread = threading.Thread(target=self._serve, name="casparian-door", daemon=True)

    def start(self, listener: socket.socket) -> None:
        """Before the guarded socket is bound to this one: who comes earlier is turned away."""
        self._gate = Gate(listener)
        self._zap = self._context.socket(zmq.REP)
        self._zap.bind(ZAP)
        self._monitor = self._guarded.get_monitor_socket(EVENTS)
        self._thread.start()

    def close(self) -> None:
        """By the thread that owns the guarded socket, before that is closed."""
        if self._thread.is_alive():
            self._ending = True
            self._waker.wake()
            self._thread.join()
            self._guarded.disable_monitor()
            self._monitor.close(linger=0)
            self._zap.close(linger=0)
        self._waker.close()

    def refusals(self) -> Mapping[str, int]:
        """How many peers were refused since this was last called, by reason."""
        with self._lock:
            reasons, self._reasons = self._reasons, Counter()
        return reasons

    # --- the thread -----------------------------------------------------------------------

    def _serve(self) -> None:
        poller = zmq.Poller()
        for waited in (self._zap, self._monitor, self._waker.fileno()):
            poller.register(waited, zmq.POLLIN)
        while not self._ending:
            poller.poll()
            while self._monitor.poll(0):
                self._take_event()
            while self._zap.poll(0):
                self._answer()

    def _answer(self) -> None:
        version, request, _, address, _, mechanism, *credentials = self._zap.recv_multipart()
        key = z85.encode(credentials[0]) if mechanism == b"CURVE" else b""
        try:
            reason = self._admit(_asking(address.decode("utf-8", "replace"), key))
        except Exception as error:  # Who cannot be judged is not let in, and others still are.
            reason = f"it could not be judged: {error!r}"
        if reason:
            self._blame(reason)
        status = [b"400", b"refused"] if reason else [b"200", b""]
        # Each message of this peer is then known by its key.
        self._zap.send_multipart([version, request, *status, key, b""])

    def _blame(self, reason: str) -> None:
        """Why the connection is refused that will be closed next, or soon."""
        self._blamed += 1
        self.refuse(reason)

    def refuse(self, reason: str) -> None:
        """Count one that was refused, from any thread."""
        with self._lock:
            self.refused += 1
            self._reasons[reason] += 1

    def _take_event(self) -> None:
        event, value = MONITOR_EVENT.unpack(self._monitor.recv_multipart()[0])
        match event:
            case zmq.EVENT_ACCEPTED:
                self._open[value] = self._succeeded
            case zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._succeeded += 1
            case zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                self._blame(UNFINISHED)
            case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                self._blame(BROKEN)
            case zmq.EVENT_DISCONNECTED:
                self._closed(value)
        limit = self._most_open * 3 // 4 if self._crowded else self._most_open
        crowded = len(self._open) >= limit
        if crowded != self._crowded:
            # For want of memory it stays as it was: tried again with the next event.
            with suppress(OSError):
                (self._gate.close if crowded else self._gate.open)()
                self._crowded = crowded

    def _closed(self, connection: int) -> None:
        """One that is closed for what it said before its handshake has no event of its own, and
        which one a success is about is not told either: so one is counted as refused where it
        cannot have succeeded."""
        succeeded_before = self._open.pop(connection, -1)
        if self._blamed:
            self._blamed -= 1
        elif succeeded_before == self._succeeded:
            self.refuse(BROKEN)


def _asking(address: str, key: bytes) -> Asking:
    """Of a Unix socket the address ends with what the kernel says of the peer: `:uid:gid:pid`."""
    parts = address.split(":")
    of_unix_socket = len(parts) == 4 and parts[0] in ("", "localhost") and parts[1].isdecimal()
    return Asking(address, int(parts[1]) if of_unix_socket else None, key)


def _most_open() -> int:
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return MOST_OPEN
    return max(1, min(MOST_OPEN, descriptors // OPEN_SHARE))
