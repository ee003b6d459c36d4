"""Sink `parquet://DIR`: a directory per topic, in it one directory per slot, exchanged as a whole.

    <root>/<topic>/<slot>/*.parquet     what readers glob
    <root>/<topic>/<slot>/_casparian.json   whose rows they are

A slot directory is staged beside the root and enters it by one rename: without replacing for
a first publication, by exchange for later ones. Each names the promoter's own staging path as
its source, so one whose staging was taken over fails with file-not-found and changes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from casparian.adapters.sink._durable import fsync_all
from casparian.adapters.sink._errors import disk_error, failed, is_passing, taken_over, withheld
from casparian.adapters.sink._held import HeldStagings
from casparian.adapters.sink._libc import exchange, rename_new
from casparian.adapters.sink._parquet_staging import FILE_BYTES, ParquetStaging
from casparian.adapters.sink._places import GRACE_US, Places, beside
from casparian.adapters.sink._probe import probe
from casparian.adapters.sink._uri import absolute, after_scheme, topic_target_name
from casparian.domain.errors import ConfigurationError, ErrorClass, JobError
from casparian.domain.ports import Clock, PromoteItem, Sink, StageRequest, Staging
from casparian.domain.publish import (
    InstallCase,
    Manifest,
    ManifestItem,
    Marker,
    MarkerCase,
    Receipt,
    StagingKey,
    Target,
    compare_marker,
)
from casparian.domain.schemas import TargetSchema

SCHEME = "parquet"
MARKER = "_casparian.json"


def system_clock() -> int:
    return time.time_ns() // 1000


@dataclass
class _Round:
    """What one call of `promote` has yet to make durable, and to move out of the way."""

    touched: dict[str, None] = field(default_factory=dict)
    displaced: list[tuple[str, StagingKey]] = field(default_factory=list)


class ParquetSink:
    """Port `Sink`. The slot's directory is the unit: its files have names used once."""

    scheme = SCHEME

    def __init__(
        self,
        location: str,
        clock: Clock = system_clock,
        grace_us: int = GRACE_US,
        file_bytes: int = FILE_BYTES,
    ) -> None:
        self.location = location
        self._root = os.path.realpath(location)
        self._places = Places(beside(self._root))
        self._held = HeldStagings(self._places)
        self._clock = clock
        self._grace_us = grace_us
        self._file_bytes = file_bytes

    def check(self) -> None:
        try:
            fresh = not os.path.isdir(self._root)
            os.makedirs(self._root, exist_ok=True)
            self._places.make()
            if fresh:
                fsync_all([os.path.dirname(self._root)])
            fsync_all([self._places.working])
        except OSError as error:
            raise ConfigurationError(
                f"The sink {SCHEME}://{self.location} needs to write into {self._root} and, for "
                f"what is not published yet, into {self._places.working}: {error}. Give the "
                "engine's user the right to, or choose another directory."
            ) from error
        probe(self._root, self._places.working, f"{SCHEME}://{self.location}")

    # --- staging ------------------------------------------------------------------------

    def stage(self, request: StageRequest, known: TargetSchema | None) -> Staging:
        place = self._held.place(request.key, _rows_part(request.target))
        return ParquetStaging(place, request, known, self._file_bytes)

    def stage_empty(self, manifest: Manifest, item: ManifestItem, key: StagingKey) -> None:
        self._held.place(key, _part(item)).hold([])
        self.stage_marker(manifest, item, key)

    def stage_marker(self, manifest: Manifest, item: ManifestItem, key: StagingKey) -> None:
        marker = Marker.of(manifest, item).to_json().encode("ascii")
        try:
            self._held.complete(key, _part(item), (MARKER, marker))
        except OSError as error:
            path = os.path.join(self._staged_path(key, item), MARKER)
            raise disk_error(f"Writing the marker {path}", error) from error

    def _staged_path(self, key: StagingKey, item: ManifestItem) -> str:
        return self._places.of(key, _part(item))

    def _slot_path(self, item: ManifestItem) -> str:
        return os.path.join(self._root, item.target.name, item.slot.name)

    def sync(self, keys: Sequence[StagingKey]) -> None:
        self._places.sync(keys)

    # --- promoting ----------------------------------------------------------------------

    def promote(self, items: Sequence[PromoteItem]) -> list[Receipt]:
        began = self._places.epoch()
        todo = _Round()
        receipts = [self._attempt(job, todo) for job in items]
        try:
            # A staging renamed meanwhile is its new holder's to sync.
            touched = [path for path in todo.touched if os.path.isdir(path)]
            self._places.syncer.sync(touched, began)
        except OSError as error:
            text = f"Making what was published below {self._root} durable failed: {error}."
            return [r if r.case in (None, InstallCase.OLDER) else failed(r.item, text)
                    for r in receipts]  # fmt: skip
        now_us = self._clock()
        for path, key in todo.displaced:
            # Left where it is, it goes with its staging.
            with contextlib.suppress(OSError):
                self._places.retire(path, key, now_us)
        return receipts

    def _attempt(self, job: PromoteItem, todo: _Round) -> Receipt:
        try:
            return self._install(job, todo)
        except JobError as error:
            return failed(job.item, error.message)
        except OSError as error:
            text = f"Publishing to {self._slot_path(job.item)} failed: {error}."
            return failed(job.item, text, transient=is_passing(error))

    def _install(self, job: PromoteItem, todo: _Round) -> Receipt:
        item = job.item
        source, slot = self._staged_path(job.key, item), self._slot_path(item)
        mine = Marker.of(job.manifest, item)
        for _ in range(8):
            standing = read_marker(slot)
            case = compare_marker(standing, mine)
            if case is not MarkerCase.INSTALL:
                assert standing is not None
                if case is MarkerCase.ALREADY:
                    # The one who installed it may have stopped right after.
                    self._touch(job, source, todo)
                    if read_marker(source) not in (None, mine):
                        todo.displaced.append((source, job.key))
                return withheld(item, standing, case)
            staged = read_marker(source)
            if staged is None:
                return taken_over(item, source)
            if staged != mine:
                return failed(item, f"What lies in {source} is not what the manifest decided.")
            try:
                self._move_in(source, slot, first=standing is None)
            except (FileNotFoundError, FileExistsError):
                continue  # The staging or the slot changed in between; look again.
            self._touch(job, source, todo)
            if standing is not None:
                todo.displaced.append((source, job.key))
            return Receipt(item, InstallCase.INSTALLED)
        return failed(item, f"{slot} changes again and again under this.", transient=True)

    def _move_in(self, source: str, slot: str, *, first: bool) -> None:
        if not first:
            exchange(source, slot)
            return
        try:
            rename_new(source, slot)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(slot), exist_ok=True)
            rename_new(source, slot)

    def _touch(self, job: PromoteItem, source: str, todo: _Round) -> None:
        topic = os.path.join(self._root, job.item.target.name)
        todo.touched.update(dict.fromkeys((self._root, topic, os.path.dirname(source))))

    # --- upkeep -------------------------------------------------------------------------

    def rekey(self, key: StagingKey) -> None:
        self._places.rekey(key)

    def stagings(self) -> list[StagingKey]:
        return self._places.keys()

    def discard(self, key: StagingKey) -> None:
        self._held.drop(key)
        self._places.discard(key)

    def clean(self, now_us: int) -> None:
        self._places.clean(now_us, self._grace_us)

    def markers(self) -> Iterator[tuple[Target, Marker]]:
        for topic in _directories(self._root):
            for slot in _directories(os.path.join(self._root, topic)):
                path = os.path.join(self._root, topic, slot)
                if os.path.exists(os.path.join(path, MARKER)):
                    marker = read_marker(path)
                    if marker is not None:
                        yield Target(SCHEME, self.location, topic), marker


def _part(item: ManifestItem) -> str:
    """Where an item waits. One topic may empty several slots beside the one it fills, and
    the names of both can be too long for one name."""
    if item.staged:
        return _rows_part(item.target)
    named = f"{item.target.name}/{item.slot.name}".encode()
    return f"emptied-{hashlib.sha256(named).hexdigest()[:24]}.staged"


def _rows_part(target: Target) -> str:
    return f"{target.name}.staged"


def read_marker(slot: str) -> Marker | None:
    """The marker of a slot's directory, None where there is no such directory.

    Raises JobError (FOREIGN_ROWS) for a directory that Casparian did not make.
    """
    try:
        with open(os.path.join(slot, MARKER), encoding="ascii") as file:
            return Marker.from_json(file.read())
    except FileNotFoundError:
        if not os.path.isdir(slot):
            return None
        problem = f"it has no {MARKER}"
    except (ValueError, TypeError) as error:
        problem = f"its {MARKER} cannot be read: {error}"
    raise JobError(
        ErrorClass.FOREIGN_ROWS,
        f"The directory {slot} was not published by Casparian: {problem}. Nothing in it was "
        "changed. Move it out of the sink's directory.",
    )


def _directories(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(e.name for e in entries if e.is_dir() and e.name[0] not in "._")
    except FileNotFoundError:
        return []


class ParquetSinkFactory:
    """Port `SinkFactory` for `parquet://DIR`."""

    scheme = SCHEME

    def __init__(self, clock: Clock = system_clock, grace_us: int = GRACE_US) -> None:
        self._clock = clock
        self._grace_us = grace_us

    def absolute(self, uri: str, base: str) -> str:
        return f"{SCHEME}://{absolute(after_scheme(uri, SCHEME, 'parquet://DIR'), base)}"

    def parse(self, uri: str, base: str, plugin: str, topic: str) -> Target:
        directory = absolute(after_scheme(uri, SCHEME, "parquet://DIR"), base)
        return Target(SCHEME, directory, topic_target_name(plugin, topic))

    def open(self, location: str) -> Sink:
        return ParquetSink(location, self._clock, self._grace_us)
