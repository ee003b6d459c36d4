"""Between table rows and domain values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from casparian.adapters.queue.common import JobEvent
from casparian.adapters.queue.statements import execute_many, insert_of, row_insert, storable
from casparian.adapters.queue.tables.installation import installation
from casparian.adapters.queue.tables.jobs import job_event, processing_job
from casparian.adapters.queue.tables.plugins import file_tag
from casparian.domain.errors import ErrorClass
from casparian.domain.files import FileLocation, FileVersion, StatIdentity, path_bytes, path_text
from casparian.domain.jobs import JobEventKind, JobKind, JobStatus, ProcessingJob
from casparian.domain.plugins import Mode
from casparian.domain.publish import PublishedSlot, SlotKey, Target

_SIGN, _RANGE = 1 << 63, 1 << 64


def _signed(number: int) -> int:
    """Inodes and devices have 64 bits without a sign, columns have one."""
    return number - _RANGE if number >= _SIGN else number


def stat_values(identity: StatIdentity) -> dict[str, int]:
    return {
        "size": identity.size,
        "mtime_ns": identity.mtime_ns,
        "ctime_ns": identity.ctime_ns,
        "inode": _signed(identity.inode),
        "device": _signed(identity.device),
    }


def stat_row(identity: StatIdentity) -> tuple[int, int, int, int, int]:
    """As `stat_values`, in the order of NO_STAT."""
    size, mtime_ns, ctime_ns, inode, device = identity
    if inode >= _SIGN or device >= _SIGN:
        return size, mtime_ns, ctime_ns, _signed(inode), _signed(device)
    return size, mtime_ns, ctime_ns, inode, device


NO_STAT: dict[str, None] = dict.fromkeys(StatIdentity._fields)


def identity(
    size: int | None, mtime_ns: int, ctime_ns: int, inode: int, device: int
) -> StatIdentity | None:
    return None if size is None else stat_of(size, mtime_ns, ctime_ns, inode, device)


def stat_of(size: int, mtime_ns: int, ctime_ns: int, inode: int, device: int) -> StatIdentity:
    return StatIdentity(size, mtime_ns, ctime_ns, inode % _RANGE, device % _RANGE)


def location_of(row: Any) -> FileLocation:
    return FileLocation(
        row.id,
        row.source_root_id,
        row.path,
        identity(row.size, row.mtime_ns, row.ctime_ns, row.inode, row.device),
        row.content_hash,
        row.current_version_id,
        row.versions,
        row.hashed_at_us,
        row.missed_scans,
        bool(row.deleted),
    )


def version_of(row: Any) -> FileVersion:
    stat = identity(row.size, row.mtime_ns, row.ctime_ns, row.inode, row.device)
    assert stat is not None
    return FileVersion(
        row.id, row.location_id, row.ordinal, row.content_hash, row.size, row.seen_at_us, stat
    )


JOB_COLUMNS = tuple(c for c in processing_job.c if c.name not in ("due", "manifest"))


def job_of(row: Any) -> ProcessingJob:
    """From a row of JOB_COLUMNS."""
    return ProcessingJob(
        id=row.id,
        status=JobStatus(row.status),
        plugin=row.plugin_name,
        plugin_hash=row.plugin_hash,
        file_version_id=row.file_version_id,
        location_id=row.location_id,
        ordinal=row.ordinal,
        priority=row.priority,
        attempt=row.attempt,
        tries=row.tries,
        crashes=row.crashes,
        token=row.token,
        worker=row.worker,
        lease_until_us=row.lease_until_us,
        not_before_us=row.not_before_us,
        enqueued_at_us=row.enqueued_at_us,
        started_at_us=row.started_at_us,
        finished_at_us=row.finished_at_us,
        rows=row.rows,
        rejects=row.rejects,
        error_class=ErrorClass(row.error_class) if row.error_class else None,
        error_message=row.error_message,
        kind=JobKind(row.kind),
        sandbox=row.sandbox,
        environment=row.environment,
    )


QUEUED = JobStatus.QUEUED.value


class QueuedJob(NamedTuple):
    """The values of a new job, by column."""

    status: str
    plugin_name: str
    file_version_id: int
    location_id: int
    ordinal: int
    priority: int
    due: int
    not_before_us: int
    enqueued_at_us: int


def queued_job(
    plugin: str,
    version_id: int,
    location_id: int,
    ordinal: int,
    priority: int,
    now_us: int,
    due: int,
) -> QueuedJob:
    return QueuedJob(
        QUEUED, plugin, version_id, location_id, ordinal, priority, due, now_us, now_us
    )


INSERT_JOB = row_insert(processing_job, *QueuedJob._fields)
INSERT_TAG = row_insert(file_tag, "file_version_id", "tag", "rule_id")


def event_of(row: Any) -> JobEvent:
    return JobEvent(
        row.job_id,
        row.attempt,
        row.at_us,
        JobEventKind(row.event),
        row.worker,
        row.error_class,
        row.message,
        row.detail,
        row.actor,
    )


_INSERT_EVENT = insert_of(job_event, *JobEvent._fields)


def log_events(connection: Connection, events: Sequence[JobEvent]) -> None:
    texts = ("message", "detail", "actor")
    values = [
        event._asdict() | {name: storable(getattr(event, name)) for name in texts}
        for event in events
    ]
    execute_many(connection, _INSERT_EVENT, values)


_AGEING = select(installation.c.ageing_us)


def ageing_us(connection: Connection) -> int:
    return connection.execute(_AGEING).scalar_one()


def published_of(row: Any) -> PublishedSlot:
    return PublishedSlot(
        target_of(row),
        Mode(row.mode),
        SlotKey(row.plugin_name, row.topic, row.location_id, row.version_id),
        row.bundle,
    )


def target_of(row: Any) -> Target:
    return Target(row.scheme, path_text(row.location), row.name)


def target_values(target: Target) -> dict[str, Any]:
    return {
        "scheme": target.scheme,
        "location": path_bytes(target.location),
        "name": target.name,
    }


def published_values(plugin: str, location_id: int, published: PublishedSlot) -> dict[str, Any]:
    return {
        "plugin_name": plugin,
        "location_id": location_id,
        "topic": published.slot.topic,
        "version_id": published.slot.version_id,
        "mode": published.mode.value,
        "bundle": published.bundle,
        **target_values(published.target),
    }


def dumps(value: Mapping[str, Any] | Sequence[Any]) -> str:
    return json.dumps(value, sort_keys=True)
