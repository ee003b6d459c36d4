"""A batch of sightings in the tables: locations, contents, versions, tags and jobs.

What needs a row of the caller's are locations and contents. Versions are made of the locations,
tags and jobs of the versions, by the database itself: ids are drawn so that those of files which
are routed alike follow one another, and a statement serves for each such run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, Select, bindparam, insert, literal, select, update

from casparian.adapters.queue.bound_versions import take_bound
from casparian.adapters.queue.database import Database
from casparian.adapters.queue.duplicates import Due, enqueue_shared
from casparian.adapters.queue.rows import NO_STAT, QUEUED, ageing_us, stat_row, stat_values
from casparian.adapters.queue.statements import execute_many, insert_rows, row_insert
from casparian.adapters.queue.tables.files import (
    file_hash_registry,
    file_location,
    file_version,
    source_root,
)
from casparian.adapters.queue.tables.jobs import processing_job
from casparian.adapters.queue.tables.plugins import file_tag, routing_rule
from casparian.domain.duplicates import Wanted
from casparian.domain.errors import ConfigurationError
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

    @property
    def forgotten(self) -> bool:
        known = self.location
        return known.versions > 0 and not known.deleted and known.content_hash is None


@dataclass(slots=True)
class _Group:
    """Files that are routed alike: those of which nothing is known, then the others. The ids of
    their versions follow one another, but for those that were bound before."""

    routed: Routed
    new: list[Sighting] = field(default_factory=list)
    moved: list[Seen] = field(default_factory=list)
    location_ids: Sequence[int] = ()
    version_ids: Sequence[int] = ()

    def wanted(self, plugin: str) -> list[Wanted]:
        priority, count = self.routed.priority, len(self.new)
        return [
            Wanted(plugin, sighting.content_hash, version_id, location_id, 1, priority)
            for sighting, location_id, version_id in zip(
                self.new, self.location_ids, self.version_ids[:count], strict=True
            )
        ] + [
            Wanted(
                plugin,
                seen.sighting.content_hash,
                version_id,
                seen.location.id,
                seen.location.versions + 1,
                priority,
                seen.forgotten,
            )
            for seen, version_id in zip(self.moved, self.version_ids[count:], strict=True)
        ]


def must_be_there(connection: Connection, root_id: int, routed: Iterable[Routed]) -> None:
    """Raise ConfigurationError where the root or a rule is not in the database: all else that
    the rows of a batch refer to is made with them."""
    if connection.execute(_ROOT, {"root_id": root_id}).first() is None:
        raise ConfigurationError(f"The database has no source root {root_id}.")
    routes = {id(one): one for one in routed}.values()
    given = {rule.id for one in routes for rule in one.tags.values() if rule.id}
    known = set(connection.execute(_RULES).scalars()) if given else set()
    if unknown := given.difference(known):
        raise ConfigurationError(f"The database has no rules {sorted(unknown)}.")


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
    groups = _grouped(new, moved)
    _give_ids(db, connection, groups)
    _add_contents(db, connection, [s for s, _ in new] + [s.sighting for s in moved], now)
    for group in groups:
        with db.dialect.given_ids(connection, file_location):
            _add_locations(connection, root_id, group, now)
        _move_locations(connection, group, now)
        ids = chain(group.location_ids, (seen.location.id for seen in group.moved))
        with db.dialect.given_ids(connection, file_version):
            execute_many(connection, _INSERT_VERSIONS, [{**run, "now": now} for run in _runs(ids)])
    due = Due(now, ageing_us(connection))
    return sum(_route(connection, group, due) for group in groups)


def _grouped(new: Sequence[tuple[Sighting, Routed]], moved: Sequence[Seen]) -> list[_Group]:
    groups: dict[int, _Group] = {}
    for sighting, routed in new:
        if (group := groups.get(id(routed))) is None:
            group = groups[id(routed)] = _Group(routed)
        group.new.append(sighting)
    for seen in moved:
        groups.setdefault(id(seen.routed), _Group(seen.routed)).moved.append(seen)
    return list(groups.values())


def _give_ids(db: Database, connection: Connection, groups: Sequence[_Group]) -> None:
    moved = [seen for group in groups for seen in group.moved]
    bound = take_bound(connection, {s.location.id: s.sighting.content_hash for s in moved})
    new = sum(len(group.new) for group in groups)
    location_ids = iter(db.dialect.new_ids(connection, file_location, new))
    count = new + len(moved) - len(bound)
    version_ids = iter(db.dialect.new_ids(connection, file_version, count))
    for group in groups:
        group.location_ids = list(islice(location_ids, len(group.new)))
        group.version_ids = list(islice(version_ids, len(group.new)))
        group.version_ids += [bound.get(s.location.id) or next(version_ids) for s in group.moved]


def _add_contents(
    db: Database, connection: Connection, sightings: Iterable[Sighting], now: int
) -> None:
    contents = {sighting.content_hash: sighting.identity.size for sighting in sightings}
    into = db.dialect.insert_missing(file_hash_registry, "content_hash", "size", "first_seen_us")
    # In order, so that each page of the index is met once.
    insert_rows(connection, into, [(key, contents[key], now) for key in sorted(contents)])


def _add_locations(connection: Connection, root_id: int, group: _Group, now: int) -> None:
    rows = [
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
        for sighting, location_id, version_id in zip(
            group.new, group.location_ids, group.version_ids[: len(group.new)], strict=True
        )
    ]
    insert_rows(connection, _INSERT_LOCATION, rows)


def _move_locations(connection: Connection, group: _Group, now: int) -> None:
    version_ids = group.version_ids[len(group.new) :]
    values = [
        {
            "b_id": seen.location.id,
            **stat_values(seen.sighting.identity),
            "hashed_at_us": now,
            "content_hash": seen.sighting.content_hash,
            "current_version_id": version_id,
            "versions": seen.location.versions + 1,
        }
        for seen, version_id in zip(group.moved, version_ids, strict=True)
    ]
    execute_many(connection, _MOVE_CURRENT, values)


def _route(connection: Connection, group: _Group, due: Due) -> int:
    """Tags and jobs of a group's versions; returns the count of jobs."""
    routed = group.routed
    runs = list(_runs(group.version_ids))
    for tag, rule in routed.tags.items():
        values = [{**run, "tag": tag, "rule_id": rule.id or None} for run in runs]
        execute_many(connection, _INSERT_TAGS, values)
    jobs = 0
    for plugin in routed.plugins:
        if plugin in routed.skipping:
            jobs += enqueue_shared(connection, group.wanted(plugin), due)
            continue
        job = {
            "plugin": plugin,
            "priority": routed.priority,
            "due": due_us(due.now_us, routed.priority, due.ageing_us),
            "now": due.now_us,
        }
        execute_many(connection, _INSERT_JOBS, [{**run, **job} for run in runs])
        jobs += len(group.version_ids)
    return jobs


def _runs(ids: Iterable[int]) -> Iterator[dict[str, int]]:
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


_location, _version = file_location.c, file_version.c
_ROOT = select(source_root.c.id).where(source_root.c.id == bindparam("root_id"))
_RULES = select(routing_rule.c.id)
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
