"""The sidecar's side of ZMQ: connected when it is made, and gone for good once it is gone."""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from typing import Any

import zmq

from casparian.adapters.transport._shared import QUEUE_MESSAGES, check_sizes
from casparian.adapters.transport._waker import Waker
from casparian.adapters.transport._zmq_frames import as_str, milliseconds, open_socket, receive_two
from casparian.domain.errors import UnavailableError
from casparian.domain.peers import Buffer, PeerBusy, PeerGone
from casparian.domain.wire import DEFAULT_LIMITS, Limits

CONNECT_TIMEOUT_S = 10.0
# What the first frame of a monitor's message holds: which event, and a value of its own.
MONITOR_EVENT = struct.Struct("=hi")
# The last words of a sidecar (DONE, ERR) are often sent right before it closes, and the engine may
# be slow to read them.
LINGER_MS = 10_000


class ZmqConnection:
    """The port Connection over a DEALER, already connected when it is made.

    It does not come back: ZMQ would reconnect as another peer, in the middle of a conversation.
    `access` holds keys where the engine asks for them: its own public one, and this side's pair.
    """

    def __init__(
        self,
        endpoint: str,
        address: bytes,
        limits: Limits = DEFAULT_LIMITS,
        access: Mapping[str, str] | None = None,
    ) -> None:
        self.malformed = 0
        self._endpoint = endpoint
        self._limits = limits
        self._gone = False
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = open_socket(self._context, zmq.DEALER, limits)
        if access:
            self._socket.setsockopt(zmq.CURVE_SERVERKEY, access["server"].encode())
            self._socket.setsockopt(zmq.CURVE_PUBLICKEY, access["public"].encode())
            self._socket.setsockopt(zmq.CURVE_SECRETKEY, access["secret"].encode())
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
        self._socket.connect(as_str(address))
        if not self._monitor.poll(milliseconds(CONNECT_TIMEOUT_S)):
            raise UnavailableError(
                f"nobody answered at {self._endpoint} for {CONNECT_TIMEOUT_S:g} s: "
                "is the engine running?"
            )
        self._read_monitor()
        if self._gone:
            raise UnavailableError(
                f"the engine at {self._endpoint} does not admit this peer: it is another user's, "
                "has a key that is not known there or none where one is asked for, or takes the "
                "engine for another one. The engine's log says which"
            )

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
        poller.poll(milliseconds(left))
        self._read_monitor()

    def poll(self, timeout_s: float) -> bool:
        ready = dict(self._poller.poll(milliseconds(timeout_s)))
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
                frames = receive_two(self._socket)
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
            self._context.destroy(linger=0 if self._gone else LINGER_MS)
            self._waker.close()
