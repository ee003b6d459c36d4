"""Whatever a plugin publishes, as a schema and a stream of Arrow record batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from casparian.domain.wire import DEFAULT_LIMITS
from casparian.sdk.sizes import expands, written_out

ROWS_PER_CHUNK = 10_000
_SIMPLE = frozenset(
    kind.id
    for kind in (
        *(pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64()),
        *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float16(), pa.float32(), pa.float64(), pa.decimal128(1), pa.decimal256(1)),
        *(pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.null()),
        *(pa.date32(), pa.date64(), pa.time32("s"), pa.time64("us"), pa.timestamp("us")),
    )
)
"""Types that hold neither views nor dictionaries, nor any other type: most of all."""


def record_batches(data: Any) -> Iterator[tuple[pa.Schema, pa.RecordBatch | None]]:
    """Yield (schema, batch) for each batch; (schema, None) once where there are no batches.

    Views of text come as text: a slice of them would carry all that any row of the whole
    refers to, however small it is.
    The schema may change from batch to batch only for iterables of dicts, whose types are
    inferred chunk by chunk. Raises TypeError for what cannot be published.
    """
    if isinstance(data, pa.RecordBatch):
        yield from _stream(data.schema, [data])
    elif isinstance(data, pa.Table):
        yield from _stream(data.schema, data.to_batches())
    elif isinstance(data, pa.RecordBatchReader):
        yield from _stream(data.schema, data)
    elif _is_pandas(data):
        table = pa.Table.from_pandas(data).replace_schema_metadata(None)
        yield from _stream(table.schema, table.to_batches())
    elif hasattr(data, "__arrow_c_stream__"):
        reader = pa.RecordBatchReader.from_stream(data)
        yield from _stream(reader.schema, reader)
    elif isinstance(data, Iterable) and not isinstance(data, (str, bytes, Mapping)):
        yield from _from_dicts(data)
    else:
        raise TypeError(
            f"publish() cannot take a {type(data).__name__}: give it a pyarrow Table, "
            "RecordBatch or RecordBatchReader, an object with __arrow_c_stream__, "
            "a pandas DataFrame, or an iterable of dicts"
        )


def _stream(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> Iterator[tuple[pa.Schema, pa.RecordBatch | None]]:
    empty = True
    plain = _without_views(schema)
    for batch in batches:
        empty = False
        yield plain, batch if plain is schema else batch.cast(plain)
    if empty:
        yield plain, None


def _without_views(schema: pa.Schema) -> pa.Schema:
    """The same object where there are no views of text or bytes in it."""
    if all(kind.id in _SIMPLE for kind in schema.types):
        return schema
    fields = [field.with_type(_plain(field.type)) for field in schema]
    plain = pa.schema(fields, schema.metadata)
    return schema if plain.equals(schema, check_metadata=True) else plain


def _plain(kind: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_string_view(kind):
        return pa.large_string()
    if types.is_binary_view(kind):
        return pa.large_binary()
    if types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    if types.is_map(kind):
        return pa.map_(_plain(kind.key_type), _plain(kind.item_type), kind.keys_sorted)
    if types.is_fixed_size_list(kind):
        return pa.list_(_plain_items(kind), kind.list_size)
    if types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _plain(kind.value_type), kind.ordered)
    if types.is_list_view(kind) and _plain(kind.value_type) != kind.value_type:
        return pa.list_(_plain_items(kind))
    if types.is_large_list_view(kind) and _plain(kind.value_type) != kind.value_type:
        return pa.large_list(_plain_items(kind))
    if types.is_large_list(kind):
        return pa.large_list(_plain_items(kind))
    if types.is_list(kind):
        return pa.list_(_plain_items(kind))
    return kind


def _plain_items(kind: pa.DataType) -> pa.Field:
    return kind.value_field.with_type(_plain(kind.value_type))


def _is_pandas(data: Any) -> bool:
    kind = type(data)
    return kind.__name__ == "DataFrame" and kind.__module__.split(".")[0] == "pandas"


def _from_dicts(rows: Iterable[Any]) -> Iterator[tuple[pa.Schema, pa.RecordBatch | None]]:
    iterator = iter(rows)
    number = 0
    while chunk := list(itertools.islice(iterator, ROWS_PER_CHUNK)):
        # Every key of every row is a column: taking the first row's alone would lose values.
        names: dict[str, None] = {}
        for row in chunk:
            if not isinstance(row, Mapping):
                raise TypeError(f"row {number} is a {type(row).__name__}, a dict was expected")
            for name in row:
                if not isinstance(name, str):
                    raise TypeError(f"row {number} has the key {name!r}; column names are text")
                names[name] = None
            number += 1
        arrays = []
        for name in names:
            try:
                arrays.append(pa.array([row.get(name) for row in chunk]))
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
                first = number - len(chunk)
                raise TypeError(
                    f"column {name!r} of rows {first} to {number - 1} has no one type: {error}"
                ) from error
        if not arrays:
            # A batch of no columns knows its rows only by what it was taken from.
            batch = pa.RecordBatch.from_arrays([pa.nulls(len(chunk))], names=[""]).select([])
        else:
            batch = pa.RecordBatch.from_arrays(arrays, names=list(names))
        yield batch.schema, batch


def split(batch: pa.RecordBatch, most_bytes: int) -> Iterator[pa.RecordBatch]:
    """The batch in slices of about `most_bytes` bytes of data each, at least one row, and of as
    many rows, and bytes where they are written out, as a message may have."""
    rows = batch.num_rows
    most_rows = DEFAULT_LIMITS.rows
    if rows > 1 and expands(batch.schema) and written_out(batch) > DEFAULT_LIMITS.written_out:
        most_rows = min(most_rows, (rows + 1) // 2)
    if rows > most_rows:
        for start in range(0, rows, most_rows):
            yield from split(batch.slice(start, most_rows), most_bytes)
        return
    # The first says it at once of most batches that are small; columns may share their buffers.
    little = batch.get_total_buffer_size() * batch.num_columns <= most_bytes
    if little or rows <= 1 or batch.nbytes <= most_bytes:
        yield batch
        return
    # What is sent, which nbytes does not tell where rows share what they refer to.
    size = pa.ipc.get_record_batch_size(batch)
    step = min(rows, max(1, rows * most_bytes // size))
    for start in range(0, rows, step):
        part = batch.slice(start, step)
        # Rows differ in size: a slice may still be too large.
        if part.nbytes > most_bytes and part.num_rows > 1 and step < rows:
            yield from split(part, most_bytes)
        else:
            yield part


def has_dictionaries(schema: pa.Schema) -> bool:
    """True when a batch cannot be read from its schema alone."""
    return any(kind.id not in _SIMPLE and _has_dictionary(kind) for kind in schema.types)


def _has_dictionary(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return True
    if isinstance(kind, pa.BaseExtensionType):
        return _has_dictionary(kind.storage_type)
    return any(_has_dictionary(kind.field(i).type) for i in range(kind.num_fields))
