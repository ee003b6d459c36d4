"""Backfills in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from casparian.adapters.queue.common import identity_of
from casparian.adapters.queue.memory.state import MemoryState
from casparian.domain.backfill import IN_THE_WAY, InTheWay, Outdated, made_by
from casparian.domain.jobs import JobEventKind, JobKind, JobStatus, ProcessingJob
from casparian.domain.routing import BACKFILL_PRIORITY


class MemoryBackfills(MemoryState):
    """A part of the queue."""

    def outdated(self, plugin: str) -> Iterator[Outdated]:
        with self.lock:
            found = self._outdated(plugin)
        yield from found

    def enqueue_backfills(
        self, plugin: str, version_ids: Sequence[int], actor: str
    ) -> Mapping[int, int]:
        with self.lock:
            wanted = set(version_ids)
            enqueued = {
                old.version_id: self._backfill(old, actor)
                for old in self._outdated(plugin)
                if old.version_id in wanted and old.in_the_way is None
            }
        if enqueued:
            self.waiters.wake()
        return enqueued

    def _backfill(self, old: Outdated, actor: str) -> int:
        job_id = self.enqueue(old.plugin, self.versions[old.version_id], BACKFILL_PRIORITY)
        said = made_by(old.job_id, old.plugin_hash, self._live_hash(old.plugin) or "")
        self.log(self.job_by_id[job_id], JobEventKind.BACKFILLED, said, actor=actor)
        return job_id

    def _live_hash(self, plugin: str) -> str | None:
        if plugin not in self.active_plugins:
            return None
        return next(
            (h for (name, h), code in self.code.items() if name == plugin and code.live), None
        )

    def _outdated(self, plugin: str) -> list[Outdated]:
        live_hash = self._live_hash(plugin)
        if live_hash is None:
            return []
        jobs = [job for _, job in sorted(self.job_by_id.items()) if job.plugin == plugin]
        completed = [job for job in jobs if job.status is JobStatus.COMPLETED]
        newest = {job.file_version_id: job for job in completed if job.kind is JobKind.RUN}
        gone = [job for job in completed if job.kind is not JobKind.RUN]
        return [
            self._outdated_of(job, jobs)
            for _, job in sorted(newest.items())
            if job.plugin_hash != live_hash
            and self._may_install(job)
            and not any(_removed(job, by) for by in gone)
        ]

    def _may_install(self, job: ProcessingJob) -> bool:
        row = self.slot_rows.get((job.plugin, job.location_id))
        if (
            not self.configs[job.plugin].replaces_everything
            or row is None
            or row.generation is None
        ):
            return True
        return job.ordinal >= row.generation.ordinal

    def _outdated_of(self, job: ProcessingJob, jobs: Sequence[ProcessingJob]) -> Outdated:
        version, location = self.versions[job.file_version_id], self.location_by_id[job.location_id]
        newer = [
            InTheWay(other.id, other.status)
            for other in jobs
            if other.file_version_id == version.id
            and other.id > job.id
            and other.kind is JobKind.RUN
            and other.status in IN_THE_WAY
        ]
        return Outdated(
            job.plugin,
            version.id,
            location.id,
            version.ordinal,
            self.root_paths[location.source_root_id],
            location.path,
            version.content_hash,
            identity_of(version, location),
            version.seen_at_us,
            location.current_version_id == version.id and not location.deleted,
            job.id,
            job.plugin_hash or "",
            job.rows,
            newer[-1] if newer else None,
        )


def _removed(job: ProcessingJob, by: ProcessingJob) -> bool:
    """Whether another kind of job took away what a run had published. A withdrawal leaves appended
    rows of the versions before its own."""
    if by.location_id != job.location_id or by.id < job.id:
        return False
    return by.kind is JobKind.PURGE or by.file_version_id == job.file_version_id
