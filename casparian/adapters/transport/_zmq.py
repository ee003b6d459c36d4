"""What the ZMQ transports do alike: two frames, bounded queues, nothing dropped without a word.

The number of frames is fixed, and it is never asked by getsockopt(RCVMORE), which costs as much as
reading a frame: a frame taken without copying knows by itself whether another one follows.
"""

from __future__ import annotations

import contextlib
import math
import socket
import struct
import time
from typing import Any, cast

import zmq

from casparian.adapters.transport._shared import QUEUE_MESSAGES, check_sizes
from casparian.domain.errors import ConfigurationError, UnavailableError
from casparian.domain.peers import Buffer, Incoming, PeerBusy, PeerGone
from casparian.domain.wire import DEFAULT_LIMITS, Limits

# What waits unread from one peer at the engine. Few, since each may be as large as the limit: a
# peer that ignores its credit must not fill the memory before the router has seen it and ends it.
ENGINE_UNREAD_MESSAGES = 16
# What a single frame may have beyond the payload's limit, so that heads and limits never touch.
FRAME_MARGIN = 64 * 1024
CONNECT_TIMEOUT_S = 10.0
# What the first frame of a monitor's message holds: which event, and a value of its own.
MONITOR_EVENT = struct.Struct("=hi")
ENGINE_LINGER_MS = 200
# The last words of a sidecar (DONE, ERR) are often sent right before it closes, and the engine may
# be slow to read them.
SIDECAR_LINGER_MS = 10_000


class Waker:
    """A file descriptor that any thread may make readable."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._said = False

    def fileno(self) -> int:
        return self._reader.fileno()

    def wake(self) -> None:
        if self._said:
            return  # a wake that nobody has heard yet: one more says nothing new
        self._said = True
        try:
            self._writer.send(b"\0")
        except BlockingIOError:
            pass  # as good as said
        except OSError:
            if self._writer.fileno() != -1:
                raise  # closed is no error: a thread may wake what just ended

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass
        # Only now: a wake that came during this sent nothing, and its caller had put the work
        # there before, which is looked for after this.
        self._said = False

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


def _open_socket(context: zmq.Context[Any], kind: int, limits: Limits) -> zmq.Socket[bytes]:
    made = context.socket(kind)
    made.setsockopt(zmq.SNDHWM, QUEUE_MESSAGES)
    made.setsockopt(zmq.RCVHWM, QUEUE_MESSAGES)
    made.setsockopt(zmq.MAXMSGSIZE, limits.message + FRAME_MARGIN)
    return made


def _as_str(address: bytes) -> str:
    """pyzmq takes bytes, which a path that is no UTF-8 needs, and says that it takes text."""
    return cast("str", address)


def _milliseconds(timeout_s: float) -> int:
    return max(0, math.ceil(timeout_s * 1000))


def _skip_rest(zmq_socket: zmq.Socket[bytes]) -> None:
    while zmq_socket.recv(zmq.NOBLOCK, copy=False).more:
        pass


def _receive_two(zmq_socket: zmq.Socket[bytes]) -> tuple[Buffer, Buffer] | None:
    """The two frames of a message, or None after skipping one that has another number of them."""
    head = zmq_socket.recv(zmq.NOBLOCK, copy=False)
    if not head.more:
        return None
    payload = zmq_socket.recv(zmq.NOBLOCK, copy=False)
    if payload.more:
        _skip_rest(zmq_socket)
        return None
    return head.bytes, payload.buffer


class ZmqTransport:
    """The port Transport over a ROUTER. A subclass says how to bind."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.malformed = 0
        self._limits = limits
        self._waker = Waker()
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = _open_socket(self._context, zmq.ROUTER, limits)
        self._socket.setsockopt(zmq.RCVHWM, ENGINE_UNREAD_MESSAGES)
        # Without it, what is sent to a peer that is gone would vanish silently.
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        # A stranger must not take over a peer by claiming its identity.
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
        self._socket.setsockopt(zmq.BACKLOG, 1024)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._waker.fileno(), zmq.POLLIN)

    def bind(self) -> str:
        raise NotImplementedError

    def _bind_to(self, address: bytes, shown: str) -> None:
        self._socket.setsockopt(zmq.IPV6, int(b"[" in address))
        try:
            self._socket.bind(_as_str(address))
        except zmq.ZMQError as error:
            raise ConfigurationError(
                f"[transport] endpoint: cannot listen at {shown} ({error.strerror}): "
                "choose another one"
            ) from error

    def poll(self, timeout_s: float) -> bool:
        ready = dict(self._poller.poll(_milliseconds(timeout_s)))
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
            frames = _receive_two(self._socket)
            if frames is None:
                self.malformed += 1
            else:
                received.append(Incoming(peer, *frames))
        return received

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
            self._context.destroy(linger=ENGINE_LINGER_MS)
            self._waker.close()


class ZmqConnection:
    """The port Connection over a DEALER, already connected when it is made.

    It does not come back: ZMQ would reconnect as another peer, in the middle of a conversation.
    """

    def __init__(self, endpoint: str, address: bytes, limits: Limits = DEFAULT_LIMITS) -> None:
        self.malformed = 0
        self._endpoint = endpoint
        self._limits = limits
        self._gone = False
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = _open_socket(self._context, zmq.DEALER, limits)
        self._monitor = self._socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        )
        self._waker = Waker()
        try:
            self._connect(address)
        except BaseException:
            self.close()
            raise
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self._poller.register(self._waker.fileno(), zmq.POLLIN)

    def _connect(self, address: bytes) -> None:
        self._socket.setsockopt(zmq.IPV6, int(b"[" in address))
        self._socket.connect(_as_str(address))
        if not self._monitor.poll(_milliseconds(CONNECT_TIMEOUT_S)):
            raise UnavailableError(
                f"nobody answered at {self._endpoint} for {CONNECT_TIMEOUT_S:g} s: "
                "is the engine running?"
            )
        self._read_monitor()

    def _read_monitor(self) -> None:
        while self._monitor.poll(0):
            # By hand: the library's own reader of such messages brings asyncio into each sidecar.
            event, _ = MONITOR_EVENT.unpack(self._monitor.recv_multipart()[0])
            if event == zmq.EVENT_DISCONNECTED:
                self._gone = True

    def send(self, head: Buffer, payload: Buffer = b"", timeout_s: float = 0.0) -> None:
        """Raises PeerBusy where there is no room, and none comes within `timeout_s`.

        A payload of 64 KiB or more is not copied: it must not change afterwards.
        """
        check_sizes(head, payload, self._limits)
        deadline = time.monotonic() + timeout_s
        while not self._gone:
            try:
                self._socket.send(head, zmq.SNDMORE | zmq.NOBLOCK)
            except zmq.Again:
                self._wait_for_room(deadline)
            else:
                self._socket.send(payload, zmq.NOBLOCK, copy=False)
                return
        raise self._gone_error()

    def _wait_for_room(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise PeerBusy(f"{QUEUE_MESSAGES} messages wait for the engine at {self._endpoint}")
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLOUT)
        poller.register(self._monitor, zmq.POLLIN)
        poller.poll(_milliseconds(left))
        self._read_monitor()

    def poll(self, timeout_s: float) -> bool:
        ready = dict(self._poller.poll(_milliseconds(timeout_s)))
        if self._waker.fileno() in ready:
            self._waker.clear()
        if self._monitor in ready:
            self._read_monitor()
        return bool(ready)

    def receive(self) -> list[tuple[Buffer, Buffer]]:
        """All that waits. Raises PeerGone once nothing waits and nothing can come any more."""
        received: list[tuple[Buffer, Buffer]] = []
        for _ in range(QUEUE_MESSAGES):
            try:
                frames = _receive_two(self._socket)
            except zmq.Again:
                break
            if frames is None:
                self.malformed += 1
            else:
                received.append(frames)
        if self._gone and not received:
            raise self._gone_error()
        return received

    def _gone_error(self) -> PeerGone:
        return PeerGone(f"the engine at {self._endpoint} has closed the connection")

    def wake(self) -> None:
        self._waker.wake()

    def close(self) -> None:
        if not self._socket.closed:
            self._read_monitor()
            self._socket.disable_monitor()
            self._monitor.close(linger=0)
            self._context.destroy(linger=0 if self._gone else SIDECAR_LINGER_MS)
            self._waker.close()
