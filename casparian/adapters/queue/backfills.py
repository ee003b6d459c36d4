"""Backfills over SQL: versions are looked at in pages, by the index of their jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, func, insert, or_, select

from casparian.adapters.queue.common import JobEvent, identity_of
from casparian.adapters.queue.conditions import has_status
from casparian.adapters.queue.database import Database
from casparian.adapters.queue.rows import ageing_us, location_of, log_events, version_of
from casparian.adapters.queue.statements import CHUNK, chunks
from casparian.adapters.queue.tables.files import file_location, file_version, source_root
from casparian.adapters.queue.tables.jobs import processing_job
from casparian.adapters.queue.tables.plugins import plugin_config, plugin_manifest, topic_config
from casparian.adapters.queue.tables.publishing import publish_slot
from casparian.domain.backfill import IN_THE_WAY, InTheWay, Outdated, made_by
from casparian.domain.files import FileLocation, FileVersion
from casparian.domain.jobs import JobEventKind, JobKind, JobStatus
from casparian.domain.plugins import Mode
from casparian.domain.routing import BACKFILL_PRIORITY, due_us

_job, _version, _location = processing_job.c, file_version.c, file_location.c
_slot, _root, _code, _topic = publish_slot.c, source_root.c, plugin_manifest.c, topic_config.c


class _Live(NamedTuple):
    """What rows of a plugin are held against. `purged`: by location, the newest purge."""

    content_hash: str
    appends: bool
    purged: Mapping[int, int]


class SqlBackfills:
    """Port `Backfills`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def outdated(self, plugin: str) -> Iterator[Outdated]:
        last = 0
        while True:
            with self._db.read() as connection:
                live = _live(connection, plugin)
                if live is None:
                    return
                page = connection.execute(_PAGE, {"plugin": plugin, "last": last}).all()
                found = _outdated(connection, plugin, live, page)
            yield from found
            if len(page) < CHUNK:
                return
            last = page[-1].file_version_id

    def enqueue_backfills(
        self, plugin: str, version_ids: Sequence[int], actor: str
    ) -> Mapping[int, int]:
        enqueued: dict[int, int] = {}
        for ids in chunks(sorted(set(version_ids))):
            with self._db.write() as connection:
                live = _live(connection, plugin)
                if live is None:
                    continue
                newest = connection.execute(_OF_VERSIONS, {"plugin": plugin, "ids": ids}).all()
                found = _outdated(connection, plugin, live, newest)
                free = [old for old in found if old.in_the_way is None]
                enqueued |= self._enqueue(connection, live, free, actor)
        if enqueued:
            self._db.waiters.wake()
        return enqueued

    def _enqueue(
        self, connection: Connection, live: _Live, free: Sequence[Outdated], actor: str
    ) -> dict[int, int]:
        if not free:
            return {}
        now = self._db.clock()
        due = due_us(now, BACKFILL_PRIORITY, ageing_us(connection))
        values = [
            {
                "status": JobStatus.QUEUED.value,
                "plugin_name": old.plugin,
                "file_version_id": old.version_id,
                "location_id": old.location_id,
                "ordinal": old.ordinal,
                "priority": BACKFILL_PRIORITY,
                "due": due,
                "not_before_us": now,
                "enqueued_at_us": now,
            }
            for old in free
        ]
        statement = insert(processing_job).returning(_job.id, sort_by_parameter_order=True)
        ids = list(connection.execute(statement, values).scalars())
        events = [
            JobEvent(
                job_id,
                0,
                now,
                JobEventKind.BACKFILLED,
                message=made_by(old.job_id, old.plugin_hash, live.content_hash),
                actor=actor,
            )
            for old, job_id in zip(free, ids, strict=True)
        ]
        log_events(connection, events)
        return {old.version_id: job_id for old, job_id in zip(free, ids, strict=True)}


def _live(connection: Connection, plugin: str) -> _Live | None:
    content_hash = connection.execute(_LIVE_HASH, {"plugin": plugin}).scalar()
    if content_hash is None:
        return None
    appends = connection.execute(_APPENDS, {"plugin": plugin}).first() is not None
    purged = {
        row.location_id: row.newest for row in connection.execute(_PURGED, {"plugin": plugin})
    }
    return _Live(content_hash, appends, purged)


def _outdated(
    connection: Connection, plugin: str, live: _Live, newest: Sequence[Any]
) -> list[Outdated]:
    """Of versions with their newest completed run, those that are outdated."""
    if not newest:
        return []
    query = {"live": live.content_hash, "ids": [row.job_id for row in newest]}
    made = {
        row.file_version_id: row
        for row in connection.execute(_OTHER_CODE, query)
        if (live.appends or row.standing is None or row.ordinal >= row.standing)
        and live.purged.get(row.location_id, 0) < row.id
    }
    newer = _newer_jobs(connection, plugin, made)
    made = {
        version_id: row for version_id, row in made.items() if version_id not in newer.withdrawn
    }
    versions = connection.execute(_VERSIONS, {"ids": list(made)})
    found = {row.id: version_of(row) for row in versions}
    of_locations = {"ids": sorted({version.location_id for version in found.values()})}
    locations = {row.id: location_of(row) for row in connection.execute(_LOCATIONS, of_locations)}
    roots = {row.id: row.path for row in connection.execute(_ROOTS)}
    return [
        _outdated_of(version, locations[version.location_id], roots, made[version.id], newer.jobs)
        for _, version in sorted(found.items())
    ]


class _Newer(NamedTuple):
    """What came after the jobs that made the rows of versions: the newest run in the way of each,
    and the versions whose rows are withdrawn."""

    jobs: dict[int, InTheWay]
    withdrawn: set[int]


def _newer_jobs(connection: Connection, plugin: str, made: Mapping[int, Any]) -> _Newer:
    newer = _Newer({}, set())
    for row in connection.execute(_NEWER, {"plugin": plugin, "ids": list(made)}):
        if row.id < made[row.file_version_id].id:
            continue
        if row.kind == JobKind.RUN.value and row.status in IN_THE_WAY:
            newer.jobs[row.file_version_id] = InTheWay(row.id, JobStatus(row.status))
        elif row.kind == JobKind.WITHDRAW.value and row.status == JobStatus.COMPLETED.value:
            newer.withdrawn.add(row.file_version_id)
    return newer


def _outdated_of(
    version: FileVersion,
    location: FileLocation,
    roots: Mapping[int, bytes],
    made: Any,
    newer: Mapping[int, InTheWay],
) -> Outdated:
    return Outdated(
        made.plugin_name,
        version.id,
        location.id,
        version.ordinal,
        roots[location.source_root_id],
        location.path,
        version.content_hash,
        identity_of(version, location),
        version.seen_at_us,
        location.current_version_id == version.id and not location.deleted,
        made.id,
        made.plugin_hash or "",
        made.rows,
        newer.get(version.id),
    )


_MINE = _job.plugin_name == bindparam("plugin")
_RUN = _job.kind == JobKind.RUN.value
_COMPLETED = _job.status == JobStatus.COMPLETED.value
_IDS: Any = bindparam("ids", expanding=True)

_LIVE_HASH = (
    select(_code.content_hash)
    .join(plugin_config, plugin_config.c.plugin_name == _code.plugin_name)
    .where(_code.plugin_name == bindparam("plugin"), _code.live, plugin_config.c.active)
)
_APPENDS = select(_topic.id).where(
    _topic.plugin_name == bindparam("plugin"), _topic.active, _topic.mode == Mode.APPEND.value
)
_PURGED = (
    select(_job.location_id, func.max(_job.id).label("newest"))
    .where(_MINE, has_status(JobStatus.COMPLETED), _job.kind == JobKind.PURGE.value)
    .group_by(_job.location_id)
)
_NEWEST = (
    select(_job.file_version_id, func.max(_job.id).label("job_id"))
    .where(_MINE, _RUN, _COMPLETED)
    .group_by(_job.file_version_id)
    .order_by(_job.file_version_id)
)
_PAGE = _NEWEST.where(_job.file_version_id > bindparam("last")).limit(CHUNK)
_OF_VERSIONS = _NEWEST.where(_job.file_version_id.in_(_IDS))
# `standing` is the ordinal of the rows that stand, or of those decided and not installed yet.
_OTHER_CODE = (
    select(
        _job.id, _job.plugin_name, _job.plugin_hash, _job.file_version_id, _job.location_id,
        _job.ordinal, _job.rows, _slot.ordinal.label("standing"),
    )
    .outerjoin(
        publish_slot,
        and_(_slot.plugin_name == _job.plugin_name, _slot.location_id == _job.location_id),
    )
    .where(
        _job.id.in_(_IDS),
        or_(_job.plugin_hash.is_(None), _job.plugin_hash != bindparam("live")),
    )
)  # fmt: skip
_NEWER = (
    select(_job.id, _job.file_version_id, _job.kind, _job.status)
    .where(_MINE, _job.file_version_id.in_(_IDS))
    .order_by(_job.id)
)
_VERSIONS = select(file_version).where(_version.id.in_(_IDS))
_LOCATIONS = select(file_location).where(_location.id.in_(_IDS))
_ROOTS = select(_root.id, _root.path)
