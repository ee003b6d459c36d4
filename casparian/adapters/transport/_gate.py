"""Keeps the system from making new connections at a listening socket, while those that stand stay.

ZMQ closes every connection of a socket together with the place that it listens at, so that one
cannot simply stop to listen for a while. What can be had is a filter in the kernel that drops
whatever asks for a new connection: who asks tries again by itself, for a minute or more.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys

# <asm-generic/socket.h>, <linux/filter.h>
SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27
RETURN_NOTHING = struct.pack("@HBBI", 0x06, 0, 0, 0)


class Gate:
    """Of TCP, on Linux. At a Unix socket there is none: nobody but the engine's user comes there,
    and who acts as that can end the engine."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.works = listener.family != socket.AF_UNIX and sys.platform == "linux"

    def close(self) -> None:
        if self.works:
            program = ctypes.create_string_buffer(RETURN_NOTHING, len(RETURN_NOTHING))
            filter_ = struct.pack("@HP", 1, ctypes.addressof(program))
            self._listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_)

    def open(self) -> None:
        if self.works:
            self._listener.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
