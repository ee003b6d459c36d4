"""A batch of sightings in the tables: locations, contents, versions, tags and jobs.

What needs a row of the caller's are locations and contents. Versions are made of the locations,
tags and jobs of the versions, by the database itself: ids are drawn so that those of files which
are routed alike follow one another, and a statement serves for each such run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, Select, bindparam, insert, literal, select, update

from casparian.adapters.queue.bound_versions import take_bound
from casparian.adapters.queue.database import Database, execute_many, insert_rows, row_insert
from casparian.adapters.queue.duplicates import Due, enqueue_shared
from casparian.adapters.queue.rows import NO_STAT, QUEUED, ageing_us, stat_row, stat_values
from casparian.adapters.queue.tables import (
    file_hash_registry,
    file_location,
    file_tag,
    file_version,
    processing_job,
)
from casparian.domain.duplicates import Wanted
from casparian.domain.files import FileLocation, Sighting
from casparian.domain.routing import Routed, due_us


class Seen(NamedTuple):
    """A sighting of a location that is known."""

    sighting: Sighting
    routed: Routed
    location: FileLocation

    @property
    def standing(self) -> bool:
        return not self.location.deleted and self.location.content_hash is not None

    @property
    def touched(self) -> bool:
        return self.standing and self.location.content_hash == self.sighting.content_hash


class _Versioned(NamedTuple):
    """A version in the making, with the ids that it and its location have."""

    sighting: Sighting
    routed: Routed
    location_id: int
    version_id: int
    known: FileLocation | None

    def wanted(self, plugin: str) -> Wanted:
        known = self.known
        forgotten = known is not None and not known.deleted and known.content_hash is None
        return Wanted(
            plugin,
            self.sighting.content_hash,
            self.version_id,
            self.location_id,
            1 + (known.versions if known else 0),
            self.routed.priority,
            forgotten=forgotten and known is not None and known.versions > 0,
        )


def touch(connection: Connection, seen: Sequence[Seen], now: int) -> None:
    """What has the content that is known has perhaps another identity."""
    values = [
        {"b_id": s.location.id, **stat_values(s.sighting.identity), "hashed_at_us": now}
        for s in seen
    ]
    execute_many(connection, _TOUCH, values)


def add_versions(
    db: Database,
    connection: Connection,
    root_id: int,
    new: Sequence[tuple[Sighting, Routed]],
    moved: Sequence[Seen],
    now: int,
) -> int:
    """Make a version of each, of locations that are not known yet and of others; returns how many
    jobs were enqueued."""
    if not new and not moved:
        return 0
    groups = _groups(db, connection, new, moved)
    made = [one for group in groups for one in group]
    contents = {one.sighting.content_hash: one.sighting.identity.size for one in made}
    into = db.dialect.insert_missing(file_hash_registry, "content_hash", "size", "first_seen_us")
    # In order, so that each page of the index is met once.
    insert_rows(connection, into, [(key, contents[key], now) for key in sorted(contents)])
    locations = [
        (
            location_id,
            root_id,
            sighting.path,
            *stat_row(sighting.identity),
            sighting.content_hash,
            version_id,
            1,
            now,
            False,
        )
        for sighting, _, location_id, version_id, known in made
        if known is None
    ]
    insert_rows(connection, _INSERT_LOCATION, locations)
    execute_many(connection, _MOVE_CURRENT, [_moved(one, now) for one in made if one.known])
    changed = [{**run, "now": now} for run in _runs(one.location_id for one in made)]
    execute_many(connection, _INSERT_VERSIONS, changed)
    ageing = ageing_us(connection)
    return sum(_route(connection, group, Due(now, ageing)) for group in groups)


def _groups(
    db: Database,
    connection: Connection,
    new: Sequence[tuple[Sighting, Routed]],
    moved: Sequence[Seen],
) -> list[list[_Versioned]]:
    """Those that are routed alike together, with ids that follow one another."""
    bound = take_bound(connection, {s.location.id: s.sighting.content_hash for s in moved})
    location_ids = iter(db.dialect.new_ids(connection, file_location, len(new)))
    count = len(new) + len(moved) - len(bound)
    version_ids = iter(db.dialect.new_ids(connection, file_version, count))
    groups: dict[int, list[tuple[Sighting, Routed, FileLocation | None]]] = {}
    for sighting, routed in new:
        groups.setdefault(id(routed), []).append((sighting, routed, None))
    for seen in moved:
        groups.setdefault(id(seen.routed), []).append(seen)
    return [
        [
            _Versioned(sighting, routed, next(location_ids), next(version_ids), None)
            if known is None
            else _Versioned(
                sighting, routed, known.id, bound.get(known.id) or next(version_ids), known
            )
            for sighting, routed, known in group
        ]
        for group in groups.values()
    ]


def _moved(one: _Versioned, now: int) -> dict[str, Any]:
    assert one.known is not None
    return {
        "b_id": one.location_id,
        **stat_values(one.sighting.identity),
        "hashed_at_us": now,
        "content_hash": one.sighting.content_hash,
        "current_version_id": one.version_id,
        "versions": one.known.versions + 1,
    }


def _runs(ids: Iterable[int]) -> Iterator[Mapping[str, int]]:
    """The first and the last of each run of ids that follow one another."""
    first = last = None
    for one in ids:
        if last is not None and one == last + 1:
            last = one
            continue
        if first is not None and last is not None:
            yield {"first": first, "last": last}
        first = last = one
    if first is not None and last is not None:
        yield {"first": first, "last": last}


def _route(connection: Connection, group: Sequence[_Versioned], due: Due) -> int:
    """Tags and jobs of versions that are routed alike; returns the count of jobs."""
    routed = group[0].routed
    runs = list(_runs(one.version_id for one in group))
    for tag, rule in routed.tags.items():
        values = [{**run, "tag": tag, "rule_id": rule.id or None} for run in runs]
        execute_many(connection, _INSERT_TAGS, values)
    jobs = 0
    for plugin in routed.plugins:
        if plugin in routed.skipping:
            jobs += enqueue_shared(connection, [one.wanted(plugin) for one in group], due)
            continue
        job = {
            "plugin": plugin,
            "priority": routed.priority,
            "due": due_us(due.now_us, routed.priority, due.ageing_us),
            "now": due.now_us,
        }
        execute_many(connection, _INSERT_JOBS, [{**run, **job} for run in runs])
        jobs += len(group)
    return jobs


_location, _version = file_location.c, file_version.c
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
_INSERT_LOCATION = row_insert(
    file_location, "id", "source_root_id", "path", *NO_STAT, "content_hash",
    "current_version_id", "versions", "hashed_at_us", "deleted",
)  # fmt: skip


def _given(name: str) -> Any:
    return bindparam(name, type_=BigInteger)


def _in_run(statement: Select[Any], column: Any) -> Select[Any]:
    return statement.where(column.between(_given("first"), _given("last"))).order_by(column)


_INSERT_VERSIONS = insert(file_version).from_select(
    ["id", "location_id", "ordinal", "content_hash", *NO_STAT, "seen_at_us"],
    _in_run(
        select(
            _location.current_version_id, _location.id, _location.versions,
            _location.content_hash, *(_location[name] for name in NO_STAT), _given("now"),
        ),
        _location.id,
    ),
)  # fmt: skip
_INSERT_TAGS = insert(file_tag).from_select(
    ["file_version_id", "tag", "rule_id"],
    _in_run(
        select(
            _version.id, bindparam("tag", type_=file_tag.c.tag.type), _given("rule_id")
        ),
        _version.id,
    ),
)  # fmt: skip
_INSERT_JOBS = insert(processing_job).from_select(
    ["status", "plugin_name", "file_version_id", "location_id", "ordinal", "priority", "due",
     "not_before_us", "enqueued_at_us"],
    _in_run(
        select(
            literal(QUEUED), bindparam("plugin", type_=processing_job.c.plugin_name.type),
            _version.id, _version.location_id, _version.ordinal, _given("priority"),
            _given("due"), _given("now"), _given("now"),
        ),
        _version.id,
    ),
)  # fmt: skip
