"""The tables of publishing, read and written: lock rows, published slots, target schemas."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, select, update

from casparian.adapters.queue.among import Among, locations_by_plugin
from casparian.adapters.queue.common import slot_order
from casparian.adapters.queue.decisions import JobHead, Key
from casparian.adapters.queue.rows import published_of, published_values, target_values
from casparian.adapters.queue.statements import chunks, execute_many, insert_of, write_all
from casparian.adapters.queue.tables.jobs import processing_job
from casparian.adapters.queue.tables.publishing import (
    publish_slot,
    published_slot,
    target_bundle,
    target_schema,
)
from casparian.domain.bundles import BundleState
from casparian.domain.publish import (
    BundleKey,
    Generation,
    PublishedSlot,
    SchemaChange,
    SlotState,
    Target,
)

_job, _slot, _published, _schema, _bundle = (
    processing_job.c,
    publish_slot.c,
    published_slot.c,
    target_schema.c,
    target_bundle.c,
)

# --- jobs -------------------------------------------------------------------------------

_HEADS = Among(
    select(_job.id, _job.status, _job.attempt, _job.token, _job.plugin_name, _job.location_id)
    .order_by(_job.id)
    .with_for_update(),
    _job.id,
)


def locked_heads(connection: Connection, job_ids: Sequence[int]) -> dict[int, JobHead]:
    """The jobs of these ids, locked until the transaction ends."""
    rows = _HEADS.rows(connection, sorted(job_ids))
    return {row[0]: JobHead._make(row[1:]) for row in rows}


def newest_generations(connection: Connection, job_ids: Sequence[int]) -> dict[Key, Generation]:
    """The newest generation among these jobs, by (plugin, location)."""
    newest: dict[Key, Generation] = {}
    statement = select(_job.plugin_name, _job.location_id, _job.ordinal, _job.id)
    for plugin, location_id, *generation in connection.execute(
        statement.where(_job.id.in_(list(job_ids)))
    ):
        key, mine = (plugin, location_id), Generation(*generation)
        newest[key] = max(mine, newest.get(key, mine))
    return newest


# --- lock rows and published slots ------------------------------------------------------

_MINE = select(_slot.location_id, _slot.ordinal, _slot.enqueue, _slot.holder).where(
    _slot.plugin_name == bindparam("plugin")
)
_SLOTS = Among(_MINE, _slot.location_id)
_LOCKED_SLOTS = Among(_MINE.order_by(_slot.location_id).with_for_update(), _slot.location_id)
_STANDING = Among(
    select(published_slot).where(_published.plugin_name == bindparam("plugin")),
    _published.location_id,
)


def slot_states(
    connection: Connection, keys: Iterable[Key], lock: bool = False
) -> dict[Key, SlotState]:
    """The states of those (plugin, location) that have a lock row; locked in key order."""
    slots = _LOCKED_SLOTS if lock else _SLOTS
    states: dict[Key, SlotState] = {}
    for plugin, locations in locations_by_plugin(keys).items():
        rows = list(slots.rows(connection, locations, plugin=plugin))
        found = [location_id for location_id, *_ in rows]
        standing: dict[int, list[PublishedSlot]] = {}
        for row in _STANDING.rows(connection, found, plugin=plugin):
            standing.setdefault(row.location_id, []).append(published_of(row))
        for location_id, ordinal, enqueue, holder in rows:
            generation = None if ordinal is None else Generation(ordinal, enqueue)
            published = tuple(sorted(standing.get(location_id, ()), key=slot_order))
            states[plugin, location_id] = SlotState(generation, holder, published)
    return states


_INSERT_SLOT = insert_of(publish_slot, "plugin_name", "location_id", "ordinal", "enqueue", "holder")
_OWNER = (_slot.plugin_name == bindparam("b_plugin"), _slot.location_id == bindparam("b_location"))
_TAKE_SLOT = (
    update(publish_slot)
    .where(*_OWNER, _slot.holder.is_(None))
    .values(**{name: bindparam(name) for name in ("ordinal", "enqueue", "holder")})
)
_LET_GO = Among(
    update(publish_slot)
    .where(
        _slot.plugin_name == _job.plugin_name,
        _slot.location_id == _job.location_id,
        _slot.holder == _job.id,
    )
    .values(holder=None),
    _job.id,
)


def take_slots(
    connection: Connection, holders: Mapping[Key, tuple[Generation | None, int]], known: set[Key]
) -> None:
    """Give each lock row its generation and holder; `known` are the rows that exist."""
    new, standing = [], []
    for key, (generation, holder) in sorted(holders.items()):
        values = {
            "ordinal": generation and generation.ordinal,
            "enqueue": generation and generation.enqueue,
            "holder": holder,
        }
        if key in known:
            standing.append({"b_plugin": key[0], "b_location": key[1], **values})
        else:
            new.append({"plugin_name": key[0], "location_id": key[1], **values})
    execute_many(connection, _INSERT_SLOT, new)
    write_all(connection, _TAKE_SLOT, standing)


def take_slot(connection: Connection, key: Key, holder: int) -> bool:
    """Take a lock row as it is; False while another job holds it."""
    statement = update(publish_slot).where(
        _slot.plugin_name == key[0], _slot.location_id == key[1], _slot.holder.is_(None)
    )
    return connection.execute(statement.values(holder=holder)).rowcount == 1


def let_go(connection: Connection, job_ids: Sequence[int]) -> None:
    """Release the lock rows that these jobs hold."""
    _LET_GO.write(connection, job_ids)


_INSERT_PUBLISHED = insert_of(
    published_slot,
    "plugin_name", "location_id", "topic", "version_id", "mode", "scheme", "location", "name",
    "bundle",
)  # fmt: skip


def note_published(connection: Connection, added: Sequence[tuple[Key, PublishedSlot]]) -> None:
    values = [published_values(*key, published) for key, published in added]
    execute_many(connection, _INSERT_PUBLISHED, values)


def forget_published(connection: Connection, emptied: PublishedSlot) -> None:
    slot = emptied.slot
    values: dict[str, Any] = published_values(slot.plugin, slot.location_id, emptied)
    same = [published_slot.c[name] == value for name, value in values.items()]
    connection.execute(delete(published_slot).where(*same))


# --- bundles ----------------------------------------------------------------------------


def bundle_states(
    connection: Connection, keys: Iterable[BundleKey], lock: bool = False
) -> dict[BundleKey, BundleState]:
    """The states of those bundles that have a row; locked in key order."""
    by_hash = {_bundle_hash(key): key for key in keys}
    found: dict[BundleKey, BundleState] = {}
    for hashes in chunks(sorted(by_hash)):
        statement = select(_bundle.bundle_key, _bundle.revision, _bundle.installed)
        statement = statement.where(_bundle.bundle_key.in_(list(hashes)))
        statement = statement.order_by(_bundle.bundle_key)
        rows = connection.execute(statement.with_for_update() if lock else statement)
        found.update((by_hash[row[0]], BundleState(row[1], row[2])) for row in rows)
    return found


def raise_bundles(
    connection: Connection, revisions: Mapping[BundleKey, int], known: Collection[BundleKey]
) -> None:
    """Give each bundle the revision that is decided; `known` are those that have a row."""
    new, standing = [], []
    for key, revision in revisions.items():
        if key in known:
            values = {"b_key": _bundle_hash(key), "b_before": revision - 1, "revision": revision}
            standing.append(values)
        else:
            row = {"bundle_key": _bundle_hash(key), "bundle": key.name, "installed": 0}
            new.append(row | {"revision": revision} | target_values(key.target))
    execute_many(connection, _INSERT_BUNDLE, new)
    write_all(connection, _RAISE_BUNDLE, standing)


def note_installed(connection: Connection, revisions: Mapping[BundleKey, int]) -> None:
    values = [
        {"b_key": _bundle_hash(key), "installed": revision, "b_installed": revision}
        for key, revision in revisions.items()
    ]
    execute_many(connection, _NOTE_INSTALLED, values)


def _bundle_hash(key: BundleKey) -> str:
    return _hash(*key.target, key.name)


_INSERT_BUNDLE = insert_of(
    target_bundle, "bundle_key", "scheme", "location", "name", "bundle", "revision", "installed"
)
_RAISE_BUNDLE = (
    update(target_bundle)
    .where(
        _bundle.bundle_key == bindparam("b_key"),
        _bundle.revision == bindparam("b_before"),
        _bundle.installed == bindparam("b_before"),
    )
    .values(revision=bindparam("revision"))
)
_NOTE_INSTALLED = (
    update(target_bundle)
    .where(_bundle.bundle_key == bindparam("b_key"), _bundle.installed < bindparam("b_installed"))
    .values(installed=bindparam("installed"))
)


# --- target schemas ---------------------------------------------------------------------


def _target_key(target: Target) -> str:
    return _hash(*target)


def _hash(*texts: str) -> str:
    joined = "\0".join(texts)
    return hashlib.sha256(joined.encode("utf-8", "surrogateescape")).hexdigest()


def standing_schemas(connection: Connection, targets: Iterable[Target]) -> dict[Target, str]:
    """The schema, as JSON, of each target that has one."""
    by_key = {_target_key(target): target for target in targets}
    found: dict[Target, str] = {}
    for keys in chunks(list(by_key)):
        statement = select(_schema.target_key, _schema.schema_json)
        rows = connection.execute(statement.where(_schema.target_key.in_(list(keys))))
        found.update((by_key[key], schema_json) for key, schema_json in rows)
    return found


def is_published_to(connection: Connection, scheme: str, location: str) -> bool:
    """Whether any target of a place has a schema."""
    place = target_values(Target(scheme, location, ""))
    statement = select(func.count().label("targets")).where(
        _schema.scheme == place["scheme"], _schema.location == place["location"]
    )
    return bool(connection.execute(statement).scalar_one())


def set_schema(connection: Connection, change: SchemaChange) -> None:
    """Compare and set."""
    key = _target_key(change.target)
    if change.expected is None:
        row = {"target_key": key, "schema_json": change.schema_json}
        execute_many(connection, _INSERT_SCHEMA, [row | target_values(change.target)])
    else:
        values = {"b_key": key, "b_expected": change.expected, "schema_json": change.schema_json}
        write_all(connection, _SET_SCHEMA, [values])


_INSERT_SCHEMA = insert_of(target_schema, "target_key", "scheme", "location", "name", "schema_json")
_SET_SCHEMA = (
    update(target_schema)
    .where(_schema.target_key == bindparam("b_key"), _schema.schema_json == bindparam("b_expected"))
    .values(schema_json=bindparam("schema_json"))
)
