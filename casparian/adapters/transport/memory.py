"""A transport inside one process, with the full semantics of the port: the reference for others.

Endpoints are names known to the whole process, as those of ZMQ's inproc are. One lock per
transport guards its queues and those of its connections.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Sequence

from casparian.adapters.transport._shared import QUEUE_MESSAGES, check_sizes
from casparian.domain.errors import ConfigurationError, UnavailableError
from casparian.domain.peers import Buffer, Incoming, PeerBusy, PeerGone
from casparian.domain.wire import DEFAULT_LIMITS, Limits

SCHEME = "memory://"

_bound: dict[str, MemoryTransport] = {}
_bound_lock = threading.Lock()


class MemoryTransport:
    """`endpoint` is a name, with or without `memory://`."""

    def __init__(self, endpoint: str, limits: Limits = DEFAULT_LIMITS) -> None:
        self.malformed = 0
        self._name = endpoint.removeprefix(SCHEME)
        self._limits = limits
        self._changed = threading.Condition()
        self._peers: dict[bytes, MemoryConnection] = {}
        self._numbers = itertools.count(1)
        self._woken = False
        self._closed = False

    def bind(self) -> str:
        with _bound_lock:
            if self._name in _bound:
                raise ConfigurationError(
                    f"[transport] endpoint: {SCHEME}{self._name} is taken: choose another name"
                )
            _bound[self._name] = self
        return SCHEME + self._name

    def accept(self) -> MemoryConnection:
        """A new peer; called by its side."""
        with self._changed:
            peer = b"\0" + next(self._numbers).to_bytes(4, "big")
            connection = MemoryConnection(self._changed, SCHEME + self._name, self._limits)
            self._peers[peer] = connection
            if self._closed:
                connection.open = False
            return connection

    def poll(self, timeout_s: float) -> bool:
        with self._changed:
            ready = self._changed.wait_for(
                lambda: self._woken or any(peer.sent for peer in self._peers.values()),
                max(0.0, timeout_s),
            )
            self._woken = False
            return ready

    def receive(self, limit: int = 64) -> list[Incoming]:
        received: list[Incoming] = []
        with self._changed:
            taken = 0
            while taken < limit and any(peer.sent for peer in self._peers.values()):
                # One of each in turn, so that no peer keeps the others waiting.
                for peer, connection in list(self._peers.items()):
                    if connection.sent and taken < limit:
                        taken += 1
                        frames = connection.sent.popleft()
                        if len(frames) == 2:
                            received.append(Incoming(peer, frames[0], frames[1]))
                        else:
                            self.malformed += 1
            self._forget_closed()
            self._changed.notify_all()
        return received

    def _forget_closed(self) -> None:
        """What a peer sent before it closed is still read; then it is gone."""
        for peer, connection in list(self._peers.items()):
            if not connection.open and not connection.sent:
                del self._peers[peer]

    def send(self, peer: bytes, head: Buffer, payload: Buffer = b"") -> None:
        check_sizes(head, payload, self._limits)
        with self._changed:
            connection = self._peers.get(peer)
            if connection is None or not connection.open:
                raise PeerGone(f"peer {peer.hex()} is not connected")
            if len(connection.waiting) >= QUEUE_MESSAGES:
                raise PeerBusy(f"peer {peer.hex()} has {QUEUE_MESSAGES} messages waiting")
            connection.waiting.append((head, payload))
            self._changed.notify_all()

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def close(self) -> None:
        with _bound_lock:
            if _bound.get(self._name) is self:
                del _bound[self._name]
        with self._changed:
            self._closed = True
            for connection in self._peers.values():
                connection.open = False
            self._changed.notify_all()


class MemoryConnection:
    """Made by MemoryTransport.accept; `sent` and `waiting` are its queues to and from there."""

    def __init__(self, changed: threading.Condition, endpoint: str, limits: Limits) -> None:
        self.open = True
        self.sent: deque[tuple[Buffer, ...]] = deque()
        self.waiting: deque[tuple[Buffer, Buffer]] = deque()
        self._changed = changed
        self._endpoint = endpoint
        self._limits = limits
        self._woken = False

    def send(self, head: Buffer, payload: Buffer = b"", timeout_s: float = 0.0) -> None:
        """Raises PeerBusy where there is no room, and none comes within `timeout_s`.

        Nothing is copied: what is sent must not change afterwards.
        """
        check_sizes(head, payload, self._limits)
        self.send_frames((head, payload), timeout_s)

    def send_frames(self, frames: Sequence[Buffer], timeout_s: float = 0.0) -> None:
        """Any number of frames of any size, as a peer may send them that breaks the rules."""
        with self._changed:
            room = self._changed.wait_for(
                lambda: not self.open or len(self.sent) < QUEUE_MESSAGES, timeout_s
            )
            if not self.open:
                raise self._gone_error()
            if not room:
                raise PeerBusy(f"{QUEUE_MESSAGES} messages wait for the engine at {self._endpoint}")
            if any(memoryview(frame).nbytes > self._limits.message for frame in frames):
                self.open = False
            else:
                self.sent.append(tuple(frames))
            self._changed.notify_all()

    def poll(self, timeout_s: float) -> bool:
        with self._changed:
            ready = self._changed.wait_for(
                lambda: self._woken or bool(self.waiting) or not self.open, max(0.0, timeout_s)
            )
            self._woken = False
            return ready

    def receive(self) -> list[tuple[Buffer, Buffer]]:
        """All that waits. Raises PeerGone once nothing waits and nothing can come any more."""
        with self._changed:
            received = list(self.waiting)
            self.waiting.clear()
            if not received and not self.open:
                raise self._gone_error()
            return received

    def _gone_error(self) -> PeerGone:
        return PeerGone(f"the engine at {self._endpoint} has closed the connection")

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self.open = False
            self._changed.notify_all()


def connect(endpoint: str) -> MemoryConnection:
    """The sidecar's side of what `bind` returned."""
    with _bound_lock:
        transport = _bound.get(endpoint.removeprefix(SCHEME))
    if transport is None:
        raise UnavailableError(f"nobody answers at {endpoint}: is the engine running?")
    return transport.accept()
