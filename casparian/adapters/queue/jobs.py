"""JobQueue over SQL: claims, leases, and the operator's commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from casparian.adapters.queue.claims import claims_of
from casparian.adapters.queue.common import done_elsewhere
from casparian.adapters.queue.conditions import HELD, WAITING, counted, left_behind
from casparian.adapters.queue.database import Claimer, Database
from casparian.adapters.queue.duplicate_choices import skipping_plugins
from casparian.adapters.queue.duplicates import Due, done_by_other, forget_copies
from casparian.adapters.queue.failures import Failures, locked_jobs
from casparian.adapters.queue.pruning import prune_some, record
from casparian.adapters.queue.purges import Holder, begin_some
from casparian.adapters.queue.rows import ageing_us, log_events
from casparian.adapters.queue.slots import take_slot
from casparian.adapters.queue.statements import chunks, write_all
from casparian.adapters.queue.tables.jobs import processing_job
from casparian.adapters.queue.workers import ALL_WORKERS, beats_again, enlist, node_of
from casparian.domain.errors import ErrorClass
from casparian.domain.jobs import (
    CANCELLABLE,
    Claim,
    Failure,
    JobEventKind,
    JobKind,
    JobStatus,
    ProcessingJob,
    RetryPolicy,
    check_transition,
)
from casparian.domain.ports import Lost, Pruned, PurgesBegun, Unfinished, WorkerNode

_job = processing_job.c


class SqlJobs:
    """Claims, leases, failures."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._failures = Failures(database)
        self._claimers: dict[int, Claimer] = {}

    # --- the worker's ---

    def claim(
        self, worker: str, plugins: Mapping[str, str], limit: int, lease_us: int
    ) -> list[Claim]:
        if not plugins or limit <= 0:
            return []
        now = self._db.clock()
        values: dict[str, Any] = {"worker": worker, "until": now + lease_us}
        values |= {"now": now, "limit": limit}
        for i, (plugin, plugin_hash) in enumerate(plugins.items()):
            values |= {f"plugin{i}": plugin, f"hash{i}": plugin_hash}
        with self._db.write(shared=True) as connection:
            won = self._claimer(len(plugins))(connection, values)
        return claims_of(won)

    def _claimer(self, plugins: int) -> Claimer:
        if plugins not in self._claimers:
            self._claimers[plugins] = self._db.dialect.claimer(plugins)
        return self._claimers[plugins]

    def renew(self, worker: str, jobs: Mapping[int, str], lease_us: int) -> set[int]:
        held: set[int] = set()
        for ids in chunks(list(jobs)):
            with self._db.write(shared=True) as connection:
                mine = [
                    job.id
                    for job in locked_jobs(connection, ids)
                    if job.token is not None and (job.token, job.worker) == (jobs[job.id], worker)
                ]
                until = self._db.clock() + lease_us
                values = [{"b_id": i, "b_token": jobs[i], "until": until} for i in mine]
                write_all(connection, _RENEW, values)
            held.update(mine)
        return held

    def release(self, jobs: Mapping[int, str], delay_us: int = 0) -> set[int]:
        return self._failures.release(jobs, delay_us)

    def fail(self, failures: Sequence[Failure], policy: RetryPolicy) -> dict[int, JobStatus]:
        return self._failures.fail(failures, policy)

    def fail_queued(self, plugin: str, message: str) -> int:
        return self._failures.fail_queued(plugin, message)

    def reap(self, policy: RetryPolicy, dead_workers: Iterable[str] = ()) -> int:
        return self._failures.reap(policy, dead_workers)

    def pop_job(self, worker: str, plugins: Mapping[str, str], lease_us: int) -> Claim | None:
        """Claim one job; None when none is due."""
        return next(iter(self.claim(worker, plugins, 1, lease_us)), None)

    def fail_job(
        self, claim: Claim, error_class: ErrorClass, message: str, policy: RetryPolicy
    ) -> JobStatus | None:
        """Fail one claim; its new status, or None when it was no longer this worker's."""
        failure = Failure(claim.job_id, claim.attempt, claim.token, error_class, message)
        return self.fail([failure], policy).get(claim.job_id)

    # --- the operator's ---

    def retry(self, job_ids: Sequence[int], actor: str) -> list[int]:
        done: list[int] = []
        for ids in chunks(list(dict.fromkeys(job_ids))):
            with self._db.write() as connection:
                jobs = {job.id: job for job in locked_jobs(connection, ids)}
                done += [i for i in ids if i in jobs and self._retry(connection, jobs[i], actor)]
        self._db.waiters.wake()
        return done

    def _retry(self, connection: Connection, job: ProcessingJob, actor: str) -> bool:
        event, now = JobEventKind.RETRIED, self._db.clock()
        changes: dict[str, Any] = {"tries": 0, "crashes": 0, "finished_at_us": None}
        changes |= {"error_class": None, "error_message": None}
        ended = job.status in (JobStatus.FAILED, JobStatus.CANCELLED)
        if ended and job.kind is not JobKind.PURGE:
            if (doer := self._done_by(connection, job)) is not None:
                over = JobStatus.SUPERSEDED
                self._move(connection, job, event, over, actor, {}, done_elsewhere(doer))
                return True
            status = JobStatus.QUEUED
            changes |= {"not_before_us": now}
        elif job.status is JobStatus.BLOCKED and take_slot(
            connection, (job.plugin, job.location_id), job.id
        ):
            # The lease is over from the start: whoever takes over first promotes it.
            status = JobStatus.PROMOTING
            changes |= {"lease_until_us": now, "token": self._db.dialect.fresh_token}
        else:
            return False
        self._move(connection, job, event, status, actor, changes)
        return True

    def _done_by(self, connection: Connection, job: ProcessingJob) -> int | None:
        """The job of another file that does the content of this one meanwhile."""
        if job.kind is not JobKind.RUN or job.plugin not in skipping_plugins(connection):
            return None
        return done_by_other(connection, job, Due(self._db.clock(), ageing_us(connection)))

    def cancel(self, job_ids: Sequence[int], actor: str) -> list[int]:
        done: list[int] = []
        for ids in chunks(list(dict.fromkeys(job_ids))):
            with self._db.write() as connection:
                jobs = {job.id: job for job in locked_jobs(connection, ids)}
                for job_id in ids:
                    job = jobs.get(job_id)
                    if job and job.status in CANCELLABLE:
                        gone: dict[str, Any] = {"token": None, "lease_until_us": 0}
                        gone["finished_at_us"] = self._db.clock()
                        event, status = JobEventKind.CANCELLED, JobStatus.CANCELLED
                        self._move(connection, job, event, status, actor, gone)
                        if job.status is JobStatus.SKIPPED:
                            forget_copies(connection, [job_id])
                        self._failures.pass_on(connection, [(job, status)])
                        done.append(job_id)
        self._db.waiters.wake()
        return done

    def begin_purges(
        self, worker: str, keys: Sequence[tuple[str, int]], lease_us: int, actor: str
    ) -> PurgesBegun:
        claims: list[Claim] = []
        in_the_way: list[Unfinished] = []
        unseen: list[tuple[str, int]] = []
        for part in chunks(keys):
            with self._db.write() as connection:
                held = Holder(worker, self._db.clock(), lease_us, actor)
                begun = begin_some(connection, self._db.dialect, part, held)
            claims += begun.claims
            in_the_way += begun.in_the_way
            unseen += begun.unseen
        return PurgesBegun(claims, in_the_way, unseen)

    def prune(self, before_us: int, actor: str) -> Pruned:
        total, pruning_id, now = Pruned(), None, self._db.clock()
        while True:
            with self._db.write() as connection:
                part = prune_some(connection, before_us)
                if part == (0, 0):
                    return total
                pruning_id = record(connection, pruning_id, now, actor, before_us, part)
            total = Pruned(total.jobs + part.jobs, total.events + part.events)

    def _move(
        self,
        connection: Connection,
        job: ProcessingJob,
        event: JobEventKind,
        status: JobStatus,
        actor: str,
        changes: Mapping[str, Any],
        message: str | None = None,
    ) -> None:
        check_transition(job.id, job.status, event, status)
        guarded = update(processing_job).where(_job.id == job.id, _job.status == job.status.value)
        connection.execute(guarded.values(status=status.value, **changes))
        log_events(connection, [self._failures.event(job, event, actor=actor, message=message)])

    # --- the state of the queue ---

    def backlog(self) -> Mapping[JobStatus, int]:
        with self._db.read() as connection:
            return {JobStatus(status): n for status, n in connection.execute(_BACKLOG)}

    def next_due_us(self, plugins: Iterable[str] | None = None) -> int | None:
        statement = select(func.min(_job.not_before_us)).where(WAITING)
        if plugins is not None:
            statement = statement.where(_job.plugin_name.in_(list(plugins)))
        ((due_us,),) = self._db.look(statement)
        return None if due_us is None else int(due_us)

    def beat(self, node: WorkerNode) -> None:
        now = self._db.clock()
        if not self._db.touch(beats_again(node, now)):
            with self._db.write() as connection:
                enlist(connection, node, now)

    def lost(self, is_dead: Callable[[WorkerNode], bool]) -> Lost:
        dead = [n.id for n in self.workers() if n.stopped or is_dead(n)]
        held = HELD & left_behind(self._db.clock(), dead)
        return Lost(dead, bool(self._db.look(select(_job.id).where(held).limit(1))))

    def workers(self) -> Sequence[WorkerNode]:
        return [node_of(row) for row in self._db.look(ALL_WORKERS)]

    def wait(self, timeout_s: float) -> None:
        self._db.waiters.wait(timeout_s)

    def wake(self) -> None:
        self._db.waiters.wake()


_RENEW = (
    update(processing_job)
    .where(_job.id == bindparam("b_id"), _job.token == bindparam("b_token"))
    .values(lease_until_us=bindparam("until"))
)
_BACKLOG = counted(_job.status)
