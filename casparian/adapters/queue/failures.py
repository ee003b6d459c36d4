"""How running jobs end without rows, over SQL: released, failed, reaped.

The rows are locked and judged first; the writing statement holds status and token again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, select, update

from casparian.adapters.queue.common import JobEvent, reaped_because
from casparian.adapters.queue.conditions import WAITING, lost_jobs
from casparian.adapters.queue.database import Database
from casparian.adapters.queue.duplicates import pass_on_ended
from casparian.adapters.queue.rows import JOB_COLUMNS, job_of, log_events
from casparian.adapters.queue.statements import chunks, storable, write_all
from casparian.adapters.queue.tables.files import file_location, file_version
from casparian.adapters.queue.tables.jobs import processing_job
from casparian.domain.errors import ErrorClass
from casparian.domain.jobs import (
    Failure,
    JobEventKind,
    JobKind,
    JobStatus,
    ProcessingJob,
    RetryPolicy,
    check_transition,
)

_job = processing_job.c
_SELECT_JOBS = select(*JOB_COLUMNS).with_for_update()
Outcome = tuple[ProcessingJob, JobEvent, JobStatus, dict[str, Any]]
"""A job as it stands, what met it, its new status, and its other new values."""


def locked_jobs(connection: Connection, ids: Sequence[int]) -> list[ProcessingJob]:
    """The jobs of these ids, locked until the transaction ends."""
    # In one order everywhere, so that no two wait for each other.
    statement = _SELECT_JOBS.where(_job.id.in_(list(ids))).order_by(_job.id)
    return [job_of(row) for row in connection.execute(statement)]


def _locked(connection: Connection, *where: ColumnElement[bool]) -> list[ProcessingJob]:
    """Those of a condition; only for transactions that no other runs beside."""
    return [job_of(row) for row in connection.execute(_SELECT_JOBS.where(*where))]


class Failures:
    """Ends of attempts that leave no rows."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def event(self, job: ProcessingJob, event: JobEventKind, **more: Any) -> JobEvent:
        """A row for the history of `job`, as it was when the event met it."""
        return JobEvent(job.id, job.attempt, self._db.clock(), event, job.worker, **more)

    def release(self, jobs: Mapping[int, str], delay_us: int = 0) -> set[int]:
        released: set[int] = set()
        event = JobEventKind.RELEASED
        for ids in chunks(list(jobs)):
            with self._db.write() as connection:
                until = self._db.clock() + delay_us
                outcomes = [
                    (job, self.event(job, event), JobStatus.QUEUED, {"not_before_us": until})
                    for job in self._running(connection, ids)
                    if job.token == jobs[job.id] and job.kind is not JobKind.PURGE
                ]
                self._write(connection, outcomes)
            released.update(job.id for job, *_ in outcomes)
        self._db.waiters.wake()
        return released

    def fail(self, failures: Sequence[Failure], policy: RetryPolicy) -> dict[int, JobStatus]:
        done: dict[int, JobStatus] = {}
        for part in chunks(failures):
            with self._db.write() as connection:
                jobs = {j.id: j for j in self._running(connection, [f.job_id for f in part])}
                outcomes = []
                for failure in part:
                    job = jobs.get(failure.job_id)
                    if job and (job.attempt, job.token) == (failure.attempt, failure.token):
                        # A second report of the same attempt finds nobody running.
                        del jobs[job.id]
                        outcomes.append(self._failed(connection, job, failure, policy))
                self._write(connection, outcomes)
            done.update((job.id, status) for job, _, status, _ in outcomes)
        self._db.waiters.wake()
        return done

    def _failed(
        self, connection: Connection, job: ProcessingJob, failure: Failure, policy: RetryPolicy
    ) -> Outcome:
        if failure.supersede_if_newer and _has_newer(connection, job):
            kind, status = JobEventKind.SUPERSEDED, JobStatus.SUPERSEDED
            changes: dict[str, Any] = {"finished_at_us": self._db.clock()}
        else:
            kind, status, changes = self._verdict(job, failure.error_class, policy)
        event = self.event(
            job,
            kind,
            error_class=failure.error_class.value,
            message=failure.message,
            detail=failure.detail or None,
        )
        changes["sandbox"] = failure.sandbox or job.sandbox
        if failure.plugin_hash:
            changes["plugin_hash"] = failure.plugin_hash
            changes["environment"] = failure.environment or None
        return job, event, status, changes

    def _verdict(
        self, job: ProcessingJob, error_class: ErrorClass, policy: RetryPolicy
    ) -> tuple[JobEventKind, JobStatus, dict[str, Any]]:
        now = self._db.clock()
        verdict = policy.judge(
            error_class, job.tries, job.crashes, now, self._db.chance(), job.kind
        )
        changes: dict[str, Any] = {"tries": verdict.tries, "crashes": verdict.crashes}
        if verdict.status is JobStatus.FAILED:
            return JobEventKind.FAILED, verdict.status, {**changes, "finished_at_us": now}
        changes["not_before_us"] = verdict.not_before_us
        return JobEventKind.REQUEUED, verdict.status, changes

    def fail_queued(self, plugin: str, message: str) -> int:
        quarantined = {"error_class": ErrorClass.QUARANTINED.value, "message": message}
        ended = 0
        with self._db.write() as connection:
            # Files that were skipped for those that fail are enqueued, and fail with them.
            while waiting := _locked(connection, WAITING, _job.plugin_name == plugin):
                outcomes: list[Outcome] = [
                    (
                        job,
                        self.event(job, JobEventKind.FAILED, **quarantined),
                        JobStatus.FAILED,
                        {"finished_at_us": self._db.clock()},
                    )
                    for job in waiting
                ]
                self._write(connection, outcomes)
                ended += len(outcomes)
        return ended

    def reap(self, policy: RetryPolicy, dead_workers: Iterable[str] = ()) -> int:
        dead = set(dead_workers)
        with self._db.write() as connection:
            lost = _locked(connection, lost_jobs(JobStatus.RUNNING, self._db.clock(), dead))
            outcomes = []
            for job in lost:
                _, status, changes = self._verdict(job, ErrorClass.ENGINE, policy)
                message = reaped_because(job, job.worker in dead)
                event = self.event(
                    job,
                    JobEventKind.REAPED,
                    error_class=ErrorClass.ENGINE.value,
                    message=message,
                )
                outcomes.append((job, event, status, changes))
            self._write(connection, outcomes)
        if lost:
            self._db.waiters.wake()
        return len(lost)

    def _running(self, connection: Connection, ids: Sequence[int]) -> list[ProcessingJob]:
        return [job for job in locked_jobs(connection, ids) if job.status is JobStatus.RUNNING]

    def _write(self, connection: Connection, outcomes: Sequence[Outcome]) -> None:
        """Write jobs and history. The rows are locked, so the guards hold for all or none."""
        if not outcomes:
            return
        values = []
        for job, event, status, changes in outcomes:
            check_transition(job.id, job.status, event.event, status)
            standing = {
                "tries": job.tries,
                "crashes": job.crashes,
                "not_before_us": job.not_before_us,
                "finished_at_us": job.finished_at_us,
                "sandbox": job.sandbox,
                "plugin_hash": job.plugin_hash,
                "environment": job.environment,
            }
            values.append(
                {
                    "b_id": job.id,
                    "b_status": job.status.value,
                    "b_attempt": job.attempt,
                    "status": status.value,
                    "error_class": event.error_class or job.error_class,
                    "error_message": storable(event.message) or job.error_message,
                    **standing,
                    **changes,
                }
            )
        write_all(connection, _END_ATTEMPT, values)
        log_events(connection, [event for _, event, _, _ in outcomes])
        self.pass_on(connection, [(job, status) for job, _, status, _ in outcomes])

    def pass_on(
        self, connection: Connection, ends: Iterable[tuple[ProcessingJob, JobStatus]]
    ) -> None:
        """What those of them that have ended were to do for skipped files, others do."""
        ended = {
            job.id: status
            for job, status in ends
            if status is not JobStatus.QUEUED and job.kind is JobKind.RUN
        }
        if ended:
            pass_on_ended(connection, ended, self._db.clock())


def _has_newer(connection: Connection, job: ProcessingJob) -> bool:
    newer = (
        select(file_version.c.id)
        .join(file_location, file_location.c.current_version_id == file_version.c.id)
        .where(file_location.c.id == job.location_id, file_version.c.ordinal > job.ordinal)
    )
    return connection.execute(newer).first() is not None


_VALUES = (
    "status",
    "tries",
    "crashes",
    "not_before_us",
    "finished_at_us",
    "error_class",
    "error_message",
    "sandbox",
    "plugin_hash",
    "environment",
)
_END_ATTEMPT = (
    update(processing_job)
    .where(
        _job.id == bindparam("b_id"),
        _job.status == bindparam("b_status"),
        _job.attempt == bindparam("b_attempt"),
    )
    .values(token=None, lease_until_us=0, **{name: bindparam(name) for name in _VALUES})
)
