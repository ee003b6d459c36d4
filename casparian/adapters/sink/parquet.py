"""Sink `parquet://DIR`: a directory per topic, in it one directory per slot, exchanged as a whole.

    <root>/<topic>/<slot>/*.parquet     what readers glob
    <root>/<topic>/<slot>/_casparian.json   whose rows they are
    <root>/<topic>/<bundle>/...         the same for small outputs of several slots

A slot directory is staged beside the root and enters it by one rename: without replacing for
a first publication, by exchange for later ones. Each names the promoter's own staging path as
its source, so one whose staging was taken over fails with file-not-found and changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import pyarrow as pa

from casparian.adapters.sink import _parquet_readback
from casparian.adapters.sink._durable import make_directories
from casparian.adapters.sink._errors import disk_error, failed, is_passing, taken_over, withheld
from casparian.adapters.sink._held import HeldStagings
from casparian.adapters.sink._marked import MARKER, move_in, read_marker, read_markers
from casparian.adapters.sink._parquet_adoption import ParquetAdoption, directories
from casparian.adapters.sink._parquet_audit import ParquetAudit
from casparian.adapters.sink._parquet_bundles import ParquetBundles
from casparian.adapters.sink._parquet_staging import (
    FILE_BYTES,
    ParquetStaging,
    refuse_unsupported,
)
from casparian.adapters.sink._parts import part_of, rows_part
from casparian.adapters.sink._places import GRACE_US, Places, beside
from casparian.adapters.sink._probe import probe
from casparian.adapters.sink._round import PromoteRound
from casparian.adapters.sink._schema import to_domain
from casparian.adapters.sink._sealing import Sealing
from casparian.adapters.sink._slot_names import SlotNames
from casparian.adapters.sink._uri import absolute, after_scheme, topic_target_name
from casparian.domain import lineage
from casparian.domain.adoption import Renewal, StandingSlot
from casparian.domain.audit import Holding
from casparian.domain.errors import (
    ConfigurationError,
    JobError,
    UnavailableError,
    is_infrastructure,
)
from casparian.domain.ports import Clock, PromoteItem, Sink, StageRequest, Staging
from casparian.domain.publish import (
    InstallCase,
    Manifest,
    ManifestItem,
    Marker,
    MarkerCase,
    PublishedSlot,
    Receipt,
    StagingKey,
    Target,
    compare_marker,
)
from casparian.domain.schemas import TargetSchema

SCHEME = "parquet"


def system_clock() -> int:
    return time.time_ns() // 1000


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
        self._places = Places(beside(self._root), self._root)
        self._names = SlotNames(self._root)
        self._adoption = ParquetAdoption(SCHEME, location, self._root, self._names)
        self._audit = ParquetAudit(SCHEME, location, self._root, self._places.working)
        self._held = HeldStagings(self._places)
        self._bundles = ParquetBundles(self._root, self._places, self._held)
        self._sealing = Sealing(self._held, self._bundles, self._slot_path, self._mark)
        self._clock = clock
        self._grace_us = grace_us
        self._file_bytes = file_bytes

    def missing(self) -> str:
        """Port `LastingSink`."""
        return self._places.missing(f"{SCHEME}://{self.location}", self.markers)

    def check(self) -> None:
        if self._places.kept.kept and (missing := self.missing()):
            raise UnavailableError(missing)
        try:
            make_directories(self._root)
            self._places.make()
            self._places.kept.keep()
        except OSError as error:
            raise ConfigurationError(
                f"The sink {SCHEME}://{self.location} needs to write into {self._root} and, for "
                f"what is not published yet, into {self._places.working}: {error}. Give the "
                "engine's user the right to, or choose another directory."
            ) from error
        probe(self._root, self._places.working, f"{SCHEME}://{self.location}")

    # --- staging ------------------------------------------------------------------------

    def stage(self, request: StageRequest, known: TargetSchema | None) -> Staging:
        try:
            place = self._held.place(request.key, rows_part(request.target))
        except OSError as error:
            raise disk_error(f"Opening a staging in {self._places.staging}", error) from error
        return ParquetStaging(place, request, known, self._file_bytes)

    def stage_empty(self, manifest: Manifest, item: ManifestItem, key: StagingKey) -> None:
        self._held.place(key, part_of(item)).hold([])
        self.stage_marker(manifest, item, key)

    def stage_marker(self, manifest: Manifest, item: ManifestItem, key: StagingKey) -> None:
        if item.staged and self._held.rows(key, part_of(item)) is not None:
            return  # It is written when the rows are: see `seal`.
        try:
            self._mark(PromoteItem(key, manifest, item))
        except OSError as error:
            path = os.path.join(self._staged_path(key, item), MARKER)
            raise disk_error(f"Writing the marker {path}", error) from error

    def _mark(self, job: PromoteItem) -> None:
        marker = Marker.of(job.manifest, job.item).to_json().encode("ascii")
        self._held.complete(job.key, part_of(job.item), (MARKER, marker))

    def seal(self, items: Sequence[PromoteItem]) -> list[ManifestItem | JobError]:
        return self._sealing.seal(items)

    def _staged_path(self, key: StagingKey, item: ManifestItem) -> str:
        return self._places.of(key, part_of(item))

    def _slot_path(self, item: ManifestItem) -> str:
        name = self._names.directory(item.target.name, item.slot.name)
        return os.path.join(self._root, item.target.name, name)

    def sync(self, keys: Sequence[StagingKey]) -> None:
        self._places.sync(keys)

    # --- promoting ----------------------------------------------------------------------

    def promote(self, items: Sequence[PromoteItem]) -> list[Receipt]:
        began = self._places.epoch()
        todo = PromoteRound()
        receipts = self._install_all(items, todo)
        try:
            self._places.syncer.sync(todo.still_there(), began)
        except OSError as error:
            text = f"Making what was published below {self._root} durable failed: {error}."
            passing = is_passing(error)
            return [
                r
                if r.case in (None, InstallCase.OLDER)
                else failed(r.item, text, transient=passing)
                for r in receipts
            ]
        now_us = self._clock()
        for path, key in todo.displaced:
            # Left where it is, it goes with its staging.
            with contextlib.suppress(OSError):
                self._places.retire(path, key, now_us)
        return receipts

    def _install_all(self, items: Sequence[PromoteItem], todo: PromoteRound) -> list[Receipt]:
        together: dict[tuple[str, str, int], list[int]] = {}
        receipts: dict[int, Receipt] = {}
        for at, job in enumerate(items):
            self._held.drop(job.key)  # It is decided, so it is not sealed again.
            item = job.item
            if item.bundle:
                key = (item.target.name, item.bundle, item.revision)
                together.setdefault(key, []).append(at)
            else:
                receipts[at] = self._attempt([job], todo, self._install)[0]
        for places in together.values():
            jobs = [items[at] for at in places]
            got = self._attempt(jobs, todo, self._bundles.install)
            receipts.update(zip(places, got, strict=True))
        return [receipts[at] for at in range(len(items))]

    def _attempt(
        self,
        jobs: Sequence[PromoteItem],
        todo: PromoteRound,
        install: Callable[[Sequence[PromoteItem], PromoteRound], list[Receipt]],
    ) -> list[Receipt]:
        try:
            return install(jobs, todo)
        except JobError as error:
            passing = is_infrastructure(error)
            return [failed(job.item, error.message, transient=passing) for job in jobs]
        except OSError as error:
            place = os.path.join(self._root, jobs[0].item.target.name)
            text = f"Publishing below {place} failed: {error}."
            return [failed(job.item, text, transient=is_passing(error)) for job in jobs]

    def _install(self, jobs: Sequence[PromoteItem], todo: PromoteRound) -> list[Receipt]:
        return [self._install_slot(job, todo) for job in jobs]

    def _install_slot(self, job: PromoteItem, todo: PromoteRound) -> Receipt:
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
                move_in(source, slot, first=standing is None)
            except (FileNotFoundError, FileExistsError):
                continue  # The staging or the slot changed in between; look again.
            self._touch(job, source, todo)
            if standing is not None:
                todo.displaced.append((source, job.key))
            return Receipt(item, InstallCase.INSTALLED)
        return failed(item, f"{slot} changes again and again under this.", transient=True)

    def _touch(self, job: PromoteItem, source: str, todo: PromoteRound) -> None:
        topic = os.path.join(self._root, job.item.target.name)
        todo.touch((self._root, topic, os.path.dirname(source)))

    # --- upkeep -------------------------------------------------------------------------

    def rekey(self, key: StagingKey) -> None:
        self._places.rekey(key)

    def stagings(self) -> list[StagingKey]:
        return self._places.keys()

    def discard(self, key: StagingKey) -> None:
        self._held.drop(key)
        self._bundles.forget(key)
        self._places.discard(key)

    def clean(self, now_us: int) -> None:
        self._places.clean(now_us, self._grace_us)

    def markers(self) -> Iterator[tuple[Target, Marker]]:
        for topic in directories(self._root):
            for slot in directories(os.path.join(self._root, topic)):
                for marker in read_markers(os.path.join(self._root, topic, slot)):
                    yield Target(SCHEME, self.location, topic), marker

    def holdings(self) -> Iterator[Holding]:
        return self._audit.holdings()

    def reading(
        self, place: PublishedSlot
    ) -> AbstractContextManager[_parquet_readback.SlotFiles | None]:
        topic = place.target.name
        name = place.bundle or self._names.directory(topic, place.slot.name)
        path = os.path.join(self._root, topic, name)
        return _parquet_readback.reading(path, place.slot, str(place.target))

    def plain(self, rows: pa.RecordBatch, where: str) -> pa.RecordBatch:
        refuse_unsupported(to_domain(rows.drop_columns(list(lineage.COLUMNS)).schema), where)
        # It loads Arrow's functions, and only comparisons come here.
        from casparian.adapters.sink._plain import plain_rows

        return plain_rows(rows)

    # --- taking over --------------------------------------------------------------------

    def standing(self) -> Iterator[StandingSlot]:
        return self._adoption.standing()

    def schema_of(self, target: Target) -> TargetSchema | None:
        return self._adoption.schema_of(target)

    def renew(self, renewals: Sequence[Renewal]) -> None:
        self._adoption.renew(renewals, self._places)


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
