"""JobQueue in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from casparian.adapters.queue.common import (
    FORGET_WORKER_US,
    done_elsewhere,
    identity_of,
    reaped_because,
)
from casparian.adapters.queue.memory.duplicates import MemoryDuplicates
from casparian.adapters.queue.memory.state import no_token
from casparian.domain.errors import ErrorClass
from casparian.domain.jobs import (
    CANCELLABLE,
    NO_WAIT_BEYOND_US,
    UNFINISHED,
    Claim,
    Failure,
    JobEventKind,
    JobKind,
    JobStatus,
    ProcessingJob,
    RetryPolicy,
)
from casparian.domain.ports import Lost, Pruned, PurgesBegun, Unfinished, WorkerNode
from casparian.domain.routing import due_us


class MemoryJobs(MemoryDuplicates):
    """Claims, leases, failures."""

    def claim(
        self, worker: str, plugins: Mapping[str, str], limit: int, lease_us: int
    ) -> list[Claim]:
        with self.lock:
            now = self.clock()
            ready = sorted(
                (due_us(job.enqueued_at_us, job.priority, self.ageing_us), job.id)
                for job in self.job_by_id.values()
                if job.status is JobStatus.QUEUED
                and job.plugin in plugins
                and not now < job.not_before_us <= now + NO_WAIT_BEYOND_US
            )
            won = []
            for _, job_id in ready[: max(0, limit)]:
                job = self.job_by_id[job_id]
                job = self.move(
                    job,
                    JobEventKind.CLAIMED,
                    JobStatus.RUNNING,
                    attempt=job.attempt + 1,
                    token=self.new_token(),
                    worker=worker,
                    lease_until_us=now + lease_us,
                    plugin_hash=plugins[job.plugin],
                    started_at_us=now,
                )
                won.append(self._claim_of(job))
            return won

    def _claim_of(self, job: ProcessingJob) -> Claim:
        version = self.versions[job.file_version_id]
        location = self.location_by_id[job.location_id]
        assert job.token is not None
        return Claim(
            job_id=job.id,
            plugin=job.plugin,
            plugin_hash=job.plugin_hash or "",
            attempt=job.attempt,
            token=job.token,
            file_version_id=version.id,
            location_id=location.id,
            ordinal=version.ordinal,
            root_path=self.root_paths[location.source_root_id],
            path=location.path,
            content_hash=version.content_hash,
            identity=identity_of(version, location),
            priority=job.priority,
            enqueued_at_us=job.enqueued_at_us,
            kind=job.kind,
        )

    def renew(self, worker: str, jobs: Mapping[int, str], lease_us: int) -> set[int]:
        with self.lock:
            until, held = self.clock() + lease_us, set()
            for job_id, token in jobs.items():
                job = self.job_by_id.get(job_id)
                if job and token and job.token == token and job.worker == worker:
                    self.job_by_id[job_id] = replace(job, lease_until_us=until)
                    held.add(job_id)
            return held

    def _running(self, job_id: int, token: str) -> ProcessingJob | None:
        job = self.job_by_id.get(job_id)
        if job and job.status is JobStatus.RUNNING and job.token == token:
            return job
        return None

    def release(self, jobs: Mapping[int, str], delay_us: int = 0) -> set[int]:
        with self.lock:
            until, released = self.clock() + delay_us, set()
            for job_id, token in jobs.items():
                job = self._running(job_id, token)
                if job is not None and job.kind is not JobKind.PURGE:
                    self.log(job, JobEventKind.RELEASED)
                    changes: dict[str, Any] = {"not_before_us": until, **no_token()}
                    self.move(job, JobEventKind.RELEASED, JobStatus.QUEUED, **changes)
                    released.add(job_id)
        self.waiters.wake()
        return released

    def fail(self, failures: Sequence[Failure], policy: RetryPolicy) -> dict[int, JobStatus]:
        done: dict[int, JobStatus] = {}
        with self.lock:
            for failure in failures:
                job = self._running(failure.job_id, failure.token)
                if job is not None and job.attempt == failure.attempt:
                    done[job.id] = self._fail(job, failure, policy)
            self._pass_on_ended(i for i, s in done.items() if s is not JobStatus.QUEUED)
        self.waiters.wake()
        return done

    def _fail(self, job: ProcessingJob, failure: Failure, policy: RetryPolicy) -> JobStatus:
        if failure.supersede_if_newer and self._has_newer(job):
            event, status = JobEventKind.SUPERSEDED, JobStatus.SUPERSEDED
            changes: dict[str, Any] = {"finished_at_us": self.clock()}
        else:
            event, status, changes = self._verdict(job, failure.error_class, policy)
        self.log(job, event, failure.message, failure.error_class, failure.detail or None)
        changes |= {"error_class": failure.error_class, "error_message": failure.message}
        changes |= {"sandbox": failure.sandbox or job.sandbox}
        if failure.plugin_hash:
            ran_in = failure.environment or None
            changes |= {"plugin_hash": failure.plugin_hash, "environment": ran_in}
        self.move(job, event, status, **changes, **no_token())
        return status

    def _has_newer(self, job: ProcessingJob) -> bool:
        current = self.location_by_id[job.location_id].current_version_id
        return current is not None and self.versions[current].ordinal > job.ordinal

    def _verdict(
        self, job: ProcessingJob, error_class: ErrorClass, policy: RetryPolicy
    ) -> tuple[JobEventKind, JobStatus, dict[str, Any]]:
        now = self.clock()
        verdict = policy.judge(error_class, job.tries, job.crashes, now, self.chance(), job.kind)
        changes: dict[str, Any] = {"tries": verdict.tries, "crashes": verdict.crashes}
        if verdict.status is JobStatus.FAILED:
            return JobEventKind.FAILED, verdict.status, {**changes, "finished_at_us": now}
        changes["not_before_us"] = verdict.not_before_us
        return JobEventKind.REQUEUED, verdict.status, changes

    def fail_queued(self, plugin: str, message: str) -> int:
        failed, error_class = JobStatus.FAILED, ErrorClass.QUARANTINED
        with self.lock:
            ended = 0
            # Files that were skipped for those that fail are enqueued, and fail with them.
            while waiting := self._waiting(plugin):
                for job in waiting:
                    self.log(job, JobEventKind.FAILED, message, error_class)
                    changes: dict[str, Any] = {"finished_at_us": self.clock()}
                    changes |= {"error_class": error_class, "error_message": message}
                    self.move(job, JobEventKind.FAILED, failed, **changes)
                self._pass_on_ended(job.id for job in waiting)
                ended += len(waiting)
            return ended

    def _waiting(self, plugin: str) -> list[ProcessingJob]:
        jobs = self.job_by_id.values()
        return [job for job in jobs if job.status is JobStatus.QUEUED and job.plugin == plugin]

    def reap(self, policy: RetryPolicy, dead_workers: Iterable[str] = ()) -> int:
        dead = set(dead_workers)
        with self.lock:
            lost = [
                job
                for job in self.job_by_id.values()
                if job.status is JobStatus.RUNNING
                and (job.lease_until_us <= self.clock() or job.worker in dead)
            ]
            for job in lost:
                message = reaped_because(job, job.worker in dead)
                _, status, changes = self._verdict(job, ErrorClass.ENGINE, policy)
                self.log(job, JobEventKind.REAPED, message, ErrorClass.ENGINE)
                changes |= {"error_class": ErrorClass.ENGINE, "error_message": message}
                self.move(job, JobEventKind.REAPED, status, **changes, **no_token())
            ended = (self.job_by_id[job.id] for job in lost)
            self._pass_on_ended(job.id for job in ended if job.status is not JobStatus.QUEUED)
        if lost:
            self.waiters.wake()
        return len(lost)

    def retry(self, job_ids: Sequence[int], actor: str) -> list[int]:
        with self.lock:
            again = [i for i in dict.fromkeys(job_ids) if self._retry(i, actor)]
        self.waiters.wake()
        return again

    def _retry(self, job_id: int, actor: str) -> bool:
        job, event = self.job_by_id.get(job_id), JobEventKind.RETRIED
        if job is None:
            return False
        changes: dict[str, Any] = {"tries": 0, "crashes": 0, "finished_at_us": None}
        changes |= {"error_class": None, "error_message": None}
        ended = job.status in (JobStatus.FAILED, JobStatus.CANCELLED)
        if ended and job.kind is not JobKind.PURGE:
            if (doer := self._done_by_other(job)) is not None:
                self.log(job, event, done_elsewhere(doer), actor=actor)
                self.move(job, event, JobStatus.SUPERSEDED)
                return True
            self.log(job, event, actor=actor)
            self.move(job, event, JobStatus.QUEUED, not_before_us=self.clock(), **changes)
            return True
        slot = self.slot_rows.get((job.plugin, job.location_id))
        if job.status is JobStatus.BLOCKED and slot is not None and slot.holder is None:
            # The lease is over from the start: whoever takes over first promotes it.
            slot.holder = job.id
            self.log(job, event, actor=actor)
            changes |= {"token": self.new_token(), "lease_until_us": self.clock()}
            self.move(job, event, JobStatus.PROMOTING, **changes)
            return True
        return False

    def cancel(self, job_ids: Sequence[int], actor: str) -> list[int]:
        cancelled = []
        with self.lock:
            for job_id in dict.fromkeys(job_ids):
                job = self.job_by_id.get(job_id)
                if job and job.status in CANCELLABLE:
                    self.log(job, JobEventKind.CANCELLED, actor=actor)
                    changes: dict[str, Any] = {"finished_at_us": self.clock(), **no_token()}
                    self.move(job, JobEventKind.CANCELLED, JobStatus.CANCELLED, **changes)
                    self.content_copies.pop(job_id, None)
                    self._pass_on_ended([job_id])
                    cancelled.append(job_id)
        return cancelled

    def begin_purges(
        self, worker: str, keys: Sequence[tuple[str, int]], lease_us: int, actor: str
    ) -> PurgesBegun:
        with self.lock:
            in_the_way = [
                Unfinished(job.id, job.plugin, job.location_id, job.status, job.kind)
                for job in self.job_by_id.values()
                if job.status in UNFINISHED and (job.plugin, job.location_id) in keys
            ]
            free = [key for key in keys if key not in {job.key for job in in_the_way}]
            claims = [self._begin_purge(key, worker, lease_us, actor) for key in free]
            return PurgesBegun(claims, in_the_way)

    def _begin_purge(self, key: tuple[str, int], worker: str, lease_us: int, actor: str) -> Claim:
        plugin, location_id = key
        current = self.location_by_id[location_id].current_version_id
        assert current is not None
        now, job_id = self.clock(), self.next_id("processing_job")
        job = ProcessingJob(
            id=job_id,
            status=JobStatus.RUNNING,
            plugin=plugin,
            plugin_hash=None,
            file_version_id=current,
            location_id=location_id,
            ordinal=self.versions[current].ordinal,
            priority=0,
            attempt=1,
            token=self.new_token(),
            worker=worker,
            lease_until_us=now + lease_us,
            not_before_us=now,
            enqueued_at_us=now,
            started_at_us=now,
            kind=JobKind.PURGE,
        )
        self.job_by_id[job_id] = job
        self.log(job, JobEventKind.PURGED, actor=actor)
        return self._claim_of(job)

    def prune(self, before_us: int, actor: str) -> Pruned:
        with self.lock:
            old = {
                job.id
                for job in self.job_by_id.values()
                if job.finished_at_us is not None and job.finished_at_us < before_us
            }
            kept = [e for e in self.events if e.job_id not in old or e.at_us >= before_us]
            removed = len(self.events) - len(kept)
            self.events = kept
            told = {event.job_id for event in kept}
            gone = [i for i in old - told - self.manifests.keys() if self._replaced(i)]
            for job_id in gone:
                del self.job_by_id[job_id]
                self.content_copies.pop(job_id, None)
            pruned = Pruned(len(gone), removed)
            if pruned != (0, 0):
                self.prunings.append((self.clock(), actor, before_us, pruned))
            return pruned

    def _replaced(self, job_id: int) -> bool:
        job = self.job_by_id[job_id]
        return self.location_by_id[job.location_id].current_version_id != job.file_version_id

    def backlog(self) -> Mapping[JobStatus, int]:
        counts: dict[JobStatus, int] = {}
        with self.lock:
            for job in self.job_by_id.values():
                counts[job.status] = counts.get(job.status, 0) + 1
        return counts

    def next_due_us(self, plugins: Iterable[str] | None = None) -> int | None:
        wanted = None if plugins is None else set(plugins)
        with self.lock:
            return min(
                (
                    job.not_before_us
                    for job in self.job_by_id.values()
                    if job.status is JobStatus.QUEUED and (wanted is None or job.plugin in wanted)
                ),
                default=None,
            )

    def beat(self, node: WorkerNode) -> None:
        with self.lock:
            now = self.clock()
            self.nodes[node.hostname, node.pid] = replace(node, heartbeat_at_us=now)
            self.nodes = {
                key: known
                for key, known in self.nodes.items()
                if known.heartbeat_at_us > now - FORGET_WORKER_US
            }

    def lost(self, is_dead: Callable[[WorkerNode], bool]) -> Lost:
        with self.lock:
            dead = [node.id for node in self.workers() if node.stopped or is_dead(node)]
            jobs = any(
                job.token is not None and (job.lease_until_us <= self.clock() or job.worker in dead)
                for job in self.job_by_id.values()
            )
        return Lost(dead, jobs)

    def workers(self) -> Sequence[WorkerNode]:
        with self.lock:
            return sorted(self.nodes.values(), key=lambda node: (node.hostname, node.pid))

    def wait(self, timeout_s: float) -> None:
        self.waiters.wait(timeout_s)

    def wake(self) -> None:
        self.waiters.wake()
