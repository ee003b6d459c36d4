"""Many processes on one queue: no job is claimed twice, none is left, order is kept.

CASPARIAN_CLAIMERS=full runs 16 processes on 100,000 jobs, as `make claimers` does.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from casparian.adapters.queue import open_url
from casparian.domain.jobs import JobStatus
from casparian.domain.routing import RoutingRule
from casparian.testing.world import VirtualClock, World, applied

FULL = os.environ.get("CASPARIAN_CLAIMERS") == "full"
PROCESSES, JOBS = (16, 100_000) if FULL else (3, 400)
BATCHES = [[1], [10], [100], [1, 10, 100]] if FULL else [[1, 10, 100]]
CHUNK = 500
RULES = [RoutingRule(f"p{p}/**", "csv", p) for p in (0, 1, 5)]


@pytest.fixture(params=["sqlite", "postgresql", "mssql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'queue.sqlite3'}"
    return str(request.getfixturevalue(f"{request.param}_schema"))


@pytest.mark.slow
@pytest.mark.timeout(7_200 if FULL else 300)
@pytest.mark.parametrize("batches", BATCHES, ids=str)
def test_every_job_is_claimed_by_one(url: str, batches: list[int], tmp_path: Path) -> None:
    stores = open_url(url)
    try:
        world = World(stores, VirtualClock())
        world.apply(applied(rules=RULES))
        for first in range(0, JOBS, CHUNK):
            names = ((n, n % 3) for n in range(first, min(first + CHUNK, JOBS)))
            world.record(*((b"p%d/%06d.csv" % ((0, 1, 5)[r], n), str(n)) for n, r in names))
        claimed = _claimed_by_all(url, batches, tmp_path)
        assert stores.queue.backlog() == {JobStatus.COMPLETED: JOBS}
    finally:
        stores.close()

    claims = Counter((job, attempt) for mine in claimed for job, attempt, *_ in mine)
    assert claims.most_common(1)[0][1] == 1, "an attempt was claimed by two"
    jobs = {job for job, _ in claims}
    assert len(jobs) == JOBS
    assert claims.keys() == {(j, 1) for j in jobs} | {(j, 2) for j in jobs if j % 7 == 0}
    for mine in claimed:
        # What another holds is passed over, so within one process first claims only ever go on.
        order = [(due, job) for job, attempt, _, due in mine if attempt == 1]
        assert order == sorted(order)
    assert sum(1 for mine in claimed if mine) > 1, "one process had all of the work"


def _claimed_by_all(
    url: str, batches: list[int], directory: Path
) -> list[list[tuple[int, int, int, int]]]:
    sizes = itertools.islice(itertools.cycle(batches), PROCESSES)
    with ExitStack() as files:
        # Not pipes: one that nobody empties in time would hold up its process, and its jobs.
        outputs = [
            files.enter_context((directory / f"worker-{n}").open("w+")) for n in range(PROCESSES)
        ]
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.support.claimer", url, f"worker-{n}", str(size)],
                stdout=output,
            )
            for n, (size, output) in enumerate(zip(sizes, outputs, strict=True))
        ]
        assert [process.wait() for process in processes] == [0] * PROCESSES
        for output in outputs:
            output.seek(0)
        return [[_parsed(line) for line in output] for output in outputs]


def _parsed(line: str) -> tuple[int, int, int, int]:
    job, attempt, priority, due = map(int, line.split())
    return job, attempt, priority, due
