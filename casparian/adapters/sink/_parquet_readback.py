"""Rows of one slot, read back from its directory, or from the bundle that it shares.

Files are opened between two looks at the directory's marker; what is open stays readable however
often the directory is exchanged afterwards.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from casparian.adapters.sink._bundle_files import as_staged
from casparian.adapters.sink._errors import disk_error
from casparian.adapters.sink._marked import Held, read_held
from casparian.adapters.sink._parquet_adoption import parquet_files
from casparian.adapters.sink._readback import not_as_published
from casparian.adapters.sink._types import compute
from casparian.domain import lineage
from casparian.domain.errors import UnavailableError
from casparian.domain.publish import Marker, SlotKey

TRIES = 20
PORTION = 16_384


@dataclass(frozen=True, slots=True)
class SlotFiles:
    """`StandingRows`. Of files that several slots share, the rows of the marker's job."""

    marker: Marker
    where: str
    held: Held
    files: tuple[tuple[str, Any], ...]
    """Each by its name, open."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        for name, opened in self.files:
            try:
                yield from self._rows(opened)
            except (pa.ArrowException, KeyError, OSError) as error:
                raise not_as_published(self.marker, f"{self.where}/{name}", error) from error

    def _rows(self, opened: Any) -> Iterator[pa.RecordBatch]:
        opened.seek(0)
        pc = compute()
        for batch in pq.ParquetFile(opened).iter_batches(batch_size=PORTION):
            rows = pa.RecordBatch.from_arrays(batch.columns, schema=as_staged(batch.schema))
            if not isinstance(self.held, Marker):
                rows = rows.filter(pc.equal(rows[lineage.JOB_ID], self.marker.job_id))
            if rows.num_rows:
                yield rows

    def altered(self) -> bool:
        if isinstance(self.held, Marker):
            whole = hashlib.sha256()
            for _, opened in self.files:
                opened.seek(0)
                while block := opened.read(1 << 20):
                    whole.update(block)
            return whole.hexdigest() != self.held.digest
        found = {}
        for name, opened in self.files:
            opened.seek(0)
            found[name] = hashlib.file_digest(opened, "sha256").hexdigest()
        return found != dict(self.held.files)


@contextlib.contextmanager
def reading(path: str, slot: SlotKey, where: str) -> Iterator[SlotFiles | None]:
    """Raises JobError (FOREIGN_ROWS) for a directory that was not published here,
    UnavailableError for one that changes all the time, or cannot be read."""
    with contextlib.ExitStack() as stack:
        try:
            found = _open(path, slot, where, stack)
        except OSError as error:
            raise UnavailableError(disk_error(f"Reading {path}", error).message) from error
        yield found


def _open(path: str, slot: SlotKey, where: str, stack: contextlib.ExitStack) -> SlotFiles | None:
    for _ in range(TRIES):
        held = read_held(path)
        marker = _marker_of(held, slot)
        if held is None or marker is None:
            return None
        with contextlib.ExitStack() as opening:
            try:
                files = tuple(
                    # They are open until the context of the reading ends.
                    (os.path.basename(name), opening.enter_context(open(name, "rb")))
                    for name in parquet_files(path)
                )
                same = read_held(path) == held
            except FileNotFoundError:
                continue
            if same:
                stack.push(opening.pop_all())
                return SlotFiles(marker, where, held, files)
    raise UnavailableError(f"{path} changes again and again while it is read.")


def _marker_of(held: Held | None, slot: SlotKey) -> Marker | None:
    if held is None or isinstance(held, Marker):
        return held
    return held.member(slot)
