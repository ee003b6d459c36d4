"""`casparian retry` after real failures: what is queued again, what is left, and why."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import structlog

from casparian.adapters.queue import open_sqlite
from casparian.app.cli import main
from tests.support.project import CSV_PLUGIN, Project

PROGRAM = Path(sys.executable).parent / "casparian"
BROKEN = CSV_PLUGIN.replace("self.publish(", 'raise ValueError("column b is missing") or (')


def fail_three(project: Project) -> Project:
    """Three files that a broken plugin fails: jobs 1 to 3."""
    project.csv_to("parquet://./output")
    project.plugin("csv_table", BROKEN)
    for name in ("a.csv", "2013/b.csv", "2013/c.csv"):
        project.drop(name, "a,b\n1,2\n")
    assert project.drain() == 1
    assert project.statuses() == {"FAILED": 3}
    return project


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A history to be copied, not changed."""
    return fail_three(Project(tmp_path_factory.mktemp("retry") / "project"))


class Retry:
    """`casparian retry` in this process, over a copy of that history."""

    def __init__(self, failed: Project, directory: Path, capsys: Any) -> None:
        self.project = Project(directory)
        self._capsys = capsys
        for name in ("casparian.toml", "casparian_flow.sqlite3"):
            shutil.copy(failed.directory / name, directory / name)

    def __call__(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """Its standard output and its standard error."""
        config = str(self.project.directory / "casparian.toml")
        with pytest.raises(SystemExit) as end:
            main(["retry", *arguments, "--config", config])
        said = self._capsys.readouterr()
        assert end.value.code == code, said
        return said.out, said.err

    def document(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code)[0])

    def ids(self, *arguments: str) -> list[int]:
        return [job["id"] for job in self.document(*arguments)["retried"]]

    def numbers(self) -> dict[str, int]:
        """Job by path."""
        rows = self.project.query(
            "select l.path, j.id from processing_job j "
            "join file_version v on v.id = j.file_version_id "
            "join file_location l on l.id = v.location_id"
        )
        return {os.fsdecode(path): number for path, number in rows}


@pytest.fixture
def retry(failed: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Retry]:
    yield Retry(failed, tmp_path / "project", capsys)
    structlog.reset_defaults()


def test_options_choose_and_all_of_them_must_hold(retry: Retry) -> None:
    ids = retry.numbers()
    below = sorted([ids["2013/b.csv"], ids["2013/c.csv"]])
    assert retry.ids("--path", "2014/**") == []
    assert "nothing was changed" in retry("--path", "*.json")[0]
    assert retry.ids("--path", "2013/*", "--plugin", "csv_table") == below
    assert retry.project.statuses() == {"FAILED": 1, "QUEUED": 2}
    assert retry.ids("--plugin", "csv_table") == [ids["a.csv"]]


def test_cancelled_jobs_are_not_failed_ones(retry: Retry) -> None:
    number = retry.numbers()["a.csv"]
    with closing(open_sqlite(str(retry.project.database), create=False)) as stores:
        stores.queue.retry([number], "ann")
        assert stores.queue.cancel([number], "ann") == [number]
    assert retry.ids("--failed", "--path", "a.csv") == []
    assert retry.ids("--path", "a.csv") == [number]


def test_what_cannot_be_retried_is_left_with_its_reason(retry: Retry) -> None:
    assert retry("1")[0].endswith("1 job queued again.\n")
    document = retry.document("1", "2", code=1)
    (again,) = document["retried"]
    (left,) = document["left"]
    assert (again["id"], again["status"]) == (2, "FAILED")
    assert (left["id"], left["status"], left["reason"]) == (1, "QUEUED", "it waits already")
    assert retry("1", code=1)[0].splitlines() == [
        "0 jobs queued again.",
        "Job 1 is QUEUED and was left: it waits already.",
    ]


def test_an_unknown_number_changes_nothing(retry: Retry) -> None:
    out, err = retry("1", "99", code=2)
    assert out == ""
    assert err.startswith("error: There is no job 99; nothing was queued again.")
    assert retry.project.statuses() == {"FAILED": 3}


@pytest.mark.parametrize("arguments", [(), ("1", "--failed"), ("1", "--plugin", "csv_table")])
def test_either_numbers_or_options(retry: Retry, arguments: tuple[str, ...]) -> None:
    assert "either their numbers, or --failed" in retry(*arguments, code=2)[1]


def test_unknown_plugins_and_patterns_that_are_none(retry: Retry) -> None:
    assert "known: csv_table." in retry("--plugin", "csv_tabel", code=2)[1]
    assert "without its ']'" in retry("--path", "[a", code=2)[1]


def test_a_mended_plugin_and_a_retry_bring_the_rows(project: Project) -> None:
    fail_three(project)
    project.plugin("csv_table", CSV_PLUGIN)
    done = subprocess.run(
        [PROGRAM, "retry", "--failed"],
        cwd=project.directory,
        env={k: v for k, v in os.environ.items() if k != "CASPARIAN_CONFIG"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-1]) == ("id\twas\tplugin\tpath", "3 jobs queued again.")
    assert project.drain() == 0
    assert project.statuses() == {"COMPLETED": 3}
    assert project.parquet()["a"].to_pylist() == [1, 1, 1]
    ((actor,),) = project.query("select distinct actor from job_event where event = 'RETRIED'")
    user, _, host = actor.partition("@")
    assert user
    assert host == socket.gethostname()
