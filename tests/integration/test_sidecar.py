"""The sidecar's process by itself: how it ends when the engine goes away."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from casparian.adapters.transport.zmq_ipc import ZmqIpcTransport
from casparian.app.sidecar import ENGINE_GONE
from tests.support.project import CSV_PLUGIN


@pytest.fixture
def transport(tmp_path: Path) -> ZmqIpcTransport:
    return ZmqIpcTransport(str(tmp_path / "router.ipc"))


def started(endpoint: str, directory: Path) -> subprocess.Popen[bytes]:
    """A sidecar that was given its instructions; the lifeline stays open."""
    process = subprocess.Popen(
        [sys.executable, "-m", "casparian.app.sidecar"],
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    instructions = {
        "parent_pid": os.getpid(),
        "session": "s" * 32,
        "plugin": "csv_table",
        "plugin_hash": "0" * 64,
        "code": base64.b64encode(CSV_PLUGIN.encode()).decode(),
        "settings": {},
        "endpoint": endpoint,
        "access": {},
        "heartbeat_s": 0.1,
        "memory_mb": 2048,
        "cpu_s": 60,
        "sandbox": {"mode": "auto", "read": [], "grants": "{}"},
    }
    assert process.stdin is not None
    process.stdin.write(json.dumps(instructions).encode() + b"\n")
    process.stdin.flush()
    return process


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    assert process.stderr is not None
    assert process.stdin is not None
    try:
        said = process.stderr.read().decode()
        return process.wait(60), said
    finally:
        process.stdin.close()
        process.stderr.close()


def test_an_engine_that_closes_the_connection_first_is_no_traceback(
    transport: ZmqIpcTransport, tmp_path: Path
) -> None:
    process = started(transport.bind(), tmp_path)
    while not transport.receive():
        assert transport.poll(60)
    transport.close()
    assert ended(process) == (ENGINE_GONE, "")


def test_what_else_breaks_the_wire_stays_loud(transport: ZmqIpcTransport, tmp_path: Path) -> None:
    process = started(transport.bind(), tmp_path)
    messages = transport.receive()
    while not messages:
        assert transport.poll(60)
        messages = transport.receive()
    transport.send(messages[0].peer, b"no head of ours")
    code, said = ended(process)
    transport.close()
    assert code not in (0, ENGINE_GONE)
    assert "Traceback" in said
