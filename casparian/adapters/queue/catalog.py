"""FileCatalog over SQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from casparian.adapters.queue.bound_versions import take_bound
from casparian.adapters.queue.common import JobEvent, below_range
from casparian.adapters.queue.database import (
    Database,
    SelectIn,
    chunks,
    execute_many,
    insert_rows,
    row_insert,
)
from casparian.adapters.queue.departures import SqlDepartures
from casparian.adapters.queue.duplicates import Due, enqueue_shared
from casparian.adapters.queue.rows import (
    INSERT_JOB,
    INSERT_TAG,
    NO_STAT,
    ageing_us,
    location_of,
    log_events,
    queued_job,
    stat_row,
    stat_values,
)
from casparian.adapters.queue.tables import (
    file_hash_registry,
    file_location,
    file_version,
    processing_job,
    source_root,
)
from casparian.domain.duplicates import Wanted
from casparian.domain.files import (
    SCANS_UNTIL_DELETED,
    FileLocation,
    Sighting,
    SourceRoot,
)
from casparian.domain.jobs import JobEventKind
from casparian.domain.ports import RecordOutcome
from casparian.domain.routing import Routed, RoutingTable, due_us

FIRST_PAGE, PAGE = 100, 2000
RECORDED = 2000
_location = file_location.c


class _Seen(NamedTuple):
    """One sighting on its way into the tables."""

    sighting: Sighting
    routed: Routed
    location: FileLocation

    @property
    def standing(self) -> bool:
        return not self.location.deleted and self.location.content_hash is not None

    @property
    def touched(self) -> bool:
        return self.standing and self.location.content_hash == self.sighting.content_hash

    def wanted(self, plugin: str, version_id: int) -> Wanted:
        known = self.location
        return Wanted(
            plugin,
            self.sighting.content_hash,
            version_id,
            known.id,
            known.versions + 1,
            self.routed.priority,
            forgotten=known.versions > 0 and not known.deleted and known.content_hash is None,
        )


class SqlCatalog(SqlDepartures):
    """Locations, versions, content registry, tags."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def roots(self) -> Sequence[SourceRoot]:
        statement = select(source_root).where(source_root.c.active).order_by(source_root.c.id)
        with self._db.read() as connection:
            return [SourceRoot(row.id, row.path) for row in connection.execute(statement)]

    def locations(
        self, root_id: int, below: bytes = b"", begin: bytes = b""
    ) -> Iterator[FileLocation]:
        statement = select(file_location).where(_location.source_root_id == root_id)
        statement = statement.order_by(_location.path)
        if begin:
            statement = statement.where(_location.path >= begin)
        last, page = b"", FIRST_PAGE
        if below:
            found = self.find(root_id, below)
            if found is not None and below >= begin:
                yield found
            last, end = below_range(below)
            statement = statement.where(_location.path < end)
        while True:
            # A path never ends in `/`, so none equals the begin of the range.
            next_page = statement.where(_location.path > last).limit(page)
            with self._db.read() as connection:
                found_here = [location_of(row) for row in connection.execute(next_page)]
            yield from found_here
            if len(found_here) < page:
                return
            last, page = found_here[-1].path, min(4 * page, PAGE)

    def disturbances(self, root_id: int) -> int:
        statement = select(source_root.c.disturbances).where(source_root.c.id == root_id)
        with self._db.read() as connection:
            return connection.execute(statement).scalar_one()

    def find(self, root_id: int, path: bytes) -> FileLocation | None:
        with self._db.read() as connection:
            return self._known(connection, root_id, [path]).get(path)

    def _known(
        self, connection: Connection, root_id: int, paths: Iterable[bytes]
    ) -> dict[bytes, FileLocation]:
        rows = _AT_PATHS.rows(connection, list(paths), root_id=root_id)
        return {row.path: location_of(row) for row in rows}

    def record(
        self, root_id: int, sightings: Sequence[Sighting], routing: RoutingTable
    ) -> RecordOutcome:
        """Record in transactions of at most RECORDED files each."""
        total = RecordOutcome()
        for part in chunks(sightings, RECORDED):
            routed = [(sighting, routing.route(sighting.path)) for sighting in part]
            for distinct in _distinct(routed):
                with self._db.write() as connection:
                    total = _sum(total, self._record(connection, root_id, distinct))
        if total.jobs:
            self._db.waiters.wake()
        return total

    def _record(
        self, connection: Connection, root_id: int, part: dict[bytes, tuple[Sighting, Routed]]
    ) -> RecordOutcome:
        now = self._db.clock()
        known = self._known(connection, root_id, part)
        new = [path for path in part if path not in known]
        ids = self._db.dialect.new_ids(connection, file_location, len(new))
        for location_id, path in zip(ids, new, strict=True):
            known[path] = FileLocation(location_id, root_id, path, None, None, None, 0, 0)
        seen = [_Seen(s, routed, known[s.path]) for s, routed in part.values()]
        seen = self._without_departed(connection, seen)
        self._touch(connection, [s for s in seen if s.touched], now)
        newer = [s for s in seen if not s.touched]
        jobs = self._add_versions(connection, newer, now, set(ids)) if newer else 0
        changed = sum(s.standing for s in newer)
        new_here = len(newer) - changed
        if new_here:
            connection.execute(_DISTURB_ROOT, {"root_id": root_id})
        touched = len(seen) - len(newer)
        return RecordOutcome(new_here, changed, touched, jobs, int(new_here > 0))

    def _touch(self, connection: Connection, seen: Sequence[_Seen], now: int) -> None:
        values = [
            {"b_id": s.location.id, **stat_values(s.sighting.identity), "hashed_at_us": now}
            for s in seen
        ]
        execute_many(connection, _TOUCH, values)

    def _add_versions(
        self, connection: Connection, seen: Sequence[_Seen], now: int, new: Set[int]
    ) -> int:
        """Locations of the `new` ids, registry, versions, current versions, tags and jobs;
        returns the count of jobs."""
        versioned = self._with_version_ids(connection, seen, new)
        self._add_contents(connection, seen, now)
        locations = [
            (
                s.location.id,
                s.location.source_root_id,
                s.sighting.path,
                *stat_row(s.sighting.identity),
                s.sighting.content_hash,
                version,
                1,
                now,
                False,
            )
            for s, version in versioned
            if s.location.id in new
        ]
        insert_rows(connection, _INSERT_LOCATION, locations)
        moved = [_current(s, v, now) for s, v in versioned if s.location.id not in new]
        execute_many(connection, _MOVE_CURRENT, moved)
        versions = [
            (
                version,
                s.location.id,
                s.location.versions + 1,
                s.sighting.content_hash,
                *stat_row(s.sighting.identity),
                now,
            )
            for s, version in versioned
        ]
        insert_rows(connection, _INSERT_VERSION, versions)
        tags = [
            (version, tag, rule.id or None)
            for s, version in versioned
            for tag, rule in s.routed.tags.items()
        ]
        insert_rows(connection, INSERT_TAG, tags)
        return self._add_jobs(connection, versioned, now)

    def _add_jobs(
        self, connection: Connection, versioned: Sequence[tuple[_Seen, int]], now: int
    ) -> int:
        ageing = ageing_us(connection)
        jobs = [
            queued_job(
                plugin,
                version,
                s.location.id,
                s.location.versions + 1,
                s.routed.priority,
                now,
                due_us(now, s.routed.priority, ageing),
            )
            for s, version in versioned
            for plugin in s.routed.plugins
            if plugin not in s.routed.skipping
        ]
        insert_rows(connection, INSERT_JOB, jobs)
        shared = [
            s.wanted(plugin, version)
            for s, version in versioned
            for plugin in s.routed.plugins
            if plugin in s.routed.skipping
        ]
        if not shared:
            return len(jobs)
        return len(jobs) + enqueue_shared(connection, shared, Due(now, ageing))

    def _add_contents(self, connection: Connection, seen: Sequence[_Seen], now: int) -> None:
        contents = {s.sighting.content_hash: s.sighting.identity.size for s in seen}
        into = self._db.dialect.insert_missing(
            file_hash_registry, "content_hash", "size", "first_seen_us"
        )
        insert_rows(connection, into, [(key, size, now) for key, size in contents.items()])

    def _with_version_ids(
        self, connection: Connection, seen: Sequence[_Seen], new: Set[int]
    ) -> list[tuple[_Seen, int]]:
        """Each with the id that its new version is to have."""
        contents = {
            s.location.id: s.sighting.content_hash for s in seen if s.location.id not in new
        }
        bound = take_bound(connection, contents) if contents else {}
        free = iter(self._db.dialect.new_ids(connection, file_version, len(seen) - len(bound)))
        return [(s, bound.get(s.location.id) or next(free)) for s in seen]

    def missed(self, location_ids: Sequence[int]) -> int:
        deleted = 0
        for number, part in enumerate(chunks(location_ids)):
            standing = (_location.id.in_(list(part)), ~_location.deleted)
            count = update(file_location).values(missed_scans=_location.missed_scans + 1)
            enough = _location.missed_scans >= SCANS_UNTIL_DELETED
            end = update(file_location).values(deleted=True).where(*standing, enough)
            with self._db.write() as connection:
                if number == 0:
                    connection.execute(_DISTURB, {"location_id": part[0]})
                connection.execute(count.where(*standing))
                deleted += connection.execute(end).rowcount
        return deleted

    def seen(self, location_ids: Sequence[int]) -> None:
        reset = update(file_location).values(missed_scans=0)
        for part in chunks(location_ids):
            statement = reset.where(
                _location.id.in_(list(part)), _location.missed_scans > 0, ~_location.deleted
            )
            with self._db.write() as connection:
                connection.execute(statement)

    def forget(self, location_id: int, actor: str) -> None:
        statement = update(file_location).where(_location.id == location_id)
        with self._db.write() as connection:
            connection.execute(statement.values(content_hash=None, **NO_STAT))
            connection.execute(_DISTURB, {"location_id": location_id})
            now, kind = self._db.clock(), JobEventKind.FORGOTTEN
            jobs = connection.execute(_JOBS_OF_CURRENT, {"location_id": location_id}).all()
            log_events(
                connection,
                [JobEvent(j.id, j.attempt, now, kind, j.worker, actor=actor) for j in jobs],
            )


_DISTURB_ROOT = (
    update(source_root)
    .where(source_root.c.id == bindparam("root_id"))
    .values(disturbances=source_root.c.disturbances + 1)
)
_DISTURB = (
    update(source_root)
    .where(
        source_root.c.id.in_(
            select(_location.source_root_id).where(_location.id == bindparam("location_id"))
        )
    )
    .values(disturbances=source_root.c.disturbances + 1)
)
_JOBS_OF_CURRENT = (
    select(processing_job.c.id, processing_job.c.attempt, processing_job.c.worker)
    .join(file_location, _location.current_version_id == processing_job.c.file_version_id)
    .where(_location.id == bindparam("location_id"))
    .order_by(processing_job.c.id)
)


_STAT: dict[str, Any] = {name: bindparam(name) for name in NO_STAT}
_TOUCH = (
    update(file_location)
    .where(_location.id == bindparam("b_id"))
    .values(**_STAT, hashed_at_us=bindparam("hashed_at_us"), missed_scans=0)
)
_MOVE_CURRENT = _TOUCH.values(
    content_hash=bindparam("content_hash"),
    current_version_id=bindparam("current_version_id"),
    versions=bindparam("versions"),
    deleted=False,
)


_AT_PATHS = SelectIn(
    select(file_location).where(_location.source_root_id == bindparam("root_id")), _location.path
)
_STAT_NAMES = tuple(NO_STAT)
_INSERT_LOCATION = row_insert(
    file_location, "id", "source_root_id", "path", *_STAT_NAMES, "content_hash",
    "current_version_id", "versions", "hashed_at_us", "deleted",
)  # fmt: skip
_INSERT_VERSION = row_insert(
    file_version, "id", "location_id", "ordinal", "content_hash", *_STAT_NAMES, "seen_at_us"
)


def _current(seen: _Seen, version: int, now: int) -> dict[str, Any]:
    return {
        "b_id": seen.location.id,
        **stat_values(seen.sighting.identity),
        "hashed_at_us": now,
        "content_hash": seen.sighting.content_hash,
        "current_version_id": version,
        "versions": seen.location.versions + 1,
    }


def _distinct(
    routed: Iterable[tuple[Sighting, Routed]],
) -> Iterator[dict[bytes, tuple[Sighting, Routed]]]:
    """Runs, by path, in which none stands twice: a later sighting is held against the earlier."""
    part: dict[bytes, tuple[Sighting, Routed]] = {}
    for sighting, route in routed:
        if sighting.path in part:
            yield part
            part = {}
        part[sighting.path] = sighting, route
    if part:
        yield part


def _sum(one: RecordOutcome, other: RecordOutcome) -> RecordOutcome:
    return RecordOutcome(
        one.new + other.new,
        one.changed + other.changed,
        one.touched + other.touched,
        one.jobs + other.jobs,
        one.disturbed + other.disturbed,
    )
