"""`casparian adopt`: rows of a queue that is lost, or older than they are, with real engines."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import Project, wait_for

pytestmark = pytest.mark.slow

PROGRAM = Path(sys.executable).parent / "casparian"
SINKS = {"parquet": "parquet://./output", "sqlite": "sqlite://out.db/{topic}"}
TWO_TOPICS = """
import pyarrow.csv as pc
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        table = pc.read_csv(file_path)
        self.publish("output", table)
        self.publish("more", table)
"""


def run(project: Project, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    return project.casparian(*arguments, "--config", "casparian.toml", code=code)


def adopt(project: Project, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    return run(project, "adopt", *(arguments or ("output", "--yes")), code=code)


def rows(project: Project, topic: str = "output") -> list[int]:
    """The column `a` of all rows that a reader sees."""
    file = project.directory / "out.db"
    if file.exists():
        with contextlib.closing(sqlite3.connect(file)) as db:
            return sorted(value for (value,) in db.execute(f"select a from {topic}"))
    return sorted(project.parquet(topic)["a"].to_pylist())


def row_jobs(project: Project) -> dict[int, int]:
    """The job of each row, by its value."""
    file = project.directory / "out.db"
    if file.exists():
        with contextlib.closing(sqlite3.connect(file)) as db:
            return dict(db.execute("select a, _casparian_job_id from output"))
    table = project.parquet()
    return dict(zip(table["a"].to_pylist(), table["_casparian_job_id"].to_pylist(), strict=True))


def lose_database(project: Project) -> None:
    for path in project.directory.glob("casparian_flow.sqlite3*"):
        path.unlink()


def back_up(project: Project, to: str = "backup.sqlite3") -> Path:
    copy = project.directory / to
    copy.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(project.database)) as db:
        db.execute("VACUUM INTO ?", (str(copy),))
    return copy


def restore(project: Project, copy: Path) -> None:
    lose_database(project)
    shutil.copy(copy, project.database)


def installation(project: Project) -> str:
    ((uuid,),) = project.query("select uuid from installation")
    return str(uuid)


@pytest.fixture(params=SINKS)
def sink(request: pytest.FixtureRequest) -> str:
    return SINKS[request.param]


@pytest.fixture(params=["replace", "append"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def publish(project: Project, sink: str, mode: str = "replace", files: int = 3) -> list[int]:
    """A station with this many files of two rows each; their rows."""
    project.csv_to(sink, mode=mode)
    for n in range(files):
        project.drop(f"{n}.csv", f"a\n{10 * n}\n{10 * n + 1}\n")
    assert project.drain() == 0
    return rows(project)


def test_a_queue_made_anew_takes_over_what_the_lost_one_published(
    project: Project, sink: str, mode: str
) -> None:
    """Before and after: each row once. Files that are gone keep theirs, and replace them when
    they are there again."""
    before = publish(project, sink, mode)
    old = installation(project)
    lose_database(project)
    kept = project.inbox / "2.csv"
    away = kept.rename(project.directory / "2.csv")

    assert project.drain() == 1
    assert "casparian adopt output" in project.log()
    assert rows(project) == before
    said = run(project, "check", code=1).stdout
    assert "casparian adopt output" in said
    assert "would be taken over" in adopt(project, "output", code=2).stderr
    assert installation(project) != old

    done = json.loads(adopt(project, "output", "--yes", "--json").stdout)
    assert [(a["topic"], a["files"], a["rows"]) for a in done["adopted"]] == [("output", 3, 6)]
    assert done["adopted"][0]["installation"] == old
    assert done["left"] == []
    assert done["installation"] == installation(project)
    assert rows(project) == before
    assert run(project, "check").returncode == 0

    assert project.drain() == 0
    assert rows(project) == before
    jobs = row_jobs(project)
    assert all(jobs[value] > 3 for value in (0, 1, 10, 11))
    assert all(jobs[value] <= 3 for value in (20, 21))

    away.rename(kept)
    assert project.drain() == 0
    assert rows(project) == before
    assert all(job > 3 for job in row_jobs(project).values())
    project.drop("1.csv", "a\n5\n")
    assert project.drain() == 0
    expected = [0, 1, 5, 20, 21] if mode == "replace" else [0, 1, 5, 10, 11, 20, 21]
    assert rows(project) == expected


def test_a_queue_that_has_jobs_already_gives_them_other_numbers(
    project: Project, sink: str, mode: str
) -> None:
    """The new queue knows other files under the numbers of the lost one's."""
    before = publish(project, sink, mode)
    lose_database(project)
    project.drop("0-first.csv", "a\n100\n")
    run(project, "scan")
    done = json.loads(adopt(project, "output", "--yes", "--json").stdout)
    assert done["jobs"] == {"renumbered": 3, "again": 0, "enqueued": 0}
    assert rows(project) == before
    assert project.drain() == 0
    assert rows(project) == sorted([*before, 100])
    assert all(job > 3 for job in row_jobs(project).values())
    project.drop("0.csv", "a\n7\n")
    project.drop("0-first.csv", "a\n101\n")
    assert project.drain() == 0
    gone, new = ([0, 1], [7, 101]) if mode == "replace" else ([], [7, 100, 101])
    assert rows(project) == sorted([*(v for v in before if v not in gone), *new])


def test_a_restored_queue_takes_over_what_was_published_since(
    project: Project, sink: str, mode: str
) -> None:
    """A new file, a changed one, and one that was published again without a change."""
    publish(project, sink, mode)
    copy = back_up(project)
    old = installation(project)
    project.drop("new.csv", "a\n50\n")
    project.drop("0.csv", "a\n7\n")
    run(project, "forget", "1.csv")
    assert project.drain() == 0
    before = rows(project)
    restore(project, copy)

    assert project.drain() == 1
    assert "restored from an older copy" in project.log()
    done = json.loads(adopt(project, "output", "--yes", "--json").stdout)
    assert {a["owner"] for a in done["adopted"]} == {"restored"}
    assert installation(project) not in ("", old)
    assert rows(project) == before
    assert project.drain() == 0
    assert rows(project) == before
    assert project.drain() == 0
    assert rows(project) == before
    markers = {m["installation"] for m in markers_of(project)}
    assert markers == {installation(project)}


def markers_of(project: Project) -> list[dict[str, Any]]:
    file = project.directory / "out.db"
    if file.exists():
        with contextlib.closing(sqlite3.connect(file)) as db:
            return [json.loads(m) for (m,) in db.execute("select marker from _casparian_publish")]
    found: list[dict[str, Any]] = []
    for path in project.directory.glob("output/*/*/_casparian.json"):
        raw = json.loads(path.read_text())
        found += raw["bundle"]["members"] if "bundle" in raw else [raw]
    return found


def test_jobs_that_waited_when_the_copy_was_made(project: Project, sink: str) -> None:
    """Their numbers are not beyond the queue's: what stands under them is not its own either."""
    project.csv_to(sink)
    project.drop("a.csv", "a\n1\n")
    run(project, "scan")
    engine = project.start("--drain", "--role", "scout")
    assert engine.wait(60) == 0
    copy = back_up(project)
    assert project.statuses() == {"QUEUED": 1}
    assert project.drain() == 0
    restore(project, copy)
    assert project.drain() == 1
    assert "casparian adopt output" in project.log()
    done = json.loads(adopt(project, "output", "--yes", "--json").stdout)
    assert done["jobs"]["renumbered"] == 1
    assert project.drain() == 0
    assert row_jobs(project) == {1: 2}
    ((event, said),) = project.query("select event, message from job_event where job_id = 2")
    assert event == "ADOPTED"
    assert said.startswith("It was job 1:")


def test_a_topic_first_seen_with_rows_of_others_is_published_after_adoption(
    project: Project, tmp_path: Path
) -> None:
    """The job is blocked while it runs; done again, it replaces the rows."""
    publish(project, SINKS["sqlite"], files=1)
    lose_database(project)
    project.csv_to("sqlite://other.db/{topic}")
    assert project.drain() == 0
    text = (project.directory / "casparian.toml").read_text()
    project.configure(text.replace("sqlite://other.db/{topic}", "sqlite://out.db/{topic}"))
    assert project.drain() == 1
    adopt(project, "output", "--yes")
    assert project.drain() == 0
    assert rows(project) == [0, 1]


def test_only_the_topics_that_are_named(project: Project, sink: str) -> None:
    project.csv_to(sink.replace("{topic}", "output"))
    project.plugin("csv_table", TWO_TOPICS)
    text = (project.directory / "casparian.toml").read_text()
    more = f'[plugin.csv_table.topics.more]\nsink = "{sink.replace("{topic}", "more")}"\n'
    project.configure(text + more)
    project.drop("a.csv", "a\n1\n2\n")
    assert project.drain() == 0
    lose_database(project)
    run(project, "scan")
    assert "There is no topic 'mroe'" in adopt(project, "mroe", "--yes", code=2).stderr
    said = adopt(project, "output", "--yes").stdout
    assert "casparian adopt more" in said
    assert project.drain() == 1
    said = adopt(project, "more", "--yes").stdout
    assert "2 rows of 1 file taken over" in said
    assert "Nothing to take over" in adopt(project, "--all", "--yes").stdout
    assert project.drain() == 0
    assert rows(project) == rows(project, "more") == [1, 2]
    assert Counter(m["ordinal"] for m in markers_of(project)) == {1: 2}


REJECTING = """
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        self.publish("output", [{"a": 1}])
        self.reject(b"torn", "It is torn.")
"""


def on_terminal(project: Project, answer: str) -> str:
    """What `casparian adopt output` shows to somebody who answers so."""
    here, there = pty.openpty()
    command = [PROGRAM, "adopt", "output", "--config", "casparian.toml"]
    with subprocess.Popen(
        command, cwd=project.directory, stdin=there, stdout=there, stderr=there
    ) as process:
        os.close(there)
        os.write(here, f"{answer}\n".encode())
        shown = b""
        # The end of a terminal that nobody has open is an error.
        with contextlib.suppress(OSError):
            while read := os.read(here, 65536):
                shown += read
        assert process.wait(60) == 0
    os.close(here)
    return shown.decode()


def test_it_asks_and_takes_what_was_rejected_along(project: Project) -> None:
    project.csv_to("parquet://./output")
    project.plugin("csv_table", REJECTING)
    text = (project.directory / "casparian.toml").read_text()
    project.configure(text.replace('tags = ["csv"]', 'tags = ["csv"]\nmax_rejects = 5'))
    project.drop("a.csv", "a\n1\n")
    assert project.drain() == 0
    lose_database(project)
    run(project, "scan")
    before = markers_of(project)
    shown = on_terminal(project, "n")
    assert "csv_table_rejects" in shown.replace("\r\n", "").replace(" ", "")
    assert "Nothing was changed." in shown
    assert markers_of(project) == before
    assert "2 rows of 1 file taken over" in on_terminal(project, "y")
    assert {m["installation"] for m in markers_of(project)} == {installation(project)}
    assert project.drain() == 0
    assert rows(project) == [1]
    assert project.parquet("csv_table_rejects").num_rows == 1


def test_it_is_refused_while_an_engine_runs(project: Project) -> None:
    publish(project, SINKS["parquet"], files=1)
    lose_database(project)
    run(project, "scan")
    text = (project.directory / "casparian.toml").read_text()
    project.configure(text.replace("./output", "./elsewhere"))
    with project.running():
        wait_for(lambda: project.query("select 1 from worker_node"))
        project.configure(text)
        old = installation(project)
        said = adopt(project, "output", "--yes", code=2).stderr
    assert "An engine runs on this queue" in said
    assert installation(project) == old
    adopt(project, "output", "--yes")


def test_how_an_adopted_row_is_told(project: Project) -> None:
    publish(project, SINKS["parquet"], files=2)
    old = installation(project)
    lose_database(project)
    (project.inbox / "1.csv").unlink()
    run(project, "scan")
    adopt(project)
    assert project.drain() == 0
    gone = next(job for value, job in row_jobs(project).items() if value == 10)
    said = run(project, "trace", str(gone), "1").stdout
    assert old[:12] in said
    assert "1.csv" in said
    document = json.loads(run(project, "trace", str(gone), "--json").stdout)
    assert document["job"] is None
    assert [a["path"] for a in document["adopted"]] == ["1.csv"]
    assert "There is no job 99" in run(project, "trace", "99", code=2).stderr
    story = run(project, "why", "1.csv").stdout
    assert f"installation {old[:12]}" in story
    assert "still stand" in story
    assert "replaced" in run(project, "why", "0.csv").stdout
    # Nothing here knows a version of the file that a purge could be of.
    said = run(project, "purge", "--path", "1.csv", "--yes", code=1).stdout
    assert "this queue has never seen the file" in said
    assert 10 in rows(project)
    project.drop("1.csv", "a\n12\n")
    assert project.drain() == 0
    run(project, "purge", "--path", "1.csv", "--yes")
    assert rows(project) == [0, 1]
