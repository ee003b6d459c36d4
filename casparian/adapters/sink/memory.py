"""Sink `memory://NAME`: the reference. Full semantics, one lock, nothing survives the process.

What a store holds is shared by every sink that was given it; there is no other state.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from casparian.adapters.sink._errors import failed, foreign, taken_over, withheld
from casparian.adapters.sink._plain import plain_rows
from casparian.adapters.sink._readback import TableRows
from casparian.adapters.sink._rows import digest_of_rows
from casparian.adapters.sink._schema import Shaper, reshape, to_domain
from casparian.adapters.sink._uri import after_scheme, topic_target_name
from casparian.domain import lineage
from casparian.domain.adoption import Renewal, StandingSlot
from casparian.domain.audit import Holding, RowsFound
from casparian.domain.ports import PromoteItem, Sink, StagedRows, StageRequest, Staging
from casparian.domain.publish import (
    InstallCase,
    Manifest,
    ManifestItem,
    Marker,
    MarkerCase,
    PublishedSlot,
    Receipt,
    SlotKey,
    StagingKey,
    Target,
    compare_marker,
)
from casparian.domain.schemas import TargetSchema

SCHEME = "memory"


@dataclass
class _Slot:
    marker: Marker
    rows: pa.Table | None


@dataclass
class MemoryStore:
    """The places of memory sinks: published slots, and stagings by location and name."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    slots: dict[tuple[Target, SlotKey], _Slot] = field(default_factory=dict)
    staged: dict[tuple[str, str], dict[str, pa.Table]] = field(default_factory=dict)

    def read(self, target: Target) -> pa.Table | None:
        """All rows of a target, columns by name; None where nothing was published to it."""
        with self.lock:
            tables = [
                s.rows for (t, _), s in self.slots.items() if t == target and s.rows is not None
            ]
        return pa.concat_tables(tables, promote_options="permissive") if tables else None


class MemoryStaging:
    """Port `Staging`."""

    def __init__(self, store: MemoryStore, request: StageRequest, known: TargetSchema | None):
        self._store = store
        self._place = (request.target.location, request.key.name)
        self._name = request.target.name
        self._where = str(request.target)
        self._shaper = Shaper(known, self._where)
        self._batches: list[pa.RecordBatch] = []

    def write(self, batch: Any) -> None:
        self._batches.append(self._shaper.shape(batch))

    def finish(self) -> StagedRows:
        schema = self._shaper.arrow
        batches = [reshape(b, schema, self._where) for b in self._batches]
        table = pa.Table.from_batches(batches, schema=schema).combine_chunks()
        with self._store.lock:
            self._store.staged[self._place][self._name] = table
        return StagedRows(table.num_rows, digest_of_rows(table), self._shaper.columns, ())

    def discard(self) -> None:
        self._batches.clear()
        with self._store.lock:
            self._store.staged.get(self._place, {}).pop(self._name, None)


class MemorySink:
    """Port `Sink`."""

    scheme = SCHEME

    def __init__(self, store: MemoryStore, location: str) -> None:
        self._store = store
        self.location = location

    def check(self) -> None:
        """Memory keeps every promise but to survive the process."""

    def stage(self, request: StageRequest, known: TargetSchema | None) -> Staging:
        self._open(request.key).pop(request.target.name, None)
        return MemoryStaging(self._store, request, known)

    def _open(self, key: StagingKey) -> dict[str, pa.Table]:
        with self._store.lock:
            return self._store.staged.setdefault((self.location, key.name), {})

    def stage_empty(self, manifest: Manifest, item: ManifestItem, key: StagingKey) -> None:
        self._open(key)

    def stage_marker(self, manifest: Manifest, item: ManifestItem, key: StagingKey) -> None:
        """The manifest's own marker is installed with the rows."""

    def sync(self, keys: Sequence[StagingKey]) -> None:
        """Memory has nothing to flush."""

    def promote(self, items: Sequence[PromoteItem]) -> list[Receipt]:
        return [self._install(job) for job in items]

    def _install(self, job: PromoteItem) -> Receipt:
        item, mine = job.item, Marker.of(job.manifest, job.item)
        with self._store.lock:
            place = (item.target, item.slot)
            for (target, _), other in self._store.slots.items():
                if target == item.target and other.marker.installation != mine.installation:
                    return failed(item, foreign(item, other.marker.installation))
            standing = self._store.slots.get(place)
            case = compare_marker(standing.marker if standing else None, mine)
            if standing is not None and case is not MarkerCase.INSTALL:
                return withheld(item, standing.marker, case)
            staged = self._store.staged.get((self.location, job.key.name))
            if staged is None or (item.staged and item.target.name not in staged):
                return taken_over(item, f"{self.location}/{job.key.name}")
            rows = staged.pop(item.target.name) if item.staged else None
            self._store.slots[place] = _Slot(mine, rows)
        return Receipt(item, InstallCase.INSTALLED)

    def rekey(self, key: StagingKey) -> None:
        with self._store.lock:
            for other in self.stagings():
                if other.same_attempt(key) and other.name != key.name:
                    staged = self._store.staged.pop((self.location, other.name))
                    self._store.staged[self.location, key.name] = staged

    def stagings(self) -> list[StagingKey]:
        with self._store.lock:
            names = [name for location, name in self._store.staged if location == self.location]
        return [key for name in names if (key := StagingKey.parse(name)) is not None]

    def discard(self, key: StagingKey) -> None:
        with self._store.lock:
            self._store.staged.pop((self.location, key.name), None)

    def clean(self, now_us: int) -> None:
        """Readers hold what they read: nothing replaced is kept."""

    def markers(self) -> Iterator[tuple[Target, Marker]]:
        with self._store.lock:
            found = [(t, s.marker) for (t, _), s in self._store.slots.items()]
        yield from ((t, marker) for t, marker in found if t.location == self.location)

    def holdings(self) -> Iterator[Holding]:
        with self._store.lock:
            found = [(t, s) for (t, _), s in self._store.slots.items()]
        for target, slot in found:
            if target.location == self.location:
                rows = {} if slot.rows is None else {slot.marker.job_id: _found(slot.rows)}
                yield Holding(target, str(target), (slot.marker,), rows)

    @contextlib.contextmanager
    def reading(self, place: PublishedSlot) -> Iterator[TableRows | None]:
        with self._store.lock:
            slot = self._store.slots.get((place.target, place.slot))
        if slot is None:
            yield None
            return
        marker, rows = slot.marker, slot.rows
        yield TableRows(
            marker,
            str(place.target),
            lambda: iter(() if rows is None else rows.to_batches()),
            lambda: marker.digest if rows is None else digest_of_rows(rows),
        )

    def plain(self, rows: pa.RecordBatch, where: str) -> pa.RecordBatch:
        return plain_rows(rows)

    def standing(self) -> Iterator[StandingSlot]:
        for target, marker in self.markers():
            yield StandingSlot(target, marker)

    def schema_of(self, target: Target) -> TargetSchema | None:
        rows = self._store.read(target)
        names = lineage.COLUMNS
        return to_domain(rows.drop_columns(list(names)).schema) if rows is not None else None

    def renew(self, renewals: Sequence[Renewal]) -> None:
        with self._store.lock:
            slots = self._store.slots
            due = [
                (r, slots[r.target, r.before.slot])
                for r in renewals
                if (held := slots.get((r.target, r.before.slot))) and held.marker == r.before
            ]
            for renewal, _ in due:
                del slots[renewal.target, renewal.before.slot]
            for renewal, held in due:
                slots[renewal.target, renewal.after.slot] = _Slot(renewal.after, held.rows)


def _found(rows: pa.Table) -> RowsFound:
    versions = tuple(sorted(set(rows[lineage.FILE_VERSION_ID].to_pylist())))
    return RowsFound(rows.num_rows, digest_of_rows(rows), version_ids=versions)


class MemorySinkFactory:
    """Port `SinkFactory` for `memory://NAME`, over one store."""

    scheme = SCHEME

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def absolute(self, uri: str, base: str) -> str:
        return uri

    def parse(self, uri: str, base: str, plugin: str, topic: str) -> Target:
        name = after_scheme(uri, SCHEME, "memory://NAME")
        return Target(SCHEME, name, topic_target_name(plugin, topic))

    def open(self, location: str) -> Sink:
        return MemorySink(self._store, location)
