"""Whose file an adopted slot is, and under which key it stands from then on.

A slot belongs to the file of its root and path. Where two would have the same key, as when two
installations published one file, the loser gets a key of the other mode: whatever is published
for the file next empties it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, insert, select

from casparian.adapters.queue.database import Dialect
from casparian.adapters.queue.rows import published_values, target_values
from casparian.adapters.queue.slots import forget_published, note_published, slot_states
from casparian.adapters.queue.statements import (
    chunks,
    execute_many,
    insert_of,
    insert_rows,
    row_insert,
)
from casparian.adapters.queue.tables.files import file_location, file_version, source_root
from casparian.adapters.queue.tables.installation import adopted_slot, adopted_version, adoption
from casparian.adapters.queue.tables.publishing import publish_slot
from casparian.domain.adoption import Renewal, StandingSlot
from casparian.domain.files import path_bytes, path_text
from casparian.domain.plugins import Mode
from casparian.domain.publish import Marker, PublishedSlot, SlotKey, SlotState, Target

_location, _version, _adopted = file_location.c, file_version.c, adopted_slot.c
_INSERT_ADOPTED = insert_of(adopted_slot, *(c.name for c in adopted_slot.c if c.name != "id"))

_File = tuple[str, str]
"""A source root and a path below it, as text."""


class _Known(NamedTuple):
    """A location, and its current version where it has one that a scan would recognise."""

    id: int
    version_id: int | None
    content_hash: str | None


class Placement:
    """Gives adopted slots their keys, within the caller's transaction."""

    def __init__(
        self, connection: Connection, dialect: Dialect, adoption_id: int, installation: str
    ) -> None:
        self._connection = connection
        self._dialect = dialect
        self._adoption_id = adoption_id
        self._installation = installation
        self._lineage = set(connection.execute(select(adoption.c.former_uuid)).scalars())
        self._versions: dict[tuple[str, int, int], int] = {}
        self._newest: dict[tuple[int, str], int] = {}
        self._earlier: dict[tuple[Any, ...], Any] = {}
        self.replaced: set[tuple[int, str]] = set()
        """(version id, plugin) of current versions in place of whose rows others stand."""

    def place(self, adopted: Sequence[StandingSlot], own: Sequence[StandingSlot]) -> list[Renewal]:
        """The markers of all of them: own slots keep their keys."""
        files = {_file_of(slot.marker) for slot in adopted}
        known = _locations(self._connection, self._dialect, files)
        self._remember(sorted(location.id for location in known.values()))
        taken = {(slot.target, slot.marker.slot) for slot in own}
        entries: list[tuple[StandingSlot, SlotKey, Mode]] = []
        # The newest first, which so get the keys that two would have.
        for slot in sorted(adopted, key=lambda s: s.marker.generation, reverse=True):
            location = known[_file_of(slot.marker)]
            key, mode = self._key(slot, location, taken)
            taken.add((slot.target, key))
            entries.append((slot, key, mode))
        self._publish(entries)
        renewals = [
            Renewal(slot.target, slot.marker, self._marker(slot.marker, key, ordinal=0))
            for slot, key, _ in entries
        ]
        return renewals + [
            Renewal(s.target, s.marker, self._marker(s.marker, s.marker.slot, s.marker.ordinal))
            for s in own
        ]

    def _marker(self, marker: Marker, key: SlotKey, ordinal: int) -> Marker:
        return replace(
            marker,
            installation=self._installation,
            location_id=key.location_id,
            version_id=key.version_id,
            ordinal=ordinal,
        )

    # --- keys ---

    def _key(
        self, slot: StandingSlot, location: _Known, taken: set[tuple[Target, SlotKey]]
    ) -> tuple[SlotKey, Mode]:
        marker = slot.marker
        current = location.version_id
        before = self._earlier.get(_identity(slot, location.id))
        if before is not None:
            version, mode = before.version_id, Mode(before.mode)
        else:
            mode = Mode.APPEND if marker.version_id else Mode.REPLACE
            version = self._version(marker, location) if marker.version_id else 0
            if (slot.target, _slot(marker, location.id, version)) in taken:
                version = self._fresh_version()
                # A version of the same content that this queue had and knows no more was
                # published beside the one it knows.
                if mode is Mode.REPLACE or marker.installation not in self._lineage:
                    mode = _other(mode)
                    if current is not None:
                        self.replaced.add((current, marker.plugin))
        if current is not None and version in (0, current):
            self.replaced.add((current, marker.plugin))
        return _slot(marker, location.id, version), mode

    def _version(self, marker: Marker, location: _Known) -> int:
        """Which version here a slot of mode append is of. Slots of one version, in whatever
        topics and targets, get one."""
        identity = (marker.installation, marker.location_id, marker.version_id)
        version = self._versions.get(identity)
        if version is None:
            newest = (location.id, marker.installation)
            if marker.ordinal > self._newest.get(newest, 0):
                self._newest[newest] = marker.ordinal
                version = self._bound(marker, location)
            else:
                version = self._fresh_version()
            self._versions[identity] = version
        return version

    def _bound(self, marker: Marker, location: _Known) -> int:
        """The newest version's: what the file holds now, or will when it is recorded next.

        Rows whose content is not known are taken to be of what the file holds.
        """
        content = marker.content_hash or None
        if location.version_id is not None and content in (None, location.content_hash):
            return location.version_id
        version = self._fresh_version()
        same = adopted_version.c.location_id == location.id
        self._connection.execute(delete(adopted_version).where(same))
        values = {"location_id": location.id, "version_id": version, "content_hash": content}
        self._connection.execute(insert(adopted_version).values(**values))
        return version

    def _fresh_version(self) -> int:
        """An id that no version has, nor will have unless it is bound to it."""
        version = self._dialect.highest_id(self._connection, file_version) + 1
        self._dialect.raise_ids(self._connection, file_version, version)
        return version

    # --- what is kept ---

    def _remember(self, location_ids: Sequence[int]) -> None:
        """What an earlier takeover of the same slots, or of slots of the same versions, did."""
        for ids in chunks(location_ids):
            statement = select(adopted_slot).where(_adopted.location_id.in_(list(ids)))
            for row in self._connection.execute(statement.order_by(_adopted.id)):
                self._earlier[_identity_of_row(row)] = row
                if not row.former_version_id or row.mode != Mode.APPEND:
                    continue
                version = (row.former_uuid, row.former_location_id, row.former_version_id)
                self._versions.setdefault(version, row.version_id)
                newest = (row.location_id, row.former_uuid)
                self._newest[newest] = max(self._newest.get(newest, 0), row.former_ordinal)

    def _publish(self, entries: Sequence[tuple[StandingSlot, SlotKey, Mode]]) -> None:
        keys = sorted({(key.plugin, key.location_id) for _, key, _ in entries})
        states = slot_states(self._connection, keys)
        missing = [
            {"plugin_name": plugin, "location_id": location_id}
            for plugin, location_id in keys
            if (plugin, location_id) not in states
        ]
        if missing:
            self._connection.execute(insert(publish_slot), missing)
        added = []
        for slot, key, mode in entries:
            owner = (key.plugin, key.location_id)
            published = PublishedSlot(slot.target, mode, key, slot.bundle)
            standing = states.get(owner, SlotState()).published
            for other in standing:
                if (other.target, other.slot) == (slot.target, key) and other != published:
                    forget_published(self._connection, other)
            if published not in standing:
                added.append((owner, published))
        note_published(self._connection, added)
        fresh = [
            self._entry(slot, key, mode)
            for slot, key, mode in entries
            if _identity(slot, key.location_id) not in self._earlier
        ]
        execute_many(self._connection, _INSERT_ADOPTED, fresh)

    def _entry(self, slot: StandingSlot, key: SlotKey, mode: Mode) -> dict[str, Any]:
        marker = slot.marker
        values = published_values(
            key.plugin, key.location_id, PublishedSlot(slot.target, mode, key)
        )
        del values["bundle"]
        return values | {
            "adoption_id": self._adoption_id,
            "former_uuid": marker.installation,
            "former_job_id": marker.job_id,
            "former_location_id": marker.location_id,
            "former_version_id": marker.version_id,
            "former_ordinal": marker.ordinal,
            "content_hash": marker.content_hash or None,
            "rows": marker.rows,
        }


# --- locations --------------------------------------------------------------------------


def _file_of(marker: Marker) -> _File:
    return marker.root_path, marker.path


def _locations(
    connection: Connection, dialect: Dialect, files: Iterable[_File]
) -> dict[_File, _Known]:
    """The location of each; one that is not known is recorded as deleted."""
    roots = {path_text(r.path): r.id for r in connection.execute(select(source_root))}
    by_root: dict[str, list[bytes]] = {}
    for root, path in sorted(files):
        by_root.setdefault(root, []).append(path_bytes(path))
    found: dict[_File, _Known] = {}
    for root, paths in by_root.items():
        if root not in roots:
            values = {"path": path_bytes(root), "active": False}
            made = insert(source_root).values(**values).returning(source_root.c.id)
            roots[root] = connection.execute(made).scalar_one()
        for part in chunks(paths):
            here = _known(connection, roots[root], part)
            gone = [path for path in part if path not in here]
            here |= _tombstones(connection, dialect, roots[root], gone)
            found.update(((root, path_text(path)), known) for path, known in here.items())
    return found


def _known(connection: Connection, root_id: int, paths: Sequence[bytes]) -> dict[bytes, _Known]:
    statement = (
        select(
            _location.id, _location.path, _location.deleted, _location.content_hash,
            _location.current_version_id, _version.content_hash.label("current"),
        )
        .outerjoin(file_version, _version.id == _location.current_version_id)
        .where(_location.source_root_id == root_id, _location.path.in_(list(paths)))
    )  # fmt: skip
    known: dict[bytes, _Known] = {}
    for row in connection.execute(statement):
        # A deleted or forgotten file is a new version when it is seen next.
        stands = not row.deleted and row.content_hash is not None
        current = (row.current_version_id, row.current) if stands else (None, None)
        known[row.path] = _Known(row.id, *current)
    return known


def _tombstones(
    connection: Connection, dialect: Dialect, root_id: int, paths: Sequence[bytes]
) -> dict[bytes, _Known]:
    ids = dialect.new_ids(connection, file_location, len(paths))
    rows = [(new, root_id, path, True) for new, path in zip(ids, paths, strict=True)]
    if rows:
        with dialect.given_ids(connection, file_location):
            insert_rows(connection, _INSERT_TOMBSTONE, rows)
    return {path: _Known(new, None, None) for new, _, path, _ in rows}


_INSERT_TOMBSTONE = row_insert(file_location, "id", "source_root_id", "path", "deleted")


# --- small things -----------------------------------------------------------------------


def _slot(marker: Marker, location_id: int, version_id: int) -> SlotKey:
    return SlotKey(marker.plugin, marker.topic, location_id, version_id)


def _other(mode: Mode) -> Mode:
    return Mode.REPLACE if mode is Mode.APPEND else Mode.APPEND


def _identity(slot: StandingSlot, location_id: int) -> tuple[Any, ...]:
    """By which a slot is known again after a takeover that did not come to its end."""
    marker = slot.marker
    return (
        location_id, *target_values(slot.target).values(), marker.plugin, marker.topic,
        marker.installation, marker.job_id, marker.location_id, marker.version_id,
    )  # fmt: skip


def _identity_of_row(row: Any) -> tuple[Any, ...]:
    return (
        row.location_id, row.scheme, row.location, row.name, row.plugin_name, row.topic,
        row.former_uuid, row.former_job_id, row.former_location_id, row.former_version_id,
    )  # fmt: skip
