"""AuditedQueue over SQL: everything that was decided, read in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, select

from casparian.adapters.queue.common import slot_order
from casparian.adapters.queue.database import Database
from casparian.adapters.queue.rows import published_of, target_of
from casparian.adapters.queue.tables.files import file_version
from casparian.adapters.queue.tables.installation import installation
from casparian.adapters.queue.tables.jobs import processing_job
from casparian.adapters.queue.tables.publishing import publish_slot, published_slot, target_bundle
from casparian.domain.audit import AuditedJob, AuditedVersion, QueueReading
from casparian.domain.bundles import BundleState
from casparian.domain.jobs import JobKind, JobStatus
from casparian.domain.publish import BundleKey, Generation, Manifest, PublishedSlot, SlotState

TOGETHER = 1_000
_job, _version = processing_job.c, file_version.c

_JOBS = (
    select(
        _job.id, _job.kind, _job.status, _job.attempt, _job.token, _job.lease_until_us,
        _job.finished_at_us, _job.plugin_name, _job.location_id, _job.file_version_id,
        _job.ordinal, _job.manifest, _version.location_id.label("version_location"),
        _version.ordinal.label("version_ordinal"), _version.content_hash,
    )
    .outerjoin(file_version, _version.id == _job.file_version_id)
    .order_by(_job.id)
)  # fmt: skip


class SqlAudit:
    """Port `AuditedQueue`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    @contextmanager
    def read(self) -> Iterator[QueueReading]:
        with self._db.read() as connection:
            uuid = connection.execute(select(installation.c.uuid)).scalar_one()
            yield QueueReading(uuid, _jobs(connection), _slots(connection), _bundles(connection))


def _jobs(connection: Connection) -> Iterator[AuditedJob]:
    last = 0
    while rows := connection.execute(_JOBS.where(_job.id > last).limit(TOGETHER)).all():
        yield from map(_job_of, rows)
        last = rows[-1].id


def _job_of(row: Any) -> AuditedJob:
    version = None
    if row.version_location is not None:
        version = AuditedVersion(row.version_location, row.version_ordinal, row.content_hash)
    return AuditedJob(
        row.id,
        JobKind(row.kind),
        JobStatus(row.status),
        row.attempt,
        row.token,
        row.lease_until_us,
        row.finished_at_us,
        row.plugin_name,
        row.location_id,
        row.file_version_id,
        row.ordinal,
        None if row.manifest is None else Manifest.from_json(row.manifest),
        version,
    )


def _slots(connection: Connection) -> dict[tuple[str, int], SlotState]:
    published: dict[tuple[str, int], list[PublishedSlot]] = {}
    for row in connection.execute(select(published_slot)):
        published.setdefault((row.plugin_name, row.location_id), []).append(published_of(row))
    slots: dict[tuple[str, int], SlotState] = {}
    for row in connection.execute(select(publish_slot)):
        key = (row.plugin_name, row.location_id)
        generation = None if row.ordinal is None else Generation(row.ordinal, row.enqueue)
        standing = tuple(sorted(published.get(key, ()), key=slot_order))
        slots[key] = SlotState(generation, row.holder, standing)
    return slots


def _bundles(connection: Connection) -> dict[BundleKey, BundleState]:
    return {
        BundleKey(target_of(row), row.bundle): BundleState(row.revision, row.installed)
        for row in connection.execute(select(target_bundle))
    }
