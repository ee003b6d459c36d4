"""What there is to reach from a sidecar: processes, sockets and files of others."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from casparian.adapters.host.sandbox.trial import missing_layers
from tests.support.project import Project


@pytest.fixture(scope="session", autouse=True)
def every_layer() -> None:
    """Here it is about what the layers hold, which needs them."""
    missing = missing_layers()
    if missing:
        pytest.skip(f"this machine has no {missing[0]}")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@contextlib.contextmanager
def others(place: Path) -> Iterator[dict[str, Any]]:
    """By name: whom to connect to, what to read, and a process that is nobody's business."""
    secret = place / "secret"
    secret.write_text("hunter2")
    secret.chmod(0o600)
    outside = place / "outside"
    outside.mkdir()
    shared = Path("/dev/shm") / f"casparian-test-{os.getpid()}"
    shared.write_bytes(b"rows of another")
    abstract = f"casparian-test-{os.getpid()}"
    victim = subprocess.Popen(["sleep", "600"], env={"SECRET": "hunter2"})
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
            socket.socket(socket.AF_UNIX) as unix,
            socket.socket(socket.AF_UNIX) as named,
        ):
            udp.bind(("127.0.0.1", 0))
            unix.bind(str(place / "listening"))
            named.bind("\0" + abstract)
            for server in (unix, named):
                server.listen()
            yield {
                "secret": str(secret),
                "outside": str(outside),
                "home": os.path.expanduser("~"),
                "shared": str(shared),
                "victim": victim.pid,
                "tcp": tcp.getsockname()[1],
                "udp": udp.getsockname()[1],
                "unix": str(place / "listening"),
                "abstract": abstract,
            }
    finally:
        victim.kill()
        victim.wait()
        shared.unlink()
        shutil.rmtree(outside, ignore_errors=True)
