"""Something that the engine needs is taken away for a while: it says so, waits, and goes on.

Disks without room are in test_bad_input_storage.py. Each test ends with the audit.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casparian.adapters.queue import open_sqlite
from casparian.app.promoter import LONGEST_WAIT_S, MOST_TRIES
from casparian.domain.documents.status import LoadedWaitDocument
from casparian.testing.world import VirtualClock
from tests.support.audit import violations_of
from tests.support.disks import SmallDisk
from tests.support.outputs import output_of
from tests.support.project import FAST, UNBOUND, Project, wait_for
from tests.support.stepped import Engine, Stage

pytestmark = pytest.mark.slow
SINKS = {"parquet": "parquet://./disk/output", "sqlite": "sqlite://disk/out.db/output"}
ROWS = 100_000
LARGE = 4 << 20
"""Bytes of a value that makes a file larger than the queue's."""

WAITS_FOR_GO = """
import pathlib, time
import pyarrow.csv as pc
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        directory = pathlib.Path(file_path).parents[1]
        (directory / "running").touch()
        while not (directory / "go").exists():
            time.sleep(0.02)
        options = pc.ReadOptions(use_threads=False)
        self.publish("output", pc.read_csv(file_path, read_options=options))
"""


def content(first: int, rows: int = 10) -> str:
    return "a\n" + "".join(f"{n * 7919 % 1000003}\n" for n in range(first, first + rows))


def numbers(*ranges: range) -> list[int]:
    return sorted(n * 7919 % 1000003 for some in ranges for n in some)


def published(project: Project, kind: str = "parquet", root: str = "output") -> list[int]:
    if kind == "sqlite":
        with contextlib.closing(sqlite3.connect(project.directory / "disk" / "out.db")) as db:
            return sorted(a for (a,) in db.execute("select a from output"))
    return sorted(project.parquet(root=root)["a"].to_pylist())


def quick(project: Project) -> None:
    """Heartbeats come often, so that `casparian status` is up to date."""
    file = project.directory / "casparian.toml"
    file.write_text(file.read_text().replace("[worker]", "[worker]\nrenew_s = 0.5"))


def waited_for(project: Project, code: int = 0) -> dict[str, str]:
    """What `casparian status` says is waited for, and why."""
    document = json.loads(project.casparian("status", "--json", code=code).stdout)
    return {wait["what"]: wait["reason"] for wait in document["waits_for"]}


def completed(project: Project, count: int) -> None:
    wait_for(lambda: project.statuses() == {"COMPLETED": count})


@pytest.mark.parametrize("kind", ["parquet", "sqlite"])
def test_an_output_that_is_read_only_is_waited_out(
    project: Project, disk: SmallDisk, kind: str
) -> None:
    project.csv_to(SINKS[kind])
    quick(project)
    project.drop("a.csv", content(0))
    with project.running() as engine:
        completed(project, 1)
        assert waited_for(project) == {}
        disk.remount("ro")
        project.drop("b.csv", content(10))
        waits = "select error_class, tries from processing_job where status = 'QUEUED'"
        wait_for(lambda: project.query(waits) == [("INFRASTRUCTURE", 0)])
        wait_for(lambda: "/disk/" in project.casparian("jobs", "--status", "QUEUED").stdout)
        wait_for(lambda: "/disk/" in waited_for(project).get("plugin csv_table", ""))
        disk.remount("rw")
        completed(project, 2)
        wait_for(lambda: waited_for(project) == {})
        assert engine.poll() is None
    assert published(project, kind, "disk/output") == numbers(range(20))
    assert violations_of(project.database) == []


@contextlib.contextmanager
def limited(pid: int, what: int, soft: int) -> Iterator[None]:
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (soft, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, before)


def waits_of(engine: Engine) -> list[LoadedWaitDocument]:
    """What an engine says that it waits for, with its next heartbeat."""
    engine.keeper.beat()
    workers = engine.stage.stores.reports.status()["workers"]
    (worker,) = (worker for worker in workers if worker["id"] == engine.name)
    return worker["load"].get("waits_for", [])


@contextlib.contextmanager
def read_only(disk: SmallDisk) -> Iterator[None]:
    disk.remount("ro")
    yield
    disk.remount("rw")


TAKEN: dict[str, Callable[[SmallDisk], contextlib.AbstractContextManager[None]]] = {
    "the right to write": read_only,
    "the size of files": lambda disk: limited(os.getpid(), resource.RLIMIT_FSIZE, LARGE // 2),
}


@pytest.mark.parametrize("inherited", [False, True], ids=["its own", "taken over"])
@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        ("parquet", "the right to write"),
        ("sqlite", "the right to write"),
        ("sqlite", "the size of files"),  # Directories are renamed, however large what is in them.
    ],
)
def test_what_is_decided_waits_for_what_its_output_needs(
    disk: SmallDisk, clock: VirtualClock, tmp_path: Path, kind: str, inherited: bool, taken: str
) -> None:
    """However often it is tried meanwhile: nobody has to retry it."""
    text = "x" * LARGE
    with contextlib.closing(open_sqlite(str(tmp_path / "queue.db"), clock)) as stores:
        stage = Stage(stores, clock, output_of(kind, disk.path, clock))
        one, two = stage.engine("one"), stage.engine("two")
        claim = one.new(b"a.csv", text)
        one.decide()
        holder = one
        if inherited:
            clock.advance(31)
            two.recover()
            holder = two
        with TAKEN[taken](disk):
            for _ in range(MOST_TRIES + 1):
                holder.promote()
                clock.advance(LONGEST_WAIT_S)
                held = stores.ledger.fates([claim.job_id])[claim.job_id]
                assert held.token is not None
                holder.leases.add([(claim.job_id, held.token)])
            assert stage.status(claim.job_id) == "PROMOTING"
            (wait,) = waits_of(holder)
            assert wait["what"].startswith(f"sink {disk.path}")
            assert wait["jobs"] == 1
        clock.advance(31)
        two.recover()
        two.publish()
        assert stage.status(claim.job_id) == "COMPLETED"
        assert stage.rows() == [text]
        assert waits_of(holder) == []
        assert stage.violations() == []


def test_a_limit_of_the_size_of_files_is_waited_out(project: Project) -> None:
    """Of those that are staged, and of the queue's log."""
    project.csv_to("parquet://./output")
    project.drop("a.csv", content(0))
    with project.running() as engine:
        completed(project, 1)
        with limited(engine.pid, resource.RLIMIT_FSIZE, 16 << 10):
            project.drop("b.csv", content(10, ROWS))
            wait_for(lambda: "warning" in project.log() or "error" in project.log())
        completed(project, 2)
        assert engine.poll() is None
    assert published(project) == numbers(range(10 + ROWS))
    assert violations_of(project.database) == []


def test_too_many_open_files_are_waited_out(project: Project) -> None:
    project.csv_to("parquet://./output")
    project.drop("a.csv", content(0))
    with project.running() as engine:
        completed(project, 1)
        open_now = len(os.listdir(f"/proc/{engine.pid}/fd"))
        with limited(engine.pid, resource.RLIMIT_NOFILE, open_now):
            for n in range(1, 4):
                project.drop(f"{n}.csv", content(10 * n))
            wait_for(lambda: "open" in project.log().partition("job completed")[2])
        completed(project, 4)
        assert engine.poll() is None
    assert published(project) == numbers(range(40))
    assert violations_of(project.database) == []


def waiting_for_go(project: Project) -> None:
    project.plugin("csv_table", WAITS_FOR_GO)
    project.configure(
        FAST.replace("[worker]", "[worker]\nlease_s = 2\nsweep_s = 0.5")
        + '[[source_root]]\npath = "inbox"\n[[rule]]\npattern = "*.csv"\ntag = "csv"\n'
        + '[plugin.csv_table]\ntags = ["csv"]\n'
        + '[plugin.csv_table.topics.output]\nsink = "parquet://./output"\n'
        + UNBOUND
    )


def test_an_engine_that_stood_still_past_its_lease_publishes_nothing(project: Project) -> None:
    waiting_for_go(project)
    project.drop("a.csv", content(0))
    running, go = project.directory / "running", project.directory / "go"
    with project.running() as first:
        wait_for(running.exists)
        first.send_signal(signal.SIGSTOP)
        try:
            with project.running("--role", "worker") as second:
                wait_for(lambda: project.query("select attempt from processing_job") == [(2,)])
                go.touch()
                completed(project, 1)
                first.send_signal(signal.SIGCONT)
                project.drop("b.csv", content(10))
                completed(project, 2)
                assert first.poll() is second.poll() is None
        finally:
            first.send_signal(signal.SIGCONT)
    assert published(project) == numbers(range(20))
    assert violations_of(project.database) == []


@pytest.fixture
def faked(project: Project) -> dict[str, str]:
    """What makes a process read its wall clock from the file `shift`."""
    for directory in Path("/usr/lib").glob("*/faketime"):
        library = directory / "libfaketimeMT.so.1"
        if library.exists():
            (project.directory / "shift").write_text("+0")
            return {
                "LD_PRELOAD": str(library),
                "FAKETIME_TIMESTAMP_FILE": str(project.directory / "shift"),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1",
                "NO_FAKE_STAT": "1",
            }
    pytest.skip("libfaketime is not installed")


@pytest.mark.parametrize("jump", ["+3600", "-3600"])
def test_a_clock_that_jumps_by_an_hour_loses_and_doubles_nothing(
    project: Project, faked: dict[str, str], jump: str
) -> None:
    """While a job runs, and before the next comes."""
    waiting_for_go(project)
    project.drop("a.csv", content(0))
    running, go = project.directory / "running", project.directory / "go"
    with project.running(**faked) as engine:
        wait_for(running.exists)
        (project.directory / "shift").write_text(jump)
        go.touch()
        completed(project, 1)
        project.drop("b.csv", content(10))
        completed(project, 2)
        found = [
            at for (at,) in project.query("select enqueued_at_us from processing_job order by id")
        ]
        assert abs(found[1] - found[0] - int(jump) * 1_000_000) < 600 * 1_000_000
        (project.directory / "shift").write_text("+0")
        project.drop("c.csv", content(20))
        completed(project, 3)
        assert engine.poll() is None
    assert published(project) == numbers(range(30))
    assert violations_of(project.database) == []
