"""`casparian backfill`: a plugin's code is changed, and its rows are made anew, exactly."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from typing import Any

import pyarrow.parquet as pq
import pytest

from casparian.domain.plugins import code_hash
from tests.support.audit import violations_of
from tests.support.project import Project, wait_for

pytestmark = pytest.mark.slow

SINKS = {"parquet": "parquet://./output", "sqlite": "sqlite://out.db/output"}
KEPT = '[archive]\ndirectory = "kept"\n'


def code(mark: str, topic: str = "output") -> str:
    """A plugin whose rows say which code made them."""
    return f"""
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        with open(file_path) as file:
            lines = file.read().split()
        self.publish({topic!r}, [{{"line": line, "code": {mark!r}}} for line in lines])
"""


def configured(project: Project, kind: str, more: str = "", mode: str = "replace") -> Project:
    project.csv_to(SINKS[kind], more, mode)
    project.plugin("csv_table", code("old"))
    return project


def rows(project: Project, kind: str = "parquet") -> list[tuple[str, str]]:
    if kind == "parquet":
        return sorted((r["line"], r["code"]) for r in project.parquet().to_pylist())
    with closing(sqlite3.connect(project.directory / "out.db")) as db:
        return sorted(db.execute("select line, code from output"))


def backfill(project: Project, *arguments: str, code: int = 0) -> Any:
    return json.loads(
        project.casparian("backfill", "csv_table", "--json", *arguments, code=code).stdout
    )


def live_hash(project: Project) -> str:
    return code_hash((project.plugins / "csv_table.py").read_bytes())


@pytest.mark.parametrize("kind", ["parquet", "sqlite"])
def test_rows_of_other_code_are_replaced(project: Project, kind: str) -> None:
    configured(project, kind)
    project.drop("a.csv", "one two")
    project.drop("b.csv", "three")
    assert project.drain() == 0
    old_hash = live_hash(project)
    project.plugin("csv_table", code("new"))
    told = project.casparian("backfill", "csv_table")
    assert "an engine that starts takes it up" in told.stderr
    assert "are the live code's; nothing was enqueued" in told.stdout
    # The new code is live with the start; by itself it changes no rows.
    project.drop("c.csv", "four")
    assert project.drain() == 0
    assert rows(project, kind) == [
        ("four", "new"), ("one", "old"), ("three", "old"), ("two", "old"),
    ]  # fmt: skip
    shown = backfill(project, "--dry-run")
    assert (shown["dry_run"], shown["rows"], shown["left"]) == (True, 3, [])
    assert [(v["path"], v["rows"], v["plugin_hash"], v["job_id"]) for v in shown["versions"]] == [
        ("a.csv", 2, old_hash, None),
        ("b.csv", 1, old_hash, None),
    ]
    text = project.casparian("backfill", "csv_table", "--dry-run").stdout
    assert "3 rows of 2 versions would be made anew." in text
    assert project.statuses() == {"COMPLETED": 3}
    only = backfill(project, "--path", "b.*")
    assert [v["path"] for v in only["versions"]] == ["b.csv"]
    both = backfill(project)
    assert [v["path"] for v in both["versions"]] == ["a.csv"]
    assert [v["path"] for v in both["left"]] == ["b.csv"]
    assert "waits to run on it" in both["left"][0]["reason"]
    assert project.statuses() == {"COMPLETED": 3, "QUEUED": 2}
    assert project.drain() == 0
    assert rows(project, kind) == [
        ("four", "new"), ("one", "new"), ("three", "new"), ("two", "new"),
    ]  # fmt: skip
    assert backfill(project)["versions"] == []
    # From the row to the code: by the trace, and in the file itself.
    (job,) = (v["job_id"] for v in both["versions"])
    document = json.loads(project.casparian("trace", str(job), "0", "--json").stdout)
    assert (document["job"]["plugin_hash"], document["path"]) == (live_hash(project), "a.csv")
    (event, actor) = project.query("select event, actor from job_event where actor is not null")[0]
    assert (event, "@" in actor) == ("BACKFILLED", True)
    if kind == "parquet":
        hashes = {
            entry["plugin_hash"]
            for file in (project.directory / "output").glob("**/*.parquet")
            for entry in json.loads(pq.read_metadata(file).metadata[b"casparian.jobs"])
        }
        assert hashes == {live_hash(project)}
    assert violations_of(project.database) == []


def test_of_versions_whose_bytes_are_gone_those_that_are_kept(project: Project) -> None:
    configured(project, "parquet", KEPT, "append")
    for text in ("one", "two"):
        project.drop("a.csv", text)
        assert project.drain() == 0
    (project.inbox / "a.csv").unlink()
    project.drop("b.csv", "other")
    for _ in range(2):
        project.casparian("scan")
    assert project.drain() == 0
    project.plugin("csv_table", code("new"))
    assert project.drain() == 0
    # Without its archive the engine could read only what is there.
    toml = project.directory / "casparian.toml"
    toml.write_text((text := toml.read_text()).replace(KEPT, ""))
    shown = backfill(project, "--dry-run")
    assert [v["path"] for v in shown["versions"]] == ["b.csv"]
    assert [v["version"] for v in shown["left"]] == [1, 2]
    assert all("[archive] has not kept it" in v["reason"] for v in shown["left"])
    backfill(project, code=1)
    toml.write_text(text)
    done = backfill(project)
    assert [v["path"] for v in done["versions"]] == ["a.csv", "a.csv"]
    assert project.drain() == 0, project.log()
    assert rows(project) == [("one", "new"), ("other", "new"), ("two", "new")]
    assert violations_of(project.database) == []


def test_what_gets_no_job_is_named(project: Project) -> None:
    configured(project, "parquet")
    project.drop("a.csv", "one")
    project.drop("b.csv", "two")
    project.drop("failing.csv", "three")
    failing = "assert 'failing' not in file_path\n        with open"
    project.plugin("csv_table", code("old").replace("with open", failing))
    assert project.drain() == 1
    project.plugin("csv_table", code("new"))
    assert project.drain() == 1
    project.drop("b.csv", "changed, and not seen yet")
    text = project.casparian("backfill", "csv_table", "--dry-run").stdout
    assert "1 row of 1 version would be made anew." in text
    assert "b.csv is left: " in text
    assert "is no longer what version" in text
    assert "1 job failed with other code: `casparian retry --failed --plugin csv_table`" in text
    assert backfill(project, "--since", "2099-01-01")["versions"] == []
    done = backfill(project, code=1)
    assert ([v["path"] for v in done["versions"]], done["failed"]) == (["a.csv"], 1)
    for arguments, said in [
        (["other"], "no plugin 'other'; known: csv_table"),
        (["csv_table", "--since", "soon"], "is no date"),
    ]:
        assert said in project.casparian("backfill", *arguments, code=2).stderr


def test_new_code_that_fails_leaves_the_old_rows_and_is_not_asked_again(project: Project) -> None:
    configured(project, "parquet")
    project.drop("a.csv", "one")
    assert project.drain() == 0
    project.plugin("csv_table", code("new").replace("lines = ", "raise ValueError"))
    assert project.drain() == 0
    (job,) = (v["job_id"] for v in backfill(project)["versions"])
    assert project.drain() == 1
    assert rows(project) == [("one", "old")]
    (left,) = backfill(project, code=1)["left"]
    assert f"`casparian retry {job}`" in left["reason"]
    project.plugin("csv_table", code("mended"))
    assert project.drain() == 1
    project.casparian("retry", str(job))
    assert project.drain() == 0
    assert rows(project) == [("one", "mended")]


def test_an_engine_that_is_killed_in_the_middle_of_it(project: Project) -> None:
    files = 40
    configured(project, "parquet")
    for number in range(files):
        project.drop(f"{number}.csv", f"line-{number:02}")
    assert project.drain() == 0
    slow = "import time\n        time.sleep(0.03)\n        with open"
    project.plugin("csv_table", code("new").replace("with open", slow))
    assert project.drain() == 0
    assert len(backfill(project)["versions"]) == files
    done = "select count(*) from processing_job where status = 'COMPLETED' and priority < -1000"

    def wait_until_done(count: int) -> None:
        wait_for(lambda: project.query(done)[0][0] >= count)

    for killed_after in (3, 15):
        with project.running() as engine:
            wait_until_done(killed_after)
            engine.send_signal(signal.SIGKILL)
            engine.wait(30)
        now = rows(project)
        assert {mark for _, mark in now} == {"old", "new"}
        assert [line for line, _ in now] == [f"line-{n:02}" for n in range(files)]
        backfill(project)
    assert project.drain() == 0
    assert rows(project) == [(f"line-{n:02}", "new") for n in range(files)]
    assert project.query(done) == [(files,)]
    assert violations_of(project.database) == []
