"""When a drain may end: no job may slip between its looks at the queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from casparian import Engine, Settings
from casparian.domain.jobs import JobStatus


@dataclass
class MovingQueue:
    """A queue of one job that may take its next step after any look at it."""

    steps: Iterator[JobStatus]
    status: JobStatus = JobStatus.QUEUED
    moves: Callable[[str], bool] = lambda look: True
    looks: list[str] = field(default_factory=list)

    def _look(self, name: str) -> JobStatus:
        seen = self.status
        self.looks.append(name)
        if self.moves(name):
            self.status = next(self.steps, self.status)
        return seen

    def backlog(self) -> Counter[JobStatus]:
        return Counter([self._look("backlog")])

    def next_due_us(self, plugins: Iterable[str]) -> int | None:
        return 1 if self._look("next_due_us") is JobStatus.QUEUED else None


@pytest.mark.parametrize("moving_at", ["backlog", "next_due_us", "backlog next_due_us"])
@pytest.mark.parametrize(
    "steps",
    [
        [JobStatus.RUNNING, JobStatus.PROMOTING, JobStatus.COMPLETED],
        [JobStatus.RUNNING] * 3 + [JobStatus.COMPLETED],
        [JobStatus.RUNNING, JobStatus.QUEUED, JobStatus.QUEUED, JobStatus.RUNNING] * 2
        + [JobStatus.FAILED],
    ],
)
def test_a_drain_ends_when_its_job_has_ended(
    steps: list[JobStatus], moving_at: str, tmp_path: Path
) -> None:
    queue = MovingQueue(iter(steps), moves=lambda look: look in moving_at.split())
    stores: Any = SimpleNamespace(catalog=None, queue=queue, ledger=None, store=None, reports=None)
    worker: Any = SimpleNamespace(
        failure=None, idle=True, preparing=False, live_plugins=lambda: {"p": None}
    )
    engine = Engine(Settings.of({}, tmp_path), roles=("worker",), queue=stores)
    # What nothing asks about moves on by itself: what waits, where only looks at what runs move
    # it, and what runs, where only looks at what waits do.
    if moving_at == "backlog":
        queue.moves = lambda look: look == "backlog" or queue.status is JobStatus.QUEUED
    if moving_at == "next_due_us":
        queue.moves = lambda look: look == "next_due_us" or queue.status is not JobStatus.QUEUED
    engine._wait_until_done(worker)
    assert queue.status in (JobStatus.COMPLETED, JobStatus.FAILED)
