"""Who is not admitted: another user of this machine, and whoever reads what travels."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Self

NOBODY = 65534

HANDSHAKE = r"""
import socket, sys
peer = socket.socket(socket.AF_UNIX)
peer.settimeout(10)
try:
    peer.connect(sys.argv[1])
except OSError as error:
    print(type(error).__name__)
    sys.exit()
# ZMTP 3.0 without a mechanism: a greeting, then READY of a DEALER.
peer.sendall(b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
ready = b"\x05READY" + b"\x0bSocket-Type" + b"\x00\x00\x00\x06DEALER"
peer.sendall(b"\x04" + bytes([len(ready)]) + ready)
answer = b""
while True:
    try:
        part = peer.recv(4096)
    except (ConnectionResetError, BrokenPipeError):
        break
    if not part:
        break
    answer += part
    if b"READY" in answer or b"ERROR" in answer:
        break
print("admitted" if b"READY" in answer else "refused")
"""
"""Speaks to a Unix socket as ZMQ would, and says what came of it. It needs no library."""


BECOME_NOBODY = """
import os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[-1]))
os.setuid(int(sys.argv[-1]))
"""


def as_nobody(program: str, *arguments: str) -> str:
    """What a program prints that another user runs. It begins as this user, whose interpreter may
    lie where others may not read."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", BECOME_NOBODY + program, *arguments, str(NOBODY)],
        capture_output=True,
        check=True,
        cwd="/",
        text=True,
        timeout=60,
    )
    return done.stdout.strip()


class Tap:
    """Passes one connection on to a port, and keeps what both sides say."""

    def __init__(self, host: str, port: int) -> None:
        self.seen = bytearray()
        self._to = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.join(30)
        self._listener.close()

    def _serve(self) -> None:
        near, _ = self._listener.accept()
        with near, socket.create_connection(self._to) as far:
            ways = [
                threading.Thread(target=self._pass, args=way) for way in ((near, far), (far, near))
            ]
            for way in ways:
                way.start()
            for way in ways:
                way.join()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.seen += data
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
