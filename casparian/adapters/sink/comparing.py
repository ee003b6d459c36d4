"""Two streams of rows held against each other, as one target keeps them.

Both are walked side by side in small portions. Portions that are equal are done with; of the
others the digests of the rows are put aside, and matched whatever their order is. A second walk
fetches the first rows that have no like on the other side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from casparian.adapters.sink._plain import plain
from casparian.adapters.sink._schema import reshape, with_lineage
from casparian.adapters.sink._sqlite_values import objects
from casparian.adapters.sink._unlike import Unlike
from casparian.domain import lineage
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.readback import ReadableSink
from casparian.domain.schemas import TargetSchema
from casparian.domain.shadow import CANDIDATES, RowsCompared, SampleRow

PORTION = 4_096
Stream = Callable[[], Iterator[pa.RecordBatch]]
_Key = tuple[int, bytes]
"""A row's place in its portion, and what it is told from others by."""


def nothing() -> Iterator[pa.RecordBatch]:
    """The stream of what is not there."""
    return iter(())


@dataclass(slots=True)
class _Side:
    """A portion of one stream: rows in the columns to compare, and as the target keeps them."""

    rows: pa.RecordBatch
    kept: pa.RecordBatch

    def slice(self, start: int, length: int | None = None) -> _Side:
        return _Side(self.rows.slice(start, length), self.kept.slice(start, length))

    def keys(self) -> list[bytes]:
        columns = [column.to_pylist() for column in self.kept.columns]
        rows = zip(*columns, strict=True) if columns else [()] * self.rows.num_rows
        return [hashlib.blake2b(repr(row).encode(), digest_size=16).digest() for row in rows]


class Comparison:
    """Rows of one target's columns, held against each other in all but those `apart`. Raises
    JobError (FOREIGN_ROWS) while it reads rows that are not of these columns, and whatever the
    streams raise."""

    def __init__(
        self,
        sink: ReadableSink,
        columns: TargetSchema,
        where: str,
        apart: Collection[str] = (),
    ) -> None:
        self._sink = sink
        self._schema = with_lineage(columns)
        self._names = [column.name for column in columns.columns if column.name not in apart]
        self._where = where

    def compare(self, before: Stream, now: Stream) -> RowsCompared:
        found = RowsCompared()
        valued: set[str] = set()
        with Unlike() as unlike:
            for old, new in self._walk(before, now):
                keys = _unlike(old, new)
                unlike.add(0, ((found.rows_before + at, key) for at, key in keys[0]))
                unlike.add(1, ((found.rows_now + at, key) for at, key in keys[1]))
                if old is not None:
                    found.rows_before += old.rows.num_rows
                    valued |= _valued(old.rows)
                if new is not None:
                    found.rows_now += new.rows.num_rows
            gone, fresh = unlike.surplus(CANDIDATES)
        found.valued = frozenset(valued)
        found.only_before, found.only_now = gone.rows, fresh.rows
        found.gone = self._samples(before, gone.first)
        found.new = self._samples(now, fresh.first)
        return found

    def _samples(self, stream: Stream, places: Sequence[int]) -> list[SampleRow]:
        samples: list[SampleRow] = []
        if places:
            first = 0
            for side in self._sides(stream()):
                due = [p for p in places if first <= p < first + side.rows.num_rows]
                samples += [_sample(side, place - first) for place in due]
                first += side.rows.num_rows
                if len(samples) == len(places):
                    break
        return samples

    def _walk(self, before: Stream, now: Stream) -> Iterator[tuple[_Side | None, _Side | None]]:
        """Portions of both streams, of the same length as long as both have rows."""
        streams = self._sides(before()), self._sides(now())
        old, new = next(streams[0], None), next(streams[1], None)
        while old is not None or new is not None:
            sides = [side for side in (old, new) if side is not None]
            length = min(side.rows.num_rows for side in sides)
            yield old and old.slice(0, length), new and new.slice(0, length)
            old, new = _rest(old, length, streams[0]), _rest(new, length, streams[1])

    def _sides(self, batches: Iterator[pa.RecordBatch]) -> Iterator[_Side]:
        for batch in batches:
            for start in range(0, batch.num_rows, PORTION):
                rows = self._in_columns(batch.slice(start, PORTION))
                kept = self._sink.plain(rows, self._where)
                yield _Side(rows, kept.select(self._names))

    def _in_columns(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        strange = sorted(set(batch.schema.names) - set(self._schema.names))
        lost = sorted(set(lineage.COLUMNS) - set(batch.schema.names))
        if strange or lost:
            what = f"the columns {strange} that" if strange else f"not the columns {lost} that"
            raise self._changed(f"they have {what} were {'not ' if strange else ''}published")
        try:
            return reshape(batch, self._schema, self._where)
        except JobError as error:
            raise self._changed(error.message) from error

    def _changed(self, how: str) -> JobError:
        return JobError(
            ErrorClass.FOREIGN_ROWS,
            f"The rows in {self._where} are not as they were published: {how.rstrip('.')}. "
            "Somebody changed them.",
        )


def _rest(side: _Side | None, length: int, stream: Iterator[_Side]) -> _Side | None:
    if side is None or side.rows.num_rows == length:
        return next(stream, None)
    return side.slice(length)


def _unlike(old: _Side | None, new: _Side | None) -> tuple[list[_Key], list[_Key]]:
    """The rows of both sides that are not the same at the same place."""
    if old is not None and new is not None:
        if old.kept.equals(new.kept):
            return [], []
        pairs = enumerate(zip(old.keys(), new.keys(), strict=True))
        unlike = [(at, one, other) for at, (one, other) in pairs if one != other]
        return [(at, one) for at, one, _ in unlike], [(at, other) for at, _, other in unlike]
    return _all_keys(old), _all_keys(new)


def _all_keys(side: _Side | None) -> list[_Key]:
    return list(enumerate(side.keys())) if side is not None else []


def _valued(rows: pa.RecordBatch) -> set[str]:
    named = zip(rows.schema.names, rows.columns, strict=True)
    return {name for name, column in named if column.null_count < rows.num_rows}


def _sample(side: _Side, at: int) -> SampleRow:
    row, kept = side.rows.slice(at, 1), side.kept.slice(at, 1)
    keys: dict[str, Hashable] = {}
    shown: dict[str, str] = {}
    for name in kept.schema.names:
        key = kept[name][0].as_py()
        if key is not None:
            keys[name] = key
            shown[name] = _shown(row[name])
    return SampleRow(row[lineage.ROW][0].as_py(), keys, shown)


def _shown(value: pa.Array) -> str:
    """An array of one value that is not NULL, as text for people."""
    kind, t = value.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _shown(value.storage)
    if kind.num_fields:
        return repr(objects(value, _readable)[0])
    readable = _readable(value)[0]
    as_it_is = t.is_temporal(kind) or t.is_decimal(kind)
    return str(readable) if as_it_is else repr(readable)


def _readable(values: pa.Array) -> list[Any]:
    kind, t = values.type, pa.types
    if t.is_duration(kind):
        return [None if v is None else f"{v} {kind.unit}" for v in plain(values).to_pylist()]
    if t.is_temporal(kind) and not t.is_interval(kind):
        # Arrow's own text: Python's types end before nanoseconds, and at the year 9999.
        values = values.cast(pa.string())
    return list(values.to_pylist())


def reasons(batches: Iterator[pa.RecordBatch]) -> dict[str, int]:
    """How many rejects have which reason."""
    counted: dict[str, int] = {}
    for batch in batches:
        values: Any = batch["reason"].value_counts()
        for one in values.to_pylist():
            counted[one["values"]] = counted.get(one["values"], 0) + one["counts"]
    return counted
