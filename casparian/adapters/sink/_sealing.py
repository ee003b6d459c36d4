"""Stagings of a group completed for their decision: small rows written, markers put beside them.

Rows that are held share a bundle where others of their plugin and schema go to the same topic.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import pyarrow as pa

from casparian.adapters.sink._errors import disk_error, memory_error
from casparian.adapters.sink._held import HeldStagings
from casparian.adapters.sink._parquet_bundles import ParquetBundles
from casparian.adapters.sink._parquet_staging import small_file
from casparian.adapters.sink._parts import part_of
from casparian.adapters.sink._rows import HeldRows
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.ports import PromoteItem
from casparian.domain.publish import ManifestItem, StagingKey

Sealed = ManifestItem | JobError


class Sealing:
    """`slot_path(item)` is the directory of a slot that has one of its own; `mark(job)` puts
    the marker beside what is staged for one."""

    def __init__(
        self,
        held: HeldStagings,
        bundles: ParquetBundles,
        slot_path: Callable[[ManifestItem], str],
        mark: Callable[[PromoteItem], None],
    ) -> None:
        self._held = held
        self._bundles = bundles
        self._slot_path = slot_path
        self._mark = mark

    def seal(self, items: Sequence[PromoteItem]) -> list[Sealed]:
        kept = self._forget({job.key for job in items})
        sealed: dict[int, Sealed] = {
            at: kept[job.key] for at, job in enumerate(items) if job.key in kept
        }
        alone: list[int] = []
        groups: dict[tuple[str, ...], list[int]] = {}
        for at, job in enumerate(items):
            if at not in sealed:
                group = self._group(job)
                (groups.setdefault(group, []) if group else alone).append(at)
        for places in groups.values():
            if len(places) == 1 and not items[places[0]].item.bundle:
                alone += places
            else:
                sealed.update(self._tried(items, places, self._together))
        for at in alone:
            sealed.update(self._tried(items, [at], self._alone))
        return [sealed[at] for at in range(len(items))]

    def _forget(self, keys: Iterable[StagingKey]) -> dict[StagingKey, JobError]:
        """Removes what was sealed for them before; those of which something is left, and why."""
        kept = {}
        for key in keys:
            try:
                self._bundles.forget(key)
            except OSError as error:
                kept[key] = disk_error("Removing what was staged in other company", error)
        return kept

    def _tried(
        self,
        items: Sequence[PromoteItem],
        places: Sequence[int],
        step: Callable[[Sequence[PromoteItem]], list[ManifestItem]],
    ) -> dict[int, Sealed]:
        """One step for items that are written together. Rows that Parquet cannot hold fail
        their own job; all else fails all of them."""
        try:
            return dict(zip(places, step([items[at] for at in places]), strict=True))
        except JobError as error:
            return dict.fromkeys(places, error)
        except OSError as error:
            return dict.fromkeys(places, disk_error("Writing what was staged", error))
        except MemoryError as error:
            return dict.fromkeys(places, memory_error("Writing what was staged", error))
        except pa.ArrowException as error:
            why = {at: self._unwritable(items[at]) for at in places}
            bad = {at: problem for at, problem in why.items() if problem is not None}
            good = [at for at in places if at not in bad]
            if not bad:
                return dict.fromkeys(places, _data_error(items[places[0]].item, error))
            return {**bad, **(self._tried(items, good, step) if good else {})}

    def _unwritable(self, job: PromoteItem) -> JobError | None:
        held = self._rows(job)
        try:
            if held is not None:
                small_file(held.table, [])
        except MemoryError as error:
            return memory_error("Writing what was staged", error)
        except pa.ArrowException as error:
            return _data_error(job.item, error)
        return None

    def _group(self, job: PromoteItem) -> tuple[str, ...] | None:
        """What an item may share a bundle by; None where it has, or gets, its own place."""
        item = job.item
        if item.bundle:
            return (item.target.name, item.bundle)
        if self._rows(job) is None or os.path.exists(self._slot_path(item)):
            return None
        return (item.target.name, "", item.slot.plugin, item.slot.topic, item.schema_json)

    def _rows(self, job: PromoteItem) -> HeldRows | None:
        return self._held.rows(job.key, part_of(job.item)) if job.item.staged else None

    def _together(self, jobs: Sequence[PromoteItem]) -> list[ManifestItem]:
        return self._bundles.rewritten(jobs) if jobs[0].item.bundle else self._bundles.born(jobs)

    def _alone(self, jobs: Sequence[PromoteItem]) -> list[ManifestItem]:
        (job,) = jobs
        item, held = job.item, self._rows(job)
        if held is not None:
            content = small_file(held.table, [held.lineage.entry(0, held.table.num_rows)])
            name = f"{held.prefix}-00000.parquet"
            digest = hashlib.sha256(content).hexdigest()
            item = replace(item, digest=digest, files=(name,))
            self._held.place(job.key, part_of(item)).hold([(name, content)])
            self._mark(job._replace(item=item))
        elif not item.staged:
            self._held.place(job.key, part_of(item)).hold([])
            self._mark(job)
        return [item]


def _data_error(item: ManifestItem, error: pa.ArrowException) -> JobError:
    return JobError(
        ErrorClass.DATA,
        f"Parquet cannot hold the rows for {item.target}: {error}. Publish values that it "
        "can hold.",
    )
