"""`casparian forget`: the same bytes are a new version, in both modes."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.support.project import Project, wait_for


def forget(project: Project, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    return project.casparian("forget", *arguments, "--config", "casparian.toml", code=code)


@pytest.mark.parametrize(("mode", "rows"), [("replace", [1]), ("append", [1, 1])])
def test_a_forgotten_file_is_a_new_version(project: Project, mode: str, rows: list[int]) -> None:
    project.csv_to("parquet://./output", mode=mode)
    project.drop("a.csv", "a\n1\n")
    assert project.drain() == 0
    document = json.loads(forget(project, "inbox/a.csv", "a.csv", "--json").stdout)
    root = str(project.inbox)
    assert document == {"forgotten": [{"path": "a.csv", "source_root": root, "versions": 1}]}
    assert project.parquet()["a"].to_pylist() == [1]
    assert project.drain() == 0
    assert project.parquet()["a"].to_pylist() == rows
    assert project.query("select ordinal from file_version") == [(1,), (2,)]
    ((job, actor),) = project.query("select job_id, actor from job_event where event = 'FORGOTTEN'")
    assert job == 1
    assert "@" in actor


def test_a_running_engine_sees_the_file_as_new(project: Project) -> None:
    project.csv_to("parquet://./output", mode="append")
    project.drop("a.csv", "a\n1\n")
    with project.running() as engine:
        wait_for(lambda: project.statuses() == {"COMPLETED": 1})
        forget(project, "a.csv")
        wait_for(lambda: project.statuses() == {"COMPLETED": 2})
        assert engine.poll() is None
    assert project.parquet()["a"].to_pylist() == [1, 1]


def test_an_unknown_path_changes_nothing(project: Project) -> None:
    project.csv_to("parquet://./output")
    project.drop("a.csv", "a\n1\n")
    assert project.drain() == 0
    said = forget(project, "a.csv", "b.csv", code=2).stderr
    assert said.startswith("error: No scan has recorded 'b.csv'.")
    assert said.endswith("Nothing was forgotten.\n")
    assert project.query("select count(*) from job_event where event = 'FORGOTTEN'") == [(0,)]
    assert project.query("select content_hash is null from file_location") == [(0,)]
