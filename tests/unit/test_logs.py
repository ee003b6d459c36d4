"""Logs: colours for a terminal, none for a file or a pipe; JSON where nobody sits."""

from __future__ import annotations

import io
import json
import os
import pty
import sys
from collections.abc import Iterator

import pytest
import structlog

from casparian.app.logs import configure_logs

ESCAPE = "\x1b["


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    yield
    structlog.reset_defaults()


def said_into_a_pipe(monkeypatch: pytest.MonkeyPatch, as_json: bool | None) -> str:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logs("info", as_json)
    structlog.get_logger().info("drained", jobs=3)
    return stream.getvalue()


def test_text_in_a_pipe_has_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    said = said_into_a_pipe(monkeypatch, as_json=False)
    assert ESCAPE not in said
    assert "drained" in said
    assert "jobs=3" in said


def test_a_pipe_gets_json_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads(said_into_a_pipe(monkeypatch, as_json=None))
    assert (document["event"], document["jobs"], document["level"]) == ("drained", 3, "info")


def test_a_terminal_gets_coloured_text(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        configure_logs()
        structlog.get_logger().info("drained", jobs=3)
        terminal.flush()
        said = os.read(ours, 4096).decode()
    os.close(ours)
    assert ESCAPE in said
    assert "drained" in said
