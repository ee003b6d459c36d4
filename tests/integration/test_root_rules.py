"""Rules of source roots, by the real programs."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.project import FAST, Project, wait_for

ROOTS = """
[[source_root]]
path = "inbox"
include = ["**/*.csv"]
exclude = ["test/**"]
done_marker = "{name}.done"
"""


def casparian(project: Project, *arguments: str, code: int = 0) -> str:
    done = project.casparian(*arguments, code=code)
    return done.stdout + done.stderr


def configured(tmp_path: Path, roots: str = ROOTS) -> Project:
    project = Project(tmp_path / "project")
    project.csv_to("parquet://./output")
    text = (project.directory / "casparian.toml").read_text()
    project.configure(text.replace('[[source_root]]\npath = "inbox"\n', roots))
    assert FAST in (project.directory / "casparian.toml").read_text()
    return project


def test_rows_come_once_the_marker_stands_and_why_tells_the_rest(tmp_path: Path) -> None:
    project = configured(tmp_path)
    for name in ("a.csv", "b.csv", "test/c.csv", "note.txt"):
        project.drop(name, "n\n1\n")
    project.drop("a.csv.done", "")
    assert project.drain() == 0
    assert project.parquet().num_rows == 1
    for name, said in {
        "b.csv": "it waits for its marker 'b.csv.done'",
        "test/c.csv": "its path matches exclude = 'test/**'",
        "note.txt": "its path matches none of the globs of include",
        "a.csv.done": "it is a marker",
    }.items():
        assert said in casparian(project, "why", f"inbox/{name}", code=2)
    assert "Nothing: all is done." in casparian(project, "why", "a.csv")

    project.drop("a.csv", "n\n1\n2\n")
    assert project.drain() == 0
    assert project.parquet().num_rows == 1
    assert "it waits for a newer one" in casparian(project, "why", "a.csv")
    assert 'done_marker = "{name}.done"' in casparian(project, "check")
    os.utime(project.inbox / "a.csv.done")
    assert project.drain() == 0
    assert project.parquet().num_rows == 2


def test_a_running_engine_takes_a_file_when_its_marker_comes(tmp_path: Path) -> None:
    project = configured(tmp_path)
    project.drop("d/a.csv", "n\n1\n")
    with project.running():
        wait_for(lambda: "worker started" in project.log())
        project.drop("d/a.csv.done", "")
        wait_for(lambda: project.statuses() == {"COMPLETED": 1})
    assert project.parquet().num_rows == 1


def test_wrong_rules_are_refused_with_their_line(tmp_path: Path) -> None:
    project = configured(tmp_path, ROOTS.replace("test/**", "[z-a]"))
    assert project.drain() == 2
    assert "runs backwards" in project.log()
    said = casparian(project, "check", code=1)
    assert "casparian.toml, line" in said
    assert "runs backwards" in said
