"""`casparian purge`: published rows go from every sink, and come back only when asked for."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from casparian.adapters.queue import QueueStores, open_sqlite
from casparian.app import purging
from casparian.app.purging import Purger
from casparian.app.registry import Registry
from casparian.app.settings import Settings
from casparian.app.targets import Targets
from tests.support.project import Project, wait_for

pytestmark = pytest.mark.slow

PROGRAM = Path(sys.executable).parent / "casparian"
SINKS = {"parquet": "parquet://./output", "sqlite": "sqlite://out.db/output"}
PLUGIN = """
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        with open(file_path) as file:
            lines = file.read().split()
        self.publish("output", [{"a": line} for line in lines])
        self.reject(b"torn", "It is torn.")
"""


@pytest.fixture(params=["parquet", "sqlite"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def configured(project: Project, kind: str, mode: str = "replace") -> Project:
    """Every file of letters to one topic, and a reject of each."""
    project.csv_to(SINKS[kind], mode=mode)
    project.plugin("csv_table", PLUGIN)
    text = (project.directory / "casparian.toml").read_text()
    text = text.replace('tags = ["csv"]', 'tags = ["csv"]\nmax_rejects = 5')
    (project.directory / "casparian.toml").write_text(text)
    return project


def run(project: Project, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    return project.casparian(*arguments, "--config", "casparian.toml", code=code)


def purge(project: Project, glob: str, *arguments: str, code: int = 0) -> Any:
    return json.loads(run(project, "purge", "--path", glob, "--yes", "--json", code=code).stdout)


def rows(project: Project, kind: str, topic: str = "output") -> list[str]:
    name, column = ("output", "a") if topic == "output" else ("csv_table_rejects", "reason")
    if kind == "parquet":
        table = project.parquet(name)
        return sorted(table[column].to_pylist()) if table.num_rows else []
    with closing(sqlite3.connect(project.directory / "out.db")) as db:
        return sorted(row[0] for row in db.execute(f"select {column} from {name}"))


@pytest.mark.parametrize("mode", ["replace", "append"])
def test_rows_go_and_come_back_when_the_file_is_forgotten(
    project: Project, kind: str, mode: str
) -> None:
    configured(project, kind, mode)
    project.drop("a.csv", "one")
    project.drop("b.csv", "other")
    assert project.drain() == 0
    project.drop("a.csv", "two three")
    assert project.drain() == 0
    standing = ["one", "three", "two"] if mode == "append" else ["three", "two"]
    assert rows(project, kind) == sorted(["other", *standing])
    document = purge(project, "a.csv")
    (gone,) = document["purged"]
    assert document["left"] == []
    assert (gone["path"], gone["plugin"], gone["deleted"]) == ("a.csv", "csv_table", False)
    published = [(o["topic"], o["rows"]) for o in gone["outputs"]]
    old = [("output", 1), ("_rejects", 1)] if mode == "append" else []
    assert sorted(published) == sorted([("output", 2), ("_rejects", 1), *old])
    assert (rows(project, kind), rows(project, kind, "rejects")) == (["other"], ["It is torn."])
    assert project.stagings() == []
    ((job, actor),) = project.query("select job_id, actor from job_event where event = 'PURGED'")
    assert (job, "@" in actor) == (gone["job_id"], True)
    # Nothing brings them back by itself.
    assert project.drain() == 0
    assert rows(project, kind) == ["other"]
    told = run(project, "why", "a.csv").stdout
    assert f"until they were purged by {actor}" in told
    assert "`casparian forget a.csv` has the file published again" in told
    (newest,) = project.query("select max(id) from processing_job where kind = 'RUN'")
    assert f"no longer there: purged by {actor}" in run(project, "trace", str(newest[0])).stdout
    run(project, "forget", "a.csv")
    assert project.drain() == 0
    assert rows(project, kind) == ["other", "three", "two"]
    assert "What to do\n  Nothing: all is done." in run(project, "why", "a.csv").stdout


def test_rows_of_a_deleted_file(project: Project) -> None:
    configured(project, kind := "parquet")
    file = project.drop("2013/a.csv", "one")
    project.drop("2014/a.csv", "two")
    assert project.drain() == 0
    file.unlink()
    for _ in range(2):
        run(project, "scan")
    assert rows(project, kind) == ["one", "two"]
    (gone,) = purge(project, "2013/**")["purged"]
    assert gone["deleted"]
    assert rows(project, kind) == ["two"]
    told = run(project, "why", "2013/a.csv").stdout
    assert "The file is gone from its directory. A file of the same name" in told
    assert "stay published" not in told
    project.drop("2013/a.csv", "one")
    assert project.drain() == 0
    assert rows(project, kind) == ["one", "two"]


def test_while_an_engine_runs(project: Project, kind: str) -> None:
    configured(project, kind)
    names = [f"{letter}.csv" for letter in "abcdefgh"]
    for name in names:
        project.drop(name, name)
    with project.running() as engine:
        wait_for(lambda: project.statuses() == {"COMPLETED": len(names)})
        assert len(purge(project, "[a-d].csv")["purged"]) == 4
        assert rows(project, kind) == names[4:]
        project.drop("a.csv", "again")
        wait_for(lambda: rows(project, kind) == sorted(["again", *names[4:]]))
        assert len(purge(project, "*.csv")["purged"]) == 5
        assert rows(project, kind) == []
        assert engine.poll() is None
    assert project.statuses() == {"COMPLETED": len(names) + 4 + 1 + 5}
    assert project.stagings() == []


def test_a_waiting_job_keeps_the_rows(project: Project) -> None:
    """It may publish. Once it is cancelled the rows go, and it cannot bring any back."""
    configured(project, kind := "sqlite")
    project.drop("a.csv", "one")
    assert project.drain() == 0
    project.drop("a.csv", "two")
    run(project, "scan")
    (left,) = purge(project, "a.csv", code=1)["left"]
    assert (left["job_id"], "job 2 of csv_table waits to run" in left["reason"]) == (2, True)
    assert "casparian cancel 2" in left["reason"]
    shown = run(project, "purge", "--path", "a.csv", "--yes", code=1).stdout
    assert "a.csv (csv_table) was left: job 2" in shown
    assert rows(project, kind) == ["one"]
    run(project, "cancel", "2")
    assert len(purge(project, "a.csv")["purged"]) == 1
    run(project, "retry", "2")
    assert project.drain() == 0
    assert rows(project, kind) == []
    assert project.query("select status from processing_job where id = 2") == [("SUPERSEDED",)]


def test_a_changed_sink_leaves_rows_that_are_purged(project: Project, kind: str) -> None:
    """No key of the configuration names the target that they are in."""
    configured(project, kind)
    project.drop("a.csv", "one")
    assert project.drain() == 0
    other = "sqlite" if kind == "parquet" else "parquet"
    configured(project, other)
    project.drop("a.csv", "two")
    assert project.drain() == 0
    assert (rows(project, kind), rows(project, other)) == (["one"], ["two"])
    (gone,) = purge(project, "*.csv")["purged"]
    assert len(gone["outputs"]) == 4
    assert (rows(project, kind), rows(project, other)) == ([], [])
    assert (rows(project, kind, "rejects"), rows(project, other, "rejects")) == ([], [])


# --- what is asked and refused ----------------------------------------------------------------


def test_nobody_to_ask(project: Project) -> None:
    configured(project, "parquet")
    project.drop("a.csv", "one two")
    assert project.drain() == 0
    for arguments in ([], ["--json"]):
        done = run(project, "purge", "--path", "*.csv", *arguments, code=2)
        assert done.stderr.startswith("error: 3 rows of 1 file would be removed; nothing was.")
        assert "--yes" in done.stderr
    assert rows(project, "parquet") == ["one", "two"]
    assert project.query("select count(*) from processing_job") == [(1,)]


@pytest.mark.parametrize(("answer", "left"), [("n", ["one"]), ("y", [])])
def test_the_question(project: Project, answer: str, left: list[str]) -> None:
    configured(project, "parquet")
    project.drop("a.csv", "one")
    assert project.drain() == 0
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, "purge", "--path", "a.csv", "--config", "casparian.toml"],
        cwd=project.directory,
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(ours, 4096)
    assert b"Remove 2 rows of 1 file?" in said
    os.write(ours, f"{answer}\n".encode())
    assert process.wait(60) == 0
    os.close(ours)
    assert rows(project, "parquet") == left


def test_what_matches_nothing(project: Project) -> None:
    configured(project, "parquet")
    project.drop("a.csv", "one")
    run(project, "scan")
    done = run(project, "purge", "--path", "b*", "--yes", code=2)
    assert done.stderr.startswith("error: No known file matches 'b*'; nothing was removed.")
    assert "without its ']'" in run(project, "purge", "--path", "[a", "--yes", code=2).stderr
    assert purge(project, "a.csv") == {"purged": [], "left": []}
    said = run(project, "purge", "--path", "a.csv").stdout
    assert said == "No rows of these files are published; nothing was removed.\n"


def test_rows_of_another_installation_are_refused(project: Project, kind: str) -> None:
    configured(project, kind)
    project.drop("a.csv", "one")
    assert project.drain() == 0
    with closing(sqlite3.connect(project.database)) as db, db:
        db.execute("update installation set uuid = ?", ("f" * 32,))
    done = run(project, "purge", "--path", "a.csv", "--yes", code=1)
    assert "another installation" in done.stderr
    assert rows(project, kind) == ["one"]
    assert project.query("select count(*) from processing_job") == [(1,)]


# --- what it waits for ------------------------------------------------------------------------


def purger(project: Project, stores: QueueStores, told: list[str]) -> Purger:
    settings = Settings.load(project.directory / "casparian.toml")
    targets = Targets(Registry.default().sink_factories(settings))
    return Purger(settings, stores, targets, "me@here", told.append)


def test_a_job_that_publishes_is_waited_for(
    project: Project, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here another purge, decided by a worker that is alive and does not go on."""
    configured(project, kind)
    project.drop("a.csv", "one")
    assert project.drain() == 0
    with closing(open_sqlite(str(project.database), create=False)) as stores:
        (file,) = stores.reports.published(lambda path: True)
        key = (file["plugin"], file["location_id"])
        (other,) = stores.queue.begin_purges("elsewhere", [key], 3_600_000_000, "you@there").claims
        told: list[str] = []
        monkeypatch.setattr(purging, "BEYOND_LEASE_S", -29.5)
        mine = purger(project, stores, told)
        mine.start([key])
        try:
            (end,) = mine.purge([key])
            assert "is purging the same rows, for longer than" in end.reason
            assert told == [f"waiting: job {other.job_id} of csv_table is purging the same rows"]
            # Once the other is gone, mine goes on by itself.
            monkeypatch.setattr(mine, "_patience_s", 60)
            stop = threading.Timer(0.3, stores.queue.cancel, ([other.job_id], "me"))
            stop.start()
            (end,) = mine.purge([key])
            stop.join()
            assert end.reason == ""
        finally:
            mine.close()
    assert rows(project, kind) == []


def test_what_may_be_otherwise_in_a_moment_is_tried_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a disk that is full once."""
    configured(project, "parquet")
    project.drop("a.csv", "one")
    assert project.drain() == 0
    with closing(open_sqlite(str(project.database), create=False)) as stores:
        (file,) = stores.reports.published(lambda path: True)
        key = (file["plugin"], file["location_id"])
        mine = purger(project, stores, [])
        mine.start([key])
        (sink,) = mine._targets.opened()
        sync, full = sink.sync, [OSError(28, "No space left on device")]

        def sometimes(keys: Any) -> None:
            if full:
                raise full.pop()
            sync(keys)

        monkeypatch.setattr(sink, "sync", sometimes)
        try:
            (end,) = mine.purge([key])
        finally:
            mine.close()
        assert end.reason == ""
        tried = [(job["status"], job["kind"]) for job in stores.reports.jobs()][1:]
        assert tried == [("FAILED", "PURGE"), ("COMPLETED", "PURGE")]
    assert rows(project, "parquet") == []


def test_a_purge_that_is_interrupted_leaves_no_job_running(project: Project) -> None:
    configured(project, "parquet")
    project.drop("a.csv", "one")
    assert project.drain() == 0
    with closing(open_sqlite(str(project.database), create=False)) as stores:
        (file,) = stores.reports.published(lambda path: True)
        key = (file["plugin"], file["location_id"])
        mine = purger(project, stores, [])
        mine._keeper.start()
        (claim,) = stores.queue.begin_purges(mine._context.id, [key], 30_000_000, "me").claims
        mine._running[claim.job_id] = key
        mine._publisher.start()
        mine.close()
        assert stores.ledger.fates([claim.job_id])[claim.job_id].status == "CANCELLED"
        (node,) = [n for n in stores.queue.workers() if n.roles == ("purge",)]
        assert node.stopped
    assert rows(project, "parquet") == ["one"]
    # It is no run of a plugin: nobody tries it again, not even by a name for many.
    said = run(project, "retry", str(claim.job_id), code=1).stdout
    assert "is CANCELLED and was left: it is a purge; run `casparian purge --path a.csv`" in said
    assert json.loads(run(project, "retry", "--path", "a.csv", "--json").stdout) == {
        "retried": [],
        "left": [],
    }
