"""Tells the service manager that started this process what it is at, if one did and wants it."""

from __future__ import annotations

import os
import socket

_WORDS = {"running": "READY=1\nSTATUS=running", "stopping": "STOPPING=1\nSTATUS=finishing"}


def notify(phase: str) -> None:
    """One datagram to `NOTIFY_SOCKET` (systemd's Type=notify); nothing where it is not set."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    # A leading @ is the abstract namespace, which is written with a zero byte.
    name = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.connect(name)
        manager.sendall(_WORDS[phase].encode())
