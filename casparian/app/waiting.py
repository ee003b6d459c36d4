"""What this process waits for: said by whoever is kept back, taken back once it goes on.

A heartbeat takes it along, so that `casparian status` can name it. What keeps jobs back is held
against the queue before it is told: a job may have gone on elsewhere, or have been cancelled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from casparian.adapters.queue.common import iso
from casparian.domain.documents.status import LoadedWaitDocument
from casparian.domain.errors import UnavailableError
from casparian.domain.jobs import JobStatus
from casparian.domain.ports import Clock
from casparian.domain.publish import JobFate

HEARTBEAT_S = 5.0
"""How long there is between two heartbeats, at most."""
MOST_JOBS = 500
"""How many jobs are kept in mind; where more wait, it is for the same."""

_STAYS = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PROMOTING)


@dataclass(slots=True)
class _Wait:
    what: str
    reason: str
    since_us: int


@dataclass(slots=True)
class _JobWait(_Wait):
    """`seen`: the status in which the job waits; in another one it is being tried again."""

    seen: JobStatus
    shown: bool = True


class Waits:
    """From any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._steps: dict[str, _Wait] = {}
        self._jobs: dict[int, _JobWait] = {}

    # --- steps of a thread ----------------------------------------------------------------

    def on(self, step: str, what: str, reason: str) -> None:
        """`step` cannot go on without `what`."""
        with self._lock:
            known = self._steps.get(step)
            since_us = known.since_us if known is not None else self._clock()
            self._steps[step] = _Wait(what, reason, since_us)

    def over(self, step: str) -> None:
        if step in self._steps:
            with self._lock:
                self._steps.pop(step, None)

    @contextmanager
    def database(self, step: str) -> Iterator[None]:
        """A step that needs the queue's database."""
        try:
            yield
        except UnavailableError as error:
            self.on(step, "database", str(error))
            raise
        self.over(step)

    # --- jobs -----------------------------------------------------------------------------

    def job(self, job_id: int, status: JobStatus, what: str, reason: str) -> None:
        """A job in this status is kept back until there is `what` again."""
        with self._lock:
            known = self._jobs.get(job_id)
            if known is None and len(self._jobs) >= MOST_JOBS:
                return
            since_us = known.since_us if known is not None else self._clock()
            self._jobs[job_id] = _JobWait(what, reason, since_us, status)

    def job_over(self, job_id: int) -> None:
        if job_id in self._jobs:
            with self._lock:
                self._jobs.pop(job_id, None)

    def compare(self, fates: Callable[[Sequence[int]], Mapping[int, JobFate]]) -> None:
        """Forget the jobs that wait no more. Raises UnavailableError."""
        with self._lock:
            asked = list(self._jobs)
        found = fates(asked) if asked else {}
        with self._lock:
            for job_id in asked:
                wait, fate = self._jobs.get(job_id), found.get(job_id)
                if fate is None or fate.status not in _STAYS:
                    self._jobs.pop(job_id, None)
                elif wait is not None:
                    wait.shown = fate.status is wait.seen

    # --- for the heartbeat ----------------------------------------------------------------

    def listed(self) -> list[LoadedWaitDocument]:
        """One for each thing that is waited for, oldest first, as JSON holds it."""
        found: dict[str, LoadedWaitDocument] = {}
        with self._lock:
            jobs = [wait for wait in self._jobs.values() if wait.shown]
            waits = sorted([*self._steps.values(), *jobs], key=lambda wait: wait.since_us)
        for wait in waits:
            since = iso(wait.since_us)
            new: LoadedWaitDocument = {
                "what": wait.what,
                "reason": wait.reason,
                "since": since,
                "jobs": 0,
            }
            entry = found.setdefault(wait.what, new)
            entry["reason"] = wait.reason
            entry["jobs"] += isinstance(wait, _JobWait)
        return list(found.values())
