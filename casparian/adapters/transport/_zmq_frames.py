"""Sockets and messages of ZMQ, the same on both sides: two frames, bounded queues.

The number of frames is fixed, and it is never asked by getsockopt(RCVMORE), which costs as much as
reading a frame: a frame taken without copying knows by itself whether another one follows.
"""

from __future__ import annotations

import math
from typing import Any, cast

import zmq

from casparian.adapters.transport._shared import QUEUE_MESSAGES
from casparian.domain.peers import Buffer
from casparian.domain.wire import Limits

# What a single frame may have beyond the payload's limit, so that heads and limits never touch.
FRAME_MARGIN = 64 * 1024


def open_socket(context: zmq.Context[Any], kind: int, limits: Limits) -> zmq.Socket[bytes]:
    made = context.socket(kind)
    made.setsockopt(zmq.SNDHWM, QUEUE_MESSAGES)
    made.setsockopt(zmq.RCVHWM, QUEUE_MESSAGES)
    made.setsockopt(zmq.MAXMSGSIZE, limits.message + FRAME_MARGIN)
    return made


def as_str(address: bytes) -> str:
    """pyzmq takes bytes, which a path that is no UTF-8 needs, and says that it takes text."""
    return cast("str", address)


def milliseconds(timeout_s: float) -> int:
    return max(0, math.ceil(timeout_s * 1000))


def receive_two(zmq_socket: zmq.Socket[bytes]) -> tuple[Buffer, Buffer] | None:
    """The two frames of a message, or None after skipping one that has another number of them."""
    frames = two_frames(zmq_socket)
    return None if frames is None else (frames[0].bytes, frames[1].buffer)


def two_frames(zmq_socket: zmq.Socket[bytes]) -> tuple[zmq.Frame, zmq.Frame] | None:
    """The same, with what ZMQ knows of them."""
    head = zmq_socket.recv(zmq.NOBLOCK, copy=False)
    if not head.more:
        return None
    payload = zmq_socket.recv(zmq.NOBLOCK, copy=False)
    if payload.more:
        _skip_rest(zmq_socket)
        return None
    return head, payload


def _skip_rest(zmq_socket: zmq.Socket[bytes]) -> None:
    while zmq_socket.recv(zmq.NOBLOCK, copy=False).more:
        pass
