"""One topic's rows as Parquet files in a private directory, with their final names.

Rows are gathered to row groups and encoded by the thread that writes. When a later batch
widens the schema, a new file begins, and `finish` rewrites the files before it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from casparian._fastpath import NewFile
from casparian.adapters.sink._errors import disk_error
from casparian.adapters.sink._places import remove_tree
from casparian.adapters.sink._rows import HeldRows, digest_of_rows
from casparian.adapters.sink._schema import Shaper, reshape, with_lineage
from casparian.adapters.sink._types import canonical_type
from casparian.domain import lineage
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.ports import StagedRows, StageRequest
from casparian.domain.schemas import TargetSchema

GROUP_ROWS = 128 * 1024
GROUP_BYTES = 64 * 1024 * 1024
FILE_BYTES = 512 * 1024 * 1024
SMALL_BYTES = 128 * 1024
MOST_LOOSE = 256
ENCODINGS = {lineage.ROW: "DELTA_BINARY_PACKED"}
# Types that Parquet is known to give back as they were: no trial is needed.
_PLAIN = frozenset(
    (
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.bool_()),
        *(pa.string(), pa.binary(), pa.date32(), pa.timestamp("ms"), pa.timestamp("us")),
    )
)
# From here on it pays to look which columns a dictionary would make smaller.
_SAMPLED_FROM = 8 * 1024
_SAMPLE = 2 * 1024


class StagingPlace(Protocol):
    """Where the files of one staging go."""

    path: str

    def make(self) -> None:
        """Make the directory, empty. Raises OSError."""

    def hold(self, files: list[NewFile]) -> None:
        """Keep these, which are all of the staging, to be written together with its marker."""

    def hold_rows(self, rows: HeldRows) -> None:
        """Keep these, which are all of the staging, until it is sealed."""


class ParquetStaging:
    """Port `Staging`. The batches that `write` was given are held until their row group is
    encoded: their buffers must stay as they are while somebody refers to them."""

    def __init__(
        self,
        place: StagingPlace,
        request: StageRequest,
        known: TargetSchema | None,
        file_bytes: int = FILE_BYTES,
    ) -> None:
        key = request.key
        self._place = place
        self._directory = place.path
        self._lineage = request.lineage
        self._shared = request.shared
        self._file_bytes = file_bytes
        self._prefix = f"{key.job_id}-{key.attempt}-{key.installation[:12]}-{key.token[:12]}"
        self._where = str(request.target)
        self._shaper = Shaper(known, self._where)
        self._accepted: pa.Schema | None = None
        self._pending: list[pa.RecordBatch] = []
        self._joined = 0
        self._pending_rows = 0
        self._pending_bytes = 0
        self._writer: _FileWriter | None = None
        self._files: list[tuple[str, pa.Schema]] = []
        self._rows = 0

    def write(self, batch: Any) -> None:
        before = self._shaper.arrow
        shaped = self._shaper.shape(batch)
        with self._translated():
            if shaped.schema != self._accepted:
                self._flush(before)
                self._close_file()
                refuse_unsupported(self._shaper.columns, self._where)
                self._accepted = shaped.schema
            self._pending.append(shaped)
            if len(self._pending) - self._joined >= MOST_LOOSE:
                self._join_loose()
            self._pending_rows += shaped.num_rows
            # `nbytes` would look at every column's buffers, for longer than all else takes.
            self._pending_bytes += shaped.get_total_buffer_size()
            if self._pending_rows >= GROUP_ROWS or self._pending_bytes >= GROUP_BYTES:
                self._flush(shaped.schema)

    def finish(self) -> StagedRows:
        schema = self._shaper.arrow
        with self._translated():
            if self._accepted is None:
                refuse_unsupported(self._shaper.columns, self._where)
            if not self._files and self._pending_bytes < SMALL_BYTES:
                return self._finish_small(schema)
            self._flush(schema)
            self._close_file()
            self._rewrite_narrower(schema)
            names = tuple(name for name, _ in self._files)
            digest = digest_of(os.path.join(self._directory, name) for name in names)
        return StagedRows(self._rows, digest, self._shaper.columns, names)

    def _finish_small(self, schema: pa.Schema) -> StagedRows:
        """One file, encoded in memory, or rows that wait for those of other jobs; also where
        there are no rows, for the schema's sake."""
        table = pa.Table.from_batches(self._pending, schema=schema)
        self._pending = []
        if self._shared:
            self._place.hold_rows(HeldRows(table, self._lineage, self._prefix))
            return StagedRows(table.num_rows, digest_of_rows(table), self._shaper.columns, ())
        name = self._name(0)
        content = small_file(table, [self._lineage.entry(0, table.num_rows)])
        self._place.hold([(name, content)])
        digest = hashlib.sha256(content).hexdigest()
        return StagedRows(table.num_rows, digest, self._shaper.columns, (name,))

    def _name(self, number: int) -> str:
        return f"{self._prefix}-{number:05d}.parquet"

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            doing = f"Writing rows for {self._where} into {self._directory}"
            raise disk_error(doing, error) from error
        except MemoryError:
            raise  # It says nothing of the rows, whoever raised it.
        except pa.ArrowException as error:
            raise JobError(
                ErrorClass.DATA,
                f"Parquet cannot hold the rows for {self._where}: {error}. "
                "Publish values that it can hold.",
            ) from error

    def discard(self) -> None:
        self._pending.clear()
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None
        remove_tree(self._directory)

    def _join_loose(self) -> None:
        """A batch costs kilobytes, however small it is: many small ones are made one."""
        loose = self._pending[self._joined :]
        if sum(batch.nbytes for batch in loose) < SMALL_BYTES:
            self._pending[self._joined :] = [pa.concat_batches(loose)]
        self._joined = len(self._pending)

    def _flush(self, schema: pa.Schema) -> None:
        """Encode what is pending."""
        if not self._pending:
            return
        table = pa.Table.from_batches(self._pending, schema=schema)
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0
        self._joined = 0
        if self._writer is None:
            if not self._files:
                self._place.make()
            name = self._name(len(self._files))
            self._writer = _FileWriter(os.path.join(self._directory, name), table)
            self._files.append((name, schema))
        self._writer.write(table)
        self._rows += table.num_rows
        if self._writer.size >= self._file_bytes:
            self._close_file()

    def _close_file(self) -> None:
        if self._writer is not None:
            self._writer.close([self._lineage.entry(0, self._writer.rows)])
            self._writer = None

    def _rewrite_narrower(self, schema: pa.Schema) -> None:
        """Give files from before a widening the final schema."""
        for i, (name, written) in enumerate(self._files):
            if written.equals(schema):
                continue
            path = os.path.join(self._directory, name)
            wider = path + ".wider"
            writer: _FileWriter | None = None
            with pq.ParquetFile(path) as source:
                for batch in source.iter_batches(batch_size=GROUP_ROWS):
                    table = pa.Table.from_batches([reshape(batch, schema, self._where)])
                    writer = writer or _FileWriter(wider, table)
                    writer.write(table)
            writer = writer or _FileWriter(wider, schema.empty_table())
            writer.close([self._lineage.entry(0, writer.rows)])
            os.replace(wider, path)
            self._files[i] = (name, schema)


class _FileWriter:
    """One Parquet file: zstd level 1, dictionaries where they pay."""

    def __init__(self, path: str, sample: pa.Table) -> None:
        self.rows = 0
        self._sink = pa.OSFile(path, mode="wb")
        self._writer = pq.ParquetWriter(
            self._sink,
            sample.schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=_columns_for_dictionary(sample),
            column_encoding=ENCODINGS,
        )

    @property
    def size(self) -> int:
        written: int = self._sink.tell()
        return written

    def write(self, table: pa.Table) -> None:
        """One row group, or several where it is too large for one."""
        each = max(1, table.nbytes // max(1, table.num_rows))
        self._writer.write_table(table, row_group_size=max(1, min(GROUP_ROWS, GROUP_BYTES // each)))
        self.rows += table.num_rows

    def close(self, jobs: list[dict[str, object]]) -> None:
        self._writer.add_key_value_metadata({lineage.METADATA_KEY: json.dumps(jobs)})
        self._writer.close()
        self._sink.close()

    def abandon(self) -> None:
        with suppress(OSError):
            # It would write the file's end.
            self._writer.close()
        self._sink.close()


def small_file(table: pa.Table, jobs: list[dict[str, object]]) -> pa.Buffer:
    """A Parquet file in memory. Compressed by snappy, since making zstd ready for each column
    would cost more than all else of it; no dictionaries, which would save nothing."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink, table.schema, compression="snappy", use_dictionary=False, column_encoding=ENCODINGS
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({lineage.METADATA_KEY: json.dumps(jobs)})
    return sink.getvalue()


def shared_file(table: pa.Table, jobs: list[dict[str, object]]) -> pa.Buffer:
    """The same for the rows of several jobs, which are more: as large files are written."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=_columns_for_dictionary(table),
        column_encoding=ENCODINGS,
    ) as writer:
        writer.write_table(table, row_group_size=GROUP_ROWS)
        writer.add_key_value_metadata({lineage.METADATA_KEY: json.dumps(jobs)})
    return sink.getvalue()


def _columns_for_dictionary(table: pa.Table) -> list[str]:
    """Columns of few values. In small files compression alone makes less of both time and size,
    and columns of many values would build a dictionary only to give it up."""
    if table.num_rows < _SAMPLED_FROM:
        return []
    sample = table.slice(0, _SAMPLE)
    few = []
    for field in table.schema:
        kind = field.type
        if pa.types.is_primitive(kind) or pa.types.is_string(kind) or pa.types.is_binary(kind):
            column = sample.column(field.name)
            if field.name != lineage.ROW and len(column.unique()) <= _SAMPLE // 2:
                few.append(field.name)
    return few


def digest_of(paths: Iterable[str]) -> str:
    """The SHA-256 of the files' bytes, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def refuse_unsupported(columns: TargetSchema, where: str) -> None:
    """Raise JobError (DATA) for types that Parquet cannot hold or would give back as others."""
    reason = _unsupported(columns)
    if reason is not None:
        raise JobError(
            ErrorClass.DATA, f"The rows for {where} cannot be written as Parquet: {reason}"
        )


@lru_cache(maxsize=512)
def _unsupported(columns: TargetSchema) -> str | None:
    schema = with_lineage(columns)
    if all(field.type in _PLAIN for field in schema) or _survives(schema):
        return None
    for field in schema:
        problem = _survives_not(pa.schema([field]))
        if problem:
            return (
                f"column {field.name!r} is {field.type}, which {problem}. "
                "Publish it as another type, or as text."
            )
    return _survives_not(schema) or None


def _survives(schema: pa.Schema) -> bool:
    return not _survives_not(schema)


def _survives_not(schema: pa.Schema) -> str:
    """What is wrong with a trial of the schema on an empty file; empty if nothing is."""
    trial = io.BytesIO()
    try:
        pq.write_table(schema.empty_table(), trial)
        back = pq.read_schema(io.BytesIO(trial.getvalue()))
    except (pa.ArrowException, OSError) as error:
        return f"the format cannot hold ({error})"
    for there, here in zip(back, schema, strict=True):
        if canonical_type(there.type) != here.type:
            return f"would be read back as {there.type}"
    return ""
