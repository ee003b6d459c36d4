"""Purges begun, over SQL: jobs that are held from their beginning and that nobody claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, insert, select

from casparian.adapters.queue.claims import CLAIMED, beside_their_files, claims_of
from casparian.adapters.queue.common import JobEvent
from casparian.adapters.queue.database import Dialect
from casparian.adapters.queue.rows import log_events
from casparian.adapters.queue.tables.files import file_location, file_version
from casparian.adapters.queue.tables.jobs import processing_job
from casparian.domain.jobs import UNFINISHED, JobEventKind, JobKind, JobStatus
from casparian.domain.ports import PurgesBegun, Unfinished

_job, _version, _location = processing_job.c, file_version.c, file_location.c


class Holder(NamedTuple):
    """Who begins purges, and when."""

    worker: str
    now_us: int
    lease_us: int
    actor: str


# By way of the versions, which have an index of their jobs.
_UNFINISHED = (
    select(_job.id, _job.plugin_name, _job.location_id, _job.status, _job.kind)
    .join(file_version, _version.id == _job.file_version_id)
    .where(
        _version.location_id.in_(bindparam("ids", expanding=True)),
        _job.status.in_(sorted(UNFINISHED)),
    )
    .order_by(_job.id)
)
_CURRENT = (
    select(_location.id.label("location_id"), _version.id, _version.ordinal)
    .join(file_version, _version.id == _location.current_version_id)
    .where(_location.id.in_(bindparam("ids", expanding=True)))
)


def begin_some(
    connection: Connection, dialect: Dialect, keys: Sequence[tuple[str, int]], holder: Holder
) -> PurgesBegun:
    """One transaction's share of `JobQueue.begin_purges`."""
    ids = {"ids": sorted({location_id for _, location_id in keys})}
    found = [
        Unfinished(
            row.id, row.plugin_name, row.location_id, JobStatus(row.status), JobKind(row.kind)
        )
        for row in connection.execute(_UNFINISHED, ids)
    ]
    in_the_way = [job for job in found if job.key in keys]
    held = {job.key for job in in_the_way}
    current = {row.location_id: row for row in connection.execute(_CURRENT, ids)}
    made = [
        connection.execute(
            insert(processing_job)
            .values(**_values(plugin, current[location_id], holder), token=dialect.fresh_token)
            .returning(*(_job[name] for name in CLAIMED))
        ).one()
        for plugin, location_id in keys
        if (plugin, location_id) not in held and location_id in current
    ]
    at, kind = holder.now_us, JobEventKind.PURGED
    log_events(
        connection,
        [JobEvent(row.id, 1, at, kind, holder.worker, actor=holder.actor) for row in made],
    )
    unseen = [key for key in keys if key[1] not in current]
    claims = claims_of(beside_their_files(connection, made))
    return PurgesBegun(claims, in_the_way, unseen)


def _values(plugin: str, version: Any, holder: Holder) -> Mapping[str, Any]:
    return {
        "status": JobStatus.RUNNING.value,
        "kind": JobKind.PURGE.value,
        "plugin_name": plugin,
        "file_version_id": version.id,
        "location_id": version.location_id,
        "ordinal": version.ordinal,
        "priority": 0,
        "due": holder.now_us,
        "attempt": 1,
        "worker": holder.worker,
        "lease_until_us": holder.now_us + holder.lease_us,
        "not_before_us": holder.now_us,
        "enqueued_at_us": holder.now_us,
        "started_at_us": holder.now_us,
    }
