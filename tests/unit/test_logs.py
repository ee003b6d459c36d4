"""Logs: colours for a terminal, none for a file or a pipe; JSON where nobody sits."""

from __future__ import annotations

import errno
import io
import json
import os
import pty
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import structlog

from casparian.app.logs import configure_logs, configure_logs_by
from casparian.app.settings_observing import LogSection
from casparian.domain.errors import ConfigurationError
from tests.support.project import Project, documents

ESCAPE = "\x1b["


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    yield
    structlog.reset_defaults()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


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


# --- a stream that takes nothing ----------------------------------------------------------


def test_lines_that_cannot_be_written_are_counted_and_end_nothing(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream, open("/dev/full", "w") as full:
        configure_logs("info", as_json=True, stream=stream)
        room = os.dup(stream.fileno())
        log = structlog.get_logger()
        log.info("first")
        os.dup2(full.fileno(), stream.fileno())
        log.info("second")
        log.info("third")
        os.dup2(room, stream.fileno())
        os.close(room)
        log.info("fourth")
        log.info("fifth")
    said = documents((tmp_path / "log").read_text())
    assert [(line["event"], line.get("lines_missing")) for line in said] == [
        ("first", None),
        ("fourth", 2),
        ("fifth", None),
    ]


def test_after_a_line_that_was_cut_off_another_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, room = os.write, 20

    def cut(descriptor: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = write(descriptor, data[:room])
        room -= done
        return done

    with (tmp_path / "log").open("w") as stream:
        configure_logs("info", as_json=True, stream=stream)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", cut)
            structlog.get_logger().info("first")
        structlog.get_logger().info("second")
    torn, whole = (tmp_path / "log").read_text().splitlines()
    assert len(torn) == 20
    assert json.loads(whole)["lines_missing"] == 1


@pytest.mark.parametrize("broken", ["closed", "gone"])
def test_nobody_reads_what_is_logged(broken: str) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        configure_logs("info", as_json=True, stream=stream)
        os.close(reader)
        if broken == "closed":
            stream.close()
        structlog.get_logger().info("said")


@pytest.mark.slow
def test_an_engine_works_whose_log_is_on_a_full_disk(project: Project) -> None:
    project.csv_to("parquet://./output")
    (project.directory / "engine.log").symlink_to("/dev/full")
    project.drop("a.csv", "n\n1\n")
    assert project.drain() == 0
    assert project.parquet()["n"].to_pylist() == [1]


# --- to a file --------------------------------------------------------------------------


def log_to(directory: Path, **keys: Any) -> list[Path]:
    """200 lines by way of a `[log]` table; the files there are then, the newest first."""
    section = LogSection(file="logs/engine.log", **keys)
    configure_logs_by(section, str(directory))
    for number in range(200):
        structlog.get_logger().info("line", number=number, padding="x" * 100)
        structlog.get_logger().debug("not said")
    structlog.get_config()["logger_factory"]._file.close()
    names = [directory / "logs" / f"engine.log{end}" for end in ("", ".1", ".2", ".3")]
    return [name for name in names if name.exists()]


def numbers(files: list[Path]) -> list[int]:
    lines = [line for file in reversed(files) for line in file.read_text().splitlines()]
    return [json.loads(line)["number"] for line in lines]


def test_a_file_gets_every_line_as_json(tmp_path: Path) -> None:
    files = log_to(tmp_path)
    assert len(files) == 1
    assert numbers(files) == list(range(200))


def test_a_full_file_is_turned_over_and_the_oldest_goes(tmp_path: Path) -> None:
    files = log_to(tmp_path, max_mb=0.01, backups=2)
    assert len(files) == 3
    assert all(file.stat().st_size <= 10_000 for file in files)
    kept = numbers(files)
    assert kept == list(range(kept[0], 200))
    assert kept[0] > 0


def test_text_where_the_table_says_so(tmp_path: Path) -> None:
    (file,) = log_to(tmp_path, format="console", level="info")
    assert file.read_text().count("number=") == 200
    assert ESCAPE not in file.read_text()


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    configure_logs_by(LogSection(file="engine.log", max_mb=1.0), str(tmp_path))
    with ThreadPoolExecutor(4) as pool:
        for number in range(400):
            pool.submit(structlog.get_logger().info, "line", number=number, padding="y" * 500)
    structlog.get_config()["logger_factory"]._file.close()
    assert sorted(numbers([tmp_path / "engine.log"])) == list(range(400))


def test_a_file_is_named_after_its_process(tmp_path: Path) -> None:
    configure_logs_by(LogSection(file="e-{pid}.log"), str(tmp_path))
    structlog.get_config()["logger_factory"]._file.close()
    assert (tmp_path / f"e-{os.getpid()}.log").exists()


def test_a_file_that_cannot_be_written_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigurationError, match=r"log\.file: .*/taken/engine\.log cannot be"):
        configure_logs_by(LogSection(file="taken/engine.log"), str(tmp_path))


def test_an_option_beats_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    section = LogSection(format="json", level="error")
    configure_logs_by(section, str(tmp_path), level="info", as_json=False)
    structlog.get_logger().info("said", by="option")
    assert "by=option" in stream.getvalue()


@pytest.mark.slow
def test_the_engine_logs_as_its_file_says(project: Project) -> None:
    project.csv_to("parquet://./output", '[log]\nfile = "run/engine.log"\nformat = "json"')
    project.drop("a.csv", "n\n1\n")
    assert project.drain() == 0, project.log()
    assert project.log() == ""
    said = documents((project.directory / "run" / "engine.log").read_text())
    assert [line["event"] for line in said][-1] == "drained"


@pytest.mark.parametrize("tty", [True, False])
def test_nothing_that_a_terminal_would_obey_is_logged_for_people(
    tty: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of files, what plugins print, texts of errors: with words between and without."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return tty

    stream = Terminal()
    configure_logs("info", as_json=False, stream=stream)
    log = structlog.get_logger()
    hostile = "\x1b[2J\x07\x9b31m\r\n\u202e\udc80"
    log.info("said" + hostile, path="a" + hostile, line="some words " + hostile)
    try:
        raise ValueError("wrong" + hostile)
    except ValueError:
        log.exception("failed")
    said = stream.getvalue()
    for colour in ("\x1b[0m", "\x1b[1m", "\x1b[2m", *(f"\x1b[{n}m" for n in range(30, 38))):
        said = said.replace(colour, "")
    # Lines end, and nothing else: one of each log, and those of the traceback.
    assert [c for c in said if not c.isprintable() and c != "\n"] == []
    assert said.count("\n") == 2 + len(["Traceback", "File", "raise", "ValueError", ""])
