"""AuditedQueue in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from casparian.adapters.queue.memory.ledger import MemoryLedger
from casparian.domain.audit import AuditedJob, AuditedVersion, QueueReading
from casparian.domain.jobs import ProcessingJob


class MemoryAudit:
    """Port `AuditedQueue` over a queue in memory."""

    def __init__(self, queue: MemoryLedger) -> None:
        self._queue = queue

    @contextmanager
    def read(self) -> Iterator[QueueReading]:
        queue = self._queue
        with queue.lock:
            slots = queue.slots(list(queue.slot_rows))
            jobs = (self._audited(job) for _, job in sorted(queue.job_by_id.items()))
            yield QueueReading(queue.uuid, jobs, slots, dict(queue.bundle_states))

    def _audited(self, job: ProcessingJob) -> AuditedJob:
        version = self._queue.versions.get(job.file_version_id)
        read = None
        if version is not None:
            read = AuditedVersion(version.location_id, version.ordinal, version.content_hash)
        return AuditedJob(
            job.id,
            job.kind,
            job.status,
            job.attempt,
            job.token,
            job.lease_until_us,
            job.finished_at_us,
            job.plugin,
            job.location_id,
            job.file_version_id,
            job.ordinal,
            self._queue.manifests.get(job.id),
            read,
        )
