"""FileCatalog over SQL."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from sqlalchemy import Connection, bindparam, select, update

from casparian.adapters.queue.among import Among
from casparian.adapters.queue.common import JobEvent, below_range
from casparian.adapters.queue.database import Database
from casparian.adapters.queue.departures import SqlDepartures
from casparian.adapters.queue.recording import Seen, add_versions, must_be_there, touch
from casparian.adapters.queue.rows import (
    NO_STAT,
    location_of,
    log_events,
)
from casparian.adapters.queue.statements import chunks
from casparian.adapters.queue.tables.files import file_location, source_root
from casparian.adapters.queue.tables.jobs import processing_job
from casparian.domain.files import (
    SCANS_UNTIL_DELETED,
    FileLocation,
    Sighting,
    SourceRoot,
)
from casparian.domain.jobs import JobEventKind
from casparian.domain.ports import RecordOutcome
from casparian.domain.routing import Routed, RoutingTable

FIRST_PAGE, PAGE = 100, 2000
_location = file_location.c


class SqlCatalog(SqlDepartures):
    """Locations, versions, content registry, tags."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self.longest_path = database.dialect.longest_path

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
            found_here = [location_of(row) for row in self._db.look(next_page)]
            yield from found_here
            if len(found_here) < page:
                return
            last, page = found_here[-1].path, min(4 * page, PAGE)

    def disturbances(self, root_id: int) -> int:
        statement = select(source_root.c.disturbances).where(source_root.c.id == root_id)
        ((count,),) = self._db.look(statement)
        return int(count)

    def find(self, root_id: int, path: bytes) -> FileLocation | None:
        with self._db.read() as connection:
            return self._known(connection, root_id, [path]).get(path)

    def _known(
        self, connection: Connection, root_id: int, paths: Collection[bytes]
    ) -> dict[bytes, FileLocation]:
        span = {"root_id": root_id, "first": min(paths), "last": max(paths)}
        if connection.execute(_BETWEEN, span).first() is None:
            return {}
        rows = _AT_PATHS.rows(connection, list(paths), root_id=root_id)
        return {row.path: location_of(row) for row in rows}

    def record(
        self, root_id: int, sightings: Sequence[Sighting], routing: RoutingTable
    ) -> RecordOutcome:
        """Record in transactions of as many files as suit the database."""
        total = RecordOutcome()
        for part in chunks(sightings, self._db.dialect.files_together):
            for distinct in _distinct(part):
                routed = [routing.route(sighting.path) for sighting in distinct]
                with self._db.write(vouched=True) as connection:
                    total = _sum(total, self._record(connection, root_id, distinct, routed))
        if total.jobs:
            self._db.waiters.wake()
        return total

    def _record(
        self,
        connection: Connection,
        root_id: int,
        sightings: Sequence[Sighting],
        routed: Sequence[Routed],
    ) -> RecordOutcome:
        now = self._db.clock()
        must_be_there(connection, root_id, routed)
        known = self._known(connection, root_id, [sighting.path for sighting in sightings])
        new, seen = list(zip(sightings, routed, strict=True)), []
        if known:
            seen = [Seen(s, r, known[s.path]) for s, r in new if s.path in known]
            new = [(s, r) for s, r in new if s.path not in known]
        seen = self._without_departed(connection, seen)
        touched = [s for s in seen if s.touched]
        touch(connection, touched, now)
        moved = [s for s in seen if not s.touched]
        jobs = add_versions(self._db, connection, root_id, new, moved, now)
        changed = sum(s.standing for s in moved)
        new_here = len(new) + len(moved) - changed
        if new_here:
            connection.execute(_DISTURB_ROOT, {"root_id": root_id})
        return RecordOutcome(new_here, changed, len(touched), jobs, int(new_here > 0))

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


_BETWEEN = (
    select(_location.id)
    .where(
        _location.source_root_id == bindparam("root_id"),
        _location.path.between(bindparam("first"), bindparam("last")),
    )
    .limit(1)
)
_AT_PATHS = Among(
    select(file_location).where(_location.source_root_id == bindparam("root_id")), _location.path
)


def _distinct(sightings: Sequence[Sighting]) -> Iterator[Sequence[Sighting]]:
    """Runs in which no path stands twice: a later sighting is held against the earlier."""
    if len({sighting.path for sighting in sightings}) == len(sightings):
        yield sightings
        return
    run: dict[bytes, Sighting] = {}
    for sighting in sightings:
        if sighting.path in run:
            yield list(run.values())
            run = {}
        run[sighting.path] = sighting
    yield list(run.values())


def _sum(one: RecordOutcome, other: RecordOutcome) -> RecordOutcome:
    return RecordOutcome(
        one.new + other.new,
        one.changed + other.changed,
        one.touched + other.touched,
        one.jobs + other.jobs,
        one.disturbed + other.disturbed,
    )
