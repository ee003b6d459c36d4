"""The queue in a SQLite file, as several processes and unlucky programs use it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from casparian.adapters.queue import open_sqlite, sqlite_engine
from casparian.adapters.queue.jobs import SqlJobs
from casparian.adapters.queue.ledger import SqlLedger
from casparian.domain.errors import ErrorClass, UnavailableError
from casparian.domain.jobs import JobStatus, RetryPolicy
from casparian.testing.world import HASH, LEASE_US, PLUGIN, VirtualClock, World

CLAIMER = """
import json, sys
from casparian.adapters.queue import open_sqlite
from casparian.domain.jobs import RetryPolicy
path, name, batch, plugin, code = sys.argv[1:]
stores = open_sqlite(path)
print("ready", flush=True)
sys.stdin.read()
won = []
while claims := stores.queue.claim(name, {plugin: code}, int(batch), 30_000_000):
    won += [(claim.job_id, claim.attempt, claim.token) for claim in claims]
print(json.dumps(won))
stores.close()
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A queue file with a configuration, on a clock that stands still."""
    clock = VirtualClock()
    stores = open_sqlite(str(tmp_path / "queue.sqlite3"), clock)
    world = World(stores, clock)
    world.apply()
    yield world
    stores.close()


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    """A process that has said it is ready; it goes on when its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return said


@pytest.mark.parametrize(("batch", "jobs"), [(1, 200), (10, 1000), (100, 2000)])
def test_processes_claim_no_job_twice(world: World, tmp_path: Path, batch: int, jobs: int) -> None:
    """JobQueue, promise 1: four processes, at once, until nothing is left."""
    world.record_many(jobs)
    path = str(tmp_path / "queue.sqlite3")
    claimers = [start(CLAIMER, path, f"w{i}", str(batch), PLUGIN, HASH) for i in range(4)]
    for claimer in claimers:
        assert claimer.stdin is not None
        claimer.stdin.close()
        claimer.stdin = None
    won = [json.loads(finish(claimer)) for claimer in claimers]
    ids = [job_id for mine in won for job_id, _, _ in mine]
    assert sorted(ids) == list(range(1, jobs + 1))
    assert {attempt for mine in won for _, attempt, _ in mine} == {1}
    assert len({token for mine in won for _, _, token in mine}) == jobs
    assert world.statuses() == dict.fromkeys(range(1, jobs + 1), "RUNNING")


def test_another_process_ends_a_wait(world: World, tmp_path: Path) -> None:
    """Jobs that another process enqueues are seen long before the timeout."""
    enqueuer = start(
        """
import sys
from casparian.adapters.queue import open_sqlite
from casparian.domain.files import Sighting, StatIdentity
stores = open_sqlite(sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
sighting = Sighting(b"a.csv", StatIdentity(1, 1, 1, 1, 1), "0" * 64)
stores.catalog.record(stores.catalog.roots()[0].id, [sighting], stores.store.routing())
stores.close()
""",
        str(tmp_path / "queue.sqlite3"),
    )
    queue = world.stores.queue
    queue.wait(0.3)
    finish(enqueuer)
    # The other process's clock is real, and so ahead of the one that stands still.
    world.clock.now_us = time.time_ns() // 1000
    begun = time.monotonic()
    while not (claims := world.claim(1)):
        queue.wait(60)
    assert time.monotonic() - begun < 60
    assert claims[0].path == b"a.csv"


def test_a_wait_sees_another_connections_commit(world: World, tmp_path: Path) -> None:
    """The wait itself ends: nobody in this process calls `wake`."""
    queue = world.stores.queue
    queue.wait(0.3)
    waiting, over = threading.Event(), threading.Event()

    def wait() -> None:
        queue.wait(0.2)
        waiting.set()
        queue.wait(100)
        over.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(30)
    other = open_sqlite(str(tmp_path / "queue.sqlite3"))
    other.store.quarantine(PLUGIN, HASH, "Something is written.")
    other.close()
    assert over.wait(30)
    thread.join()


def test_one_job_at_a_time(world: World) -> None:
    """pop_job, complete_job, fail_job: the ports' batches of one."""
    queue, ledger = world.stores.queue, world.stores.ledger
    assert isinstance(queue, SqlJobs)
    assert isinstance(ledger, SqlLedger)
    world.record_many(2)
    first = queue.pop_job("w", {PLUGIN: HASH}, LEASE_US)
    second = queue.pop_job("w", {PLUGIN: HASH}, LEASE_US)
    assert first is not None
    assert second is not None
    assert queue.pop_job("w", {PLUGIN: HASH}, LEASE_US) is None
    assert not ledger.complete_job(first.job_id, first.token, 5)
    world.decide(first)
    assert ledger.complete_job(first.job_id, first.token, 5)
    policy = RetryPolicy()
    assert queue.fail_job(second, ErrorClass.DATA, "Bad.", policy) is JobStatus.FAILED
    assert queue.fail_job(second, ErrorClass.DATA, "Bad.", policy) is None
    assert world.statuses() == {1: "COMPLETED", 2: "FAILED"}


def test_a_locked_database_is_unavailable(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the file; once the lock is gone, all goes on."""
    monkeypatch.setattr(sqlite_engine, "BUSY_S", 0.05)
    path = str(tmp_path / "queue.sqlite3")
    impatient = open_sqlite(path, world.clock)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match=r"queue\.sqlite3.*locked"):
        impatient.queue.cancel([1], "ann")
    assert impatient.queue.backlog() == {}
    blocker.execute("ROLLBACK")
    blocker.close()
    assert impatient.queue.cancel([1], "ann") == []
    impatient.close()


def test_a_killed_claimer_leaves_the_queue_whole(world: World, tmp_path: Path) -> None:
    """What it had claimed and committed is leased, all else is queued, and both go on."""
    world.record_many(50)
    program = CLAIMER.replace("won = []", "won = []; import os, signal").replace(
        "    won +=", "    os.kill(os.getpid(), signal.SIGKILL)\n    won +="
    )
    path = str(tmp_path / "queue.sqlite3")
    process = start(program, path, "doomed", "10", PLUGIN, HASH)
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None
    process.communicate(timeout=60)
    assert process.returncode < 0
    assert list(world.statuses().values()).count("RUNNING") == 10
    assert world.stores.queue.reap(RetryPolicy(), ["doomed"]) == 10
    world.clock.now_us = time.time_ns() // 1000 + 60_000_000
    assert len(world.claim(100)) == 50
