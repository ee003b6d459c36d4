"""Files that the engine takes away, over SQL: planned here before they are touched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    case,
    delete,
    exists,
    insert,
    or_,
    select,
    update,
)

from casparian.adapters.queue.common import below_range
from casparian.adapters.queue.database import Database
from casparian.adapters.queue.rows import identity, stat_values
from casparian.adapters.queue.statements import chunks, storable
from casparian.adapters.queue.tables.files import file_departure, file_location, file_version
from casparian.adapters.queue.tables.jobs import processing_job
from casparian.domain.departures import Action, Departure, Outcome, Standing, may_leave
from casparian.domain.files import FileLocation, Sighting, StatIdentity
from casparian.domain.jobs import GIVEN_UP, JobKind, JobStatus
from casparian.domain.unpacking import INSIDE, is_archive

_departure, _location, _version, _job = (
    file_departure.c,
    file_location.c,
    file_version.c,
    processing_job.c,
)
_OF_CURRENT = _job.file_version_id == _location.current_version_id
_OPEN = _departure.outcome.is_(None)


class _Seen(Protocol):
    """A sighting, with what is known of its location."""

    @property
    def sighting(self) -> Sighting: ...

    @property
    def location(self) -> FileLocation: ...


S = TypeVar("S", bound=_Seen)


class SqlDepartures:
    """A part of the catalog."""

    _db: Database

    def plan_departures(
        self,
        root_id: int,
        action: Action,
        place_of: Callable[[bytes, int], bytes],
        not_since_us: int,
        limit: int,
        unpacks: bool = False,
    ) -> Sequence[Departure]:
        candidates = _candidates(root_id, not_since_us)
        with self._db.read() as connection:
            if unpacks:
                chosen = _with_members(connection, root_id, not_since_us)[:limit]
                candidates = _files(root_id).where(_location.id.in_(chosen))
            elif connection.execute(candidates.limit(1)).first() is None:
                return []
        if unpacks and not chosen:
            return []
        with self._db.write() as connection:
            now = self._db.clock()
            if unpacks:
                still = set(_with_members(connection, root_id, not_since_us))
                candidates = candidates.where(_location.id.in_([i for i in chosen if i in still]))
            rows = connection.execute(candidates.limit(limit)).all()
            values = [
                {
                    "file_version_id": row.version_id,
                    "location_id": row.id,
                    "action": action.value,
                    "place": place_of(row.path, row.ordinal),
                    "planned_at_us": now,
                    **stat_values(_stat(row)),
                }
                for row in rows
            ]
            for value in values:
                mine = _departure.file_version_id == value["file_version_id"]
                connection.execute(delete(file_departure).where(mine))
            if values:
                connection.execute(insert(file_departure), values)
            planned = [value["file_version_id"] for value in values]
            return _read(connection, _departure.file_version_id.in_(planned))

    def open_departures(self, root_id: int) -> Sequence[Departure]:
        with self._db.read() as connection:
            return _read(connection, _OPEN, _here(root_id))

    def end_departure(self, version_id: int, outcome: Outcome, message: str | None = None) -> None:
        mine = _departure.file_version_id == version_id
        values = {
            "outcome": outcome.value,
            "message": storable(message),
            "ended_at_us": self._db.clock(),
        }
        end = update(file_departure).where(mine, _OPEN).values(**values)
        gone = update(file_location).where(
            _location.current_version_id == version_id, _location.content_hash.is_not(None)
        )
        with self._db.write() as connection:
            if connection.execute(end).rowcount and outcome is Outcome.GONE:
                ended = connection.execute(gone.values(deleted=True, missed_scans=0)).rowcount
                if ended:
                    (archive,) = _read(connection, mine)
                    self._end_members(connection, archive)

    def _end_members(self, connection: Connection, archive: Departure) -> None:
        """They leave with their archive."""
        if not is_archive(archive.path):
            return
        first, end = below_range(archive.path + INSIDE[:1])
        # Members were met with the archive's inode, files in a directory of such a name were not.
        met = stat_values(archive.identity)
        own = select(_location.source_root_id).where(_location.id == archive.location_id)
        members = (
            _files_where(_location.source_root_id == own.scalar_subquery())
            .where(_location.path >= first, _location.path < end)
            .where(_location.inode == met["inode"], _location.device == met["device"])
            .order_by(_location.id)
        )
        now = self._db.clock()
        values = [
            {
                "file_version_id": row.version_id,
                "location_id": row.id,
                "action": archive.action.value,
                "place": archive.of_member(row.path),
                "planned_at_us": archive.planned_at_us,
                "ended_at_us": now,
                "outcome": Outcome.GONE.value,
                **stat_values(_stat(row)),
            }
            for row in connection.execute(members).all()
        ]
        for part in chunks(values):
            versions = [value["file_version_id"] for value in part]
            connection.execute(
                delete(file_departure).where(_departure.file_version_id.in_(versions))
            )
            connection.execute(insert(file_departure), part)
            here = _location.id.in_([value["location_id"] for value in part])
            connection.execute(
                update(file_location).where(here).values(deleted=True, missed_scans=0)
            )

    def _without_departed(self, connection: Connection, seen: list[S]) -> list[S]:
        """Less what was met right before the engine took it away, by a scan that records it only
        now. A file that was put back has another ctime, and is another file."""
        late = [
            s for s in seen if s.location.deleted and s.location.identity == s.sighting.identity
        ]
        if not late:
            return seen
        gone = select(_departure.file_version_id).where(_departure.outcome == Outcome.GONE.value)
        departed: set[int] = set()
        for ids in chunks([s.location.current_version_id for s in late]):
            mine = gone.where(_departure.file_version_id.in_(list(ids)))
            departed.update(connection.execute(mine).scalars())
        met_before = {s.sighting for s in late if s.location.current_version_id in departed}
        return [s for s in seen if s.sighting not in met_before]

    def departures_of(self, location_id: int) -> Sequence[Departure]:
        with self._db.read() as connection:
            return _read(connection, _departure.location_id == location_id)


def _candidates(root_id: int, not_since_us: int) -> Select[Any]:
    done, in_the_way = _conditions(not_since_us)
    return _files(root_id).where(done, ~in_the_way).order_by(_location.id)


def _with_members(connection: Connection, root_id: int, not_since_us: int) -> list[int]:
    """The locations that may leave where archives take their members along."""
    done, in_the_way = _conditions(not_since_us)
    # What was forgotten has another content hash than its version, and keeps its archive.
    whole = _location.content_hash == _version.content_hash
    statement = (
        select(
            _location.id,
            _location.path,
            case((done, 1), else_=0).label("done"),
            case((whole & ~in_the_way, 0), else_=1).label("in_the_way"),
        )
        .join(file_version, _version.id == _location.current_version_id)
        .where(_location.source_root_id == root_id, ~_location.deleted)
        .order_by(_location.id)
    )
    rows = connection.execute(statement).all()
    files = (Standing(row.path, bool(row.done), bool(row.in_the_way)) for row in rows)
    paths = may_leave(files, unpacks=True)
    return [row.id for row in rows if row.path in paths]


def _conditions(not_since_us: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """That a run of the current version is COMPLETED; that something keeps the file."""
    run, status = _job.kind == JobKind.RUN.value, _job.status
    done = run & (status == JobStatus.COMPLETED.value)
    in_the_way = or_(
        run & (status != JobStatus.COMPLETED.value),
        (_job.kind == JobKind.PURGE.value) & status.not_in([s.value for s in GIVEN_UP]),
    )
    standing = or_(_OPEN, _departure.outcome == Outcome.GONE.value)
    lately = _departure.ended_at_us > not_since_us
    barred = exists().where(
        _departure.file_version_id == _location.current_version_id, or_(standing, lately)
    )
    return exists().where(_OF_CURRENT, done), or_(exists().where(_OF_CURRENT, in_the_way), barred)


def _files(root_id: int) -> Select[Any]:
    return _files_where(_location.source_root_id == root_id)


def _files_where(*where: ColumnElement[bool]) -> Select[Any]:
    """Files that are there, with their current versions."""
    return (
        select(file_location, _version.id.label("version_id"), _version.ordinal)
        .join(file_version, _version.id == _location.current_version_id)
        .where(~_location.deleted, _location.content_hash == _version.content_hash, *where)
    )


def _here(root_id: int) -> ColumnElement[bool]:
    return _location.source_root_id == root_id


def _read(connection: Connection, *where: ColumnElement[bool]) -> Sequence[Departure]:
    statement = (
        select(file_departure, _location.path, _version.content_hash)
        .join(file_version, _version.id == _departure.file_version_id)
        .join(file_location, _location.id == _departure.location_id)
        .where(*where)
        .order_by(_departure.file_version_id)
    )
    return [_departure_of(row) for row in connection.execute(statement)]


def _departure_of(row: Any) -> Departure:
    return Departure(
        row.file_version_id,
        row.location_id,
        row.path,
        row.content_hash,
        _stat(row),
        Action(row.action),
        row.place,
        row.planned_at_us,
        row.ended_at_us,
        Outcome(row.outcome) if row.outcome else None,
        row.message,
    )


def _stat(row: Any) -> StatIdentity:
    found = identity(row.size, row.mtime_ns, row.ctime_ns, row.inode, row.device)
    assert found is not None
    return found
