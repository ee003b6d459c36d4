"""The engine's side of ZMQ: one socket for all sidecars, and nothing dropped without a word."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

import zmq

from casparian.adapters.transport._doorkeeper import Admit, Doorkeeper
from casparian.adapters.transport._shared import QUEUE_MESSAGES, check_sizes
from casparian.adapters.transport._waker import Waker
from casparian.adapters.transport._zmq_frames import as_str, milliseconds, open_socket, two_frames
from casparian.domain.errors import ConfigurationError
from casparian.domain.peers import Buffer, Incoming, PeerBusy, PeerGone
from casparian.domain.wire import DEFAULT_LIMITS, Limits

# What waits unread from one peer at the engine. Few, since each may be as large as the limit: a
# peer that ignores its credit must not fill the memory before the router has seen it and ends it.
ENGINE_UNREAD_MESSAGES = 16
ENGINE_LINGER_MS = 200
# A peer that is not done with its handshake by then loses its connection: a sidecar takes
# milliseconds, and connections are counted.
HANDSHAKE_MS = 5_000
BACKLOG = 1024


class ZmqTransport:
    """The port GuardedTransport over a ROUTER. A subclass says where it listens, and who may
    connect: `admit` is asked for each peer."""

    def __init__(self, admit: Admit, limits: Limits = DEFAULT_LIMITS) -> None:
        self.malformed = 0
        self.access: Mapping[str, str] = {}
        self._limits = limits
        self._waker = Waker()
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = open_socket(self._context, zmq.ROUTER, limits)
        self._socket.setsockopt(zmq.RCVHWM, ENGINE_UNREAD_MESSAGES)
        # Without it, what is sent to a peer that is gone would vanish silently.
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        # A stranger must not take over a peer by claiming its identity.
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
        self._socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        self._door = Doorkeeper(self._context, self._socket, admit)
        self._listener: socket.socket | None = None
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._waker.fileno(), zmq.POLLIN)

    def bind(self) -> str:
        raise NotImplementedError

    @property
    def refused(self) -> int:
        return self._door.refused

    def refusals(self) -> Mapping[str, int]:
        return self._door.refusals()

    def _name_of(self, bound: Any) -> bytes:
        """What ZMQ calls the address of a listening socket."""
        raise NotImplementedError

    def _listen(self, family: int, at: Any, shown: str) -> Any:
        """Listen at `at`, as a socket of this family has it; returns what the socket got.

        Raises ConfigurationError where it cannot be had.
        """
        self._listener = listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            if family == socket.AF_UNIX:
                # Bound, it has this mode from its first moment; the umask, which could see to that
                # as well, is that of all threads: what they make meanwhile would have it too.
                os.fchmod(listener.fileno(), 0o600)
            else:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(at)
            listener.listen(BACKLOG)
        except OSError as error:
            raise ConfigurationError(
                f"[transport] endpoint: cannot listen at {shown} ({error.strerror}): "
                "choose another one"
            ) from error
        listener.setblocking(False)
        bound = listener.getsockname()
        self._socket.setsockopt(zmq.IPV6, int(family == socket.AF_INET6))
        self._door.start(listener)
        # ZMQ gets a copy to close.
        self._socket.setsockopt(zmq.USE_FD, os.dup(listener.fileno()))
        self._socket.bind(as_str(self._name_of(bound)))
        self._socket.setsockopt(zmq.USE_FD, -1)
        return bound

    def poll(self, timeout_s: float) -> bool:
        ready = dict(self._poller.poll(milliseconds(timeout_s)))
        if self._waker.fileno() in ready:
            self._waker.clear()
        return bool(ready)

    def receive(self, limit: int = 64) -> list[Incoming]:
        received: list[Incoming] = []
        # Malformed messages count too, or a flood of them would keep the caller here.
        for _ in range(limit):
            try:
                peer = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            frames = two_frames(self._socket)
            if frames is None:
                self.malformed += 1
            elif self._hears(peer, frames[0]):
                received.append(Incoming(peer, frames[0].bytes, frames[1].buffer))
        return received

    def _hears(self, peer: bytes, head: zmq.Frame) -> bool:
        """Whether who sent this would be admitted again; who would not is counted."""
        return True

    def send(self, peer: bytes, head: Buffer, payload: Buffer = b"") -> None:
        check_sizes(head, payload, self._limits)
        try:
            self._socket.send(peer, zmq.SNDMORE | zmq.NOBLOCK)
        except zmq.Again:
            raise PeerBusy(f"peer {peer.hex()} has {QUEUE_MESSAGES} messages waiting") from None
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            raise PeerGone(f"peer {peer.hex()} is not connected") from None
        self._socket.send(head, zmq.SNDMORE | zmq.NOBLOCK)
        self._socket.send(payload, zmq.NOBLOCK, copy=False)

    def wake(self) -> None:
        self._waker.wake()

    def close(self) -> None:
        if not self._socket.closed:
            self._door.close()
            self._context.destroy(linger=ENGINE_LINGER_MS)
            self._waker.close()
            if self._listener is not None:
                self._listener.close()
