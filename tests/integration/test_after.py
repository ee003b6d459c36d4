"""Files taken away by a real engine, and one that is killed while it does."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support.project import Project, wait_for

BIN = Path(sys.executable).parent
ROOT = '[[source_root]]\npath = "inbox"\n'


def configured(tmp_path: Path, after: str) -> Project:
    project = Project(tmp_path / "project")
    project.csv_to("parquet://./output")
    text = (project.directory / "casparian.toml").read_text()
    project.configure(text.replace(ROOT, f'{ROOT}after = "{after}"\n'))
    return project


def names(directory: Path) -> list[str]:
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file())


def test_a_drain_archives_what_is_done_and_keeps_what_failed(tmp_path: Path) -> None:
    project = configured(tmp_path, "archive:done")
    project.drop("d/good.csv", "n\n1\n2\n")
    project.drop("bad.csv", b"")
    project.drop("note.txt", "nobody wants it")
    assert project.drain() == 1
    assert names(project.inbox) == ["bad.csv", "note.txt"]
    assert names(project.directory / "done") == ["d/good.csv"]
    said = project.casparian("why", "d/good.csv").stdout
    assert f"The engine archived the file as {project.directory}/done/d/good.csv at " in said
    assert project.drain() == 1
    assert project.parquet().num_rows == 2
    assert project.query(
        "select versions, deleted from file_location where path = ?", b"d/good.csv"
    ) == [(1, 1)]


def test_a_running_engine_deletes_what_is_done(tmp_path: Path) -> None:
    project = configured(tmp_path, "delete")
    with project.running():
        for round_ in range(3):
            project.drop("again.csv", f"n\n{round_}\n")
            wait_for(lambda: not names(project.inbox))
    assert project.statuses() == {"COMPLETED": 3}
    assert project.parquet()["n"].to_pylist() == [2]


@pytest.mark.parametrize("kind", ["delete", "archive:done"])
def test_killed_again_and_again_it_loses_and_doubles_nothing(tmp_path: Path, kind: str) -> None:
    project = configured(tmp_path, kind)
    text = (project.directory / "casparian.toml").read_text()
    project.configure(text.replace('mode = "replace"', 'mode = "append"'))
    wanted = list(range(60))
    for number in wanted:
        project.drop(f"f{number}.csv", f"n\n{number}\n")
    for left in (50, 30, 10):
        process = project.start()
        try:
            wait_for(lambda left=left: len(names(project.inbox)) <= left)  # type: ignore[misc]
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert project.drain() == 0
    assert names(project.inbox) == []
    assert sorted(project.parquet()["n"].to_pylist()) == wanted
    assert project.query("select count(*) from file_version") == [(len(wanted),)]
    archived = project.directory / "done"
    assert len(names(archived)) == (len(wanted) if kind != "delete" else 0)
    assert project.query("select distinct outcome from file_departure") == [("gone",)]
    assert os.listdir(project.inbox) == []
