"""FileCatalog over SQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, insert, select, update

from casparian.adapters.queue.bound_versions import take_bound
from casparian.adapters.queue.common import JobEvent, below_range
from casparian.adapters.queue.database import Database, chunks, execute_many
from casparian.adapters.queue.departures import SqlDepartures
from casparian.adapters.queue.rows import (
    INSERT_JOB,
    INSERT_TAG,
    NO_STAT,
    ageing_us,
    location_of,
    log_events,
    queued_job,
    stat_values,
)
from casparian.adapters.queue.tables import (
    file_hash_registry,
    file_location,
    file_version,
    processing_job,
    source_root,
)
from casparian.domain.files import (
    SCANS_UNTIL_DELETED,
    FileLocation,
    Sighting,
    SourceRoot,
)
from casparian.domain.jobs import JobEventKind
from casparian.domain.ports import RecordOutcome
from casparian.domain.routing import Routed, RoutingTable, due_us

PAGE = 2000
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


class SqlCatalog(SqlDepartures):
    """Locations, versions, content registry, tags."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def roots(self) -> Sequence[SourceRoot]:
        statement = select(source_root).where(source_root.c.active).order_by(source_root.c.id)
        with self._db.read() as connection:
            return [SourceRoot(row.id, row.path) for row in connection.execute(statement)]

    def locations(self, root_id: int, below: bytes = b"") -> Iterator[FileLocation]:
        statement = select(file_location).where(_location.source_root_id == root_id)
        statement = statement.order_by(_location.path).limit(PAGE)
        last = b""
        if below:
            found = self.find(root_id, below)
            if found is not None:
                yield found
            last, end = below_range(below)
            statement = statement.where(_location.path < end)
        while True:
            # A path never ends in `/`, so none equals the begin of the range.
            page = statement.where(_location.path > last)
            with self._db.read() as connection:
                found_here = [location_of(row) for row in connection.execute(page)]
            yield from found_here
            if len(found_here) < PAGE:
                return
            last = found_here[-1].path

    def find(self, root_id: int, path: bytes) -> FileLocation | None:
        with self._db.read() as connection:
            return self._known(connection, root_id, [path]).get(path)

    def _known(
        self, connection: Connection, root_id: int, paths: Iterable[bytes]
    ) -> dict[bytes, FileLocation]:
        statement = select(file_location).where(
            _location.source_root_id == root_id, _location.path.in_(list(paths))
        )
        return {row.path: location_of(row) for row in connection.execute(statement)}

    def record(
        self, root_id: int, sightings: Sequence[Sighting], routing: RoutingTable
    ) -> RecordOutcome:
        """Record in transactions of at most 500 files each."""
        total = RecordOutcome()
        for part in chunks(sightings):
            routed = [(sighting, routing.route(sighting.path)) for sighting in part]
            for distinct in _distinct(routed):
                with self._db.write() as connection:
                    total = _sum(total, self._record(connection, root_id, distinct))
        if total.jobs:
            self._db.waiters.wake()
        return total

    def _record(
        self, connection: Connection, root_id: int, part: dict[Sighting, Routed]
    ) -> RecordOutcome:
        now = self._db.clock()
        known = self._known(connection, root_id, [s.path for s in part])
        known |= self._new_locations(
            connection, root_id, [s.path for s in part if s.path not in known]
        )
        seen = [_Seen(s, routed, known[s.path]) for s, routed in part.items()]
        seen = self._without_departed(connection, seen)
        self._touch(connection, [s for s in seen if s.touched], now)
        newer = [s for s in seen if not s.touched]
        jobs = self._add_versions(connection, newer, now) if newer else 0
        changed = sum(s.standing for s in newer)
        return RecordOutcome(len(newer) - changed, changed, len(seen) - len(newer), jobs)

    def _new_locations(
        self, connection: Connection, root_id: int, paths: Sequence[bytes]
    ) -> dict[bytes, FileLocation]:
        if not paths:
            return {}
        statement = insert(file_location).returning(_location.id, _location.path)
        values = [{"source_root_id": root_id, "path": path, "deleted": False} for path in paths]
        return {
            row.path: FileLocation(row.id, root_id, row.path, None, None, None, 0, 0)
            for row in connection.execute(statement, values)
        }

    def _touch(self, connection: Connection, seen: Sequence[_Seen], now: int) -> None:
        values = [
            {"b_id": s.location.id, **stat_values(s.sighting.identity), "hashed_at_us": now}
            for s in seen
        ]
        execute_many(connection, _TOUCH, values)

    def _add_versions(self, connection: Connection, seen: Sequence[_Seen], now: int) -> int:
        """Registry, versions, current versions, tags and jobs; returns the count of jobs."""
        contents = {s.sighting.content_hash: s.sighting.identity.size for s in seen}
        self._db.dialect.insert_missing(
            connection,
            file_hash_registry,
            [
                {"content_hash": content_hash, "size": size, "first_seen_us": now}
                for content_hash, size in contents.items()
            ],
        )
        versions = self._new_versions(connection, seen, now)
        execute_many(connection, _MOVE_CURRENT, [_current(s, versions, now) for s in seen])
        tags = [
            {"file_version_id": versions[s.location.id], "tag": tag, "rule_id": rule.id or None}
            for s in seen
            for tag, rule in s.routed.tags.items()
        ]
        execute_many(connection, INSERT_TAG, tags)
        ageing = ageing_us(connection)
        jobs = [
            queued_job(
                plugin,
                versions[s.location.id],
                s.location.id,
                s.location.versions + 1,
                s.routed.priority,
                now,
                due_us(now, s.routed.priority, ageing),
            )
            for s in seen
            for plugin in s.routed.plugins
        ]
        execute_many(connection, INSERT_JOB, jobs)
        return len(jobs)

    def _new_versions(
        self, connection: Connection, seen: Sequence[_Seen], now: int
    ) -> dict[int, int]:
        """The new versions' ids by location id."""
        bound = take_bound(connection, {s.location.id: s.sighting.content_hash for s in seen})
        values = [
            {
                "location_id": s.location.id,
                "ordinal": s.location.versions + 1,
                "content_hash": s.sighting.content_hash,
                "seen_at_us": now,
                **stat_values(s.sighting.identity),
            }
            for s in seen
        ]
        statement = insert(file_version).returning(file_version.c.id, file_version.c.location_id)
        for row in values:
            if row["location_id"] in bound:
                given = {**row, "id": bound[row["location_id"]]}
                connection.execute(insert(file_version).values(**given))
        free = [row for row in values if row["location_id"] not in bound]
        if not free:
            return bound
        return bound | {row.location_id: row.id for row in connection.execute(statement, free)}

    def missed(self, location_ids: Sequence[int]) -> int:
        deleted = 0
        for part in chunks(location_ids):
            standing = (_location.id.in_(list(part)), ~_location.deleted)
            count = update(file_location).values(missed_scans=_location.missed_scans + 1)
            enough = _location.missed_scans >= SCANS_UNTIL_DELETED
            end = update(file_location).values(deleted=True).where(*standing, enough)
            with self._db.write() as connection:
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
            now, kind = self._db.clock(), JobEventKind.FORGOTTEN
            jobs = connection.execute(_JOBS_OF_CURRENT, {"location_id": location_id}).all()
            log_events(
                connection,
                [JobEvent(j.id, j.attempt, now, kind, j.worker, actor=actor) for j in jobs],
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


def _current(seen: _Seen, versions: dict[int, int], now: int) -> dict[str, Any]:
    return {
        "b_id": seen.location.id,
        **stat_values(seen.sighting.identity),
        "hashed_at_us": now,
        "content_hash": seen.sighting.content_hash,
        "current_version_id": versions[seen.location.id],
        "versions": seen.location.versions + 1,
    }


def _distinct(routed: Iterable[tuple[Sighting, Routed]]) -> Iterator[dict[Sighting, Routed]]:
    """Runs in which no path stands twice: a later sighting is held against the earlier."""
    part: dict[Sighting, Routed] = {}
    paths: set[bytes] = set()
    for sighting, route in routed:
        if sighting.path in paths:
            yield part
            part, paths = {}, set()
        part[sighting] = route
        paths.add(sighting.path)
    if part:
        yield part


def _sum(one: RecordOutcome, other: RecordOutcome) -> RecordOutcome:
    return RecordOutcome(
        one.new + other.new,
        one.changed + other.changed,
        one.touched + other.touched,
        one.jobs + other.jobs,
    )
