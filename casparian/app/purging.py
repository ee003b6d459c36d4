"""Purges: jobs that remove what plugins have published of files, from S2 to S4 as every job.

Who purges is a worker meanwhile, without plugins: listed with its heartbeat, renewing its leases,
and finishing first what others have left, since that holds the files too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import structlog

from casparian.adapters.queue import QueueStores, wall_clock_us
from casparian.app.context import EtlContext
from casparian.app.decider import Staged
from casparian.app.feeder import without_rows
from casparian.app.keeper import Keeper
from casparian.app.leases import Leases
from casparian.app.promoter import Decided
from casparian.app.publisher import Publisher
from casparian.app.settings import Settings
from casparian.app.sink_guard import SinkGuard
from casparian.app.targets import Targets
from casparian.app.waiting import Waits
from casparian.domain.errors import ErrorClass, UnavailableError
from casparian.domain.jobs import UNFINISHED, Claim, JobKind, JobStatus, RetryPolicy
from casparian.domain.ports import Promoting, Unfinished
from casparian.domain.publish import JobFate

ROLE = "purge"
GROUP = 100
SECOND_US = 1_000_000
POLL_S = 0.05
FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0
CLOSE_S = 10.0
# Longer than a lease: what a worker elsewhere held when it died is then taken over.
BEYOND_LEASE_S = 10.0

Key = tuple[str, int]
UNSEEN = (
    "its rows were adopted, and this queue has never seen the file: put a file of that name "
    "there, let it be published in their place, and purge then"
)
"""A plugin, and the id of a file's location."""

log = structlog.get_logger("casparian.purge")


class End(NamedTuple):
    """What became of one purge. `reason` says why rows were left; empty where they are gone.
    `passing`: it may be otherwise in a moment."""

    key: Key
    job_id: int
    reason: str = ""
    passing: bool = False


def purge_of(claim: Claim, installation: str) -> Staged:
    """A purge as the publisher takes it: nothing is staged, and what is emptied is planned when
    it is decided."""
    return Staged(claim, None, without_rows(claim, installation))


class Purger:
    """Purges on behalf of `actor`, between `start` and `close`; one thread at a time.

    `tell` is given a sentence where something is waited for.
    """

    def __init__(
        self,
        settings: Settings,
        stores: QueueStores,
        targets: Targets,
        actor: str,
        tell: Callable[[str], None],
    ) -> None:
        config = settings.worker
        # It is that of all workers: what others have left is judged by it.
        policy = RetryPolicy(
            config.max_attempts, config.max_crashes, int(config.backoff_s * SECOND_US)
        )
        self._stores, self._targets = stores, targets
        self._actor, self._tell = actor, tell
        self._lease_us = int(config.lease_s * SECOND_US)
        self._patience_s = config.lease_s + BEYOND_LEASE_S
        self._running: dict[int, Key] = {}
        self._ended = threading.Event()
        self._leases = Leases(config.give_up_s)
        self._context = EtlContext.capture()
        waits = Waits(wall_clock_us)
        self._publisher = Publisher(
            stores.ledger, stores.queue, targets, self._leases, policy, self._note_end, waits
        )
        self._keeper = Keeper(
            self._context.node((ROLE,), "", wall_clock_us()),
            self._context,
            stores.queue,
            stores.ledger,
            self._leases,
            policy,
            self._lease_us,
            config.renew_s,
            config.sweep_s,
            targets.opened,
            lambda job_ids: None,
            self._inherit,
            lambda: {"jobs": len(self._leases)},
            wall_clock_us,
            waits,
        )

    def start(self, keys: Sequence[Key]) -> None:
        """Look at every sink that holds rows of these, then work.

        Raises ConfigurationError or ForeignInstallationError, with nothing begun, for a sink
        that is not installed here, cannot be written, or holds rows of another installation.
        """
        guard = SinkGuard(self._targets, self._stores.ledger)
        for state in self._stores.ledger.slots(keys).values():
            for published in state.published:
                guard.check_sink(self._targets.sink(published.target))
        self._publisher.start()
        self._keeper.start()

    def close(self) -> None:
        """What is decided is finished, as far as that goes in a moment; what is not is ended."""
        try:
            if self._running:
                self._stores.queue.cancel(list(self._running), self._actor)
        except UnavailableError as error:
            log.warning("purges are left to their leases", error=str(error))
        if not self._publisher.close(CLOSE_S, threading.Event()):
            log.warning("what is decided is left to be finished by an engine, or the next purge")
        self._keeper.stop()
        self._context.seat.leave()

    def _inherit(self, taken: Sequence[Promoting]) -> None:
        for job in taken:
            self._publisher.inherit(Decided(job.manifest, job.token, inherited=True))

    def _note_end(self, job_id: int, status: JobStatus) -> None:
        self._ended.set()

    # --- purging --------------------------------------------------------------------------

    def purge(self, keys: Sequence[Key]) -> Iterator[End]:
        """Purge these; each ends once, in whatever order."""
        for start in range(0, len(keys), GROUP):
            group = list(keys[start : start + GROUP])
            give_up_at = time.monotonic() + self._patience_s
            wait_s = FIRST_WAIT_S
            while group:
                again: list[Key] = []
                for end in chain(self._begin(group), self._finish()):
                    if end.passing and time.monotonic() < give_up_at:
                        again.append(end.key)
                    else:
                        yield end
                group = again
                if group:
                    # A disk that is full; a file that was exchanged while it was read.
                    time.sleep(wait_s)
                    wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _begin(self, group: Sequence[Key]) -> Iterator[End]:
        """Begin what can be; the ends of those that cannot."""
        waiting: dict[Key, Unfinished | None] = dict.fromkeys(group)
        give_up_at = time.monotonic() + self._patience_s
        told: set[int] = set()
        while waiting:
            for end in self._done_by_others(waiting):
                del waiting[end.key]
                yield end
            held, unseen = self._begin_some(list(waiting))
            yield from (End(key, 0, UNSEEN) for key in unseen)
            waiting = {}
            for key, job in held.items():
                reason = _not_now(job)
                if not reason and time.monotonic() > give_up_at:
                    reason = f"{_busy(job)}, for longer than {self._patience_s:.0f} s"
                if reason:
                    yield End(key, job.job_id, reason)
                    continue
                waiting[key] = job
                if job.job_id not in told:
                    told.add(job.job_id)
                    self._tell(f"waiting: {_busy(job)}")
            if waiting:
                time.sleep(POLL_S)

    def _done_by_others(self, waiting: Mapping[Key, Unfinished | None]) -> list[End]:
        """Of those that waited for another purge, the ones that have nothing left by it."""
        purged = {key: job for key, job in waiting.items() if job and job.kind is JobKind.PURGE}
        if not purged:
            return []
        states = self._stores.ledger.slots(list(purged))
        return [End(k, job.job_id) for k, job in purged.items() if not states[k].published]

    def _begin_some(self, keys: Sequence[Key]) -> tuple[dict[Key, Unfinished], Sequence[Key]]:
        """Begin purges; of the others, a job that is in the way of each, and those of files that
        were never seen."""
        asked_at = time.monotonic()
        begun = self._stores.queue.begin_purges(self._context.id, keys, self._lease_us, self._actor)
        self._leases.add(((c.job_id, c.token) for c in begun.claims), asked_at)
        for claim in begun.claims:
            self._running[claim.job_id] = (claim.plugin, claim.location_id)
            self._publisher.submit(purge_of(claim, self._stores.ledger.installation))
        held: dict[Key, Unfinished] = {}
        for job in begun.in_the_way:
            if job.key not in held or _not_now(job):
                held[job.key] = job
        return held, begun.unseen

    def _finish(self) -> Iterator[End]:
        """Wait for what was begun."""
        give_up_at = time.monotonic() + self._patience_s
        while self._running:
            self._ended.clear()
            fates = self._stores.ledger.fates(list(self._running))
            for job_id, fate in fates.items():
                if fate.status not in UNFINISHED:
                    give_up_at = time.monotonic() + self._patience_s
                    yield self._end(self._running.pop(job_id), job_id, fate)
            if self._running and time.monotonic() > give_up_at:
                yield from self._give_up()
            elif self._running:
                self._ended.wait(POLL_S)

    def _give_up(self) -> Iterator[End]:
        waited = f"for longer than {self._patience_s:.0f} s"
        ended = self._stores.queue.cancel(list(self._running), self._actor)
        for job_id, key in self._running.items():
            if job_id in ended:
                reason = f"another job held its rows {waited}; nothing was removed"
            else:
                reason = f"its target did not take the change {waited}: the removal is decided, "
                reason += "and the next engine, or purge, finishes it"
            yield End(key, job_id, reason)
        self._running = {}

    def _end(self, key: Key, job_id: int, fate: JobFate) -> End:
        if fate.status is JobStatus.COMPLETED:
            return End(key, job_id)
        if fate.status is JobStatus.CANCELLED:
            return End(key, job_id, "the purge was cancelled; nothing was removed")
        document = self._stores.reports.trace(job_id)
        job = document["job"] if document else None
        error = job["error"] if job else None
        if error is None:
            return End(key, job_id, f"it ended {fate.status}")
        said = str(error["message"]).rstrip(".")
        if fate.status is JobStatus.BLOCKED:
            said += f"; when the target is in order again, run `casparian retry {job_id}`"
        return End(key, job_id, said, error["class"] == ErrorClass.INFRASTRUCTURE)


def _not_now(job: Unfinished) -> str:
    """Why a purge does not wait for this job; empty where it does."""
    if job.kind is JobKind.PURGE or job.status is JobStatus.PROMOTING:
        return ""
    what = "waits to run" if job.status is JobStatus.QUEUED else "is running"
    return (
        f"job {job.job_id} of {job.plugin} {what} on the file, and may publish: purge when it has "
        f"ended, or run `casparian cancel {job.job_id}` first"
    )


def _busy(job: Unfinished) -> str:
    doing = "is purging the same rows" if job.kind is JobKind.PURGE else "publishes rows of it"
    return f"job {job.job_id} of {job.plugin} {doing}"
