"""Arrow values in the form in which rows are compared: numbers, text and bytes.

Two values are one in it just where a sink keeps the same of both. Floats go by their bits, so
that a NaN is equal to itself, and 0.0 differs from -0.0 where a target tells them apart.
"""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from casparian.adapters.sink._sql_staging import Forms
from casparian.adapters.sink._sqlite_values import objects


def plain_rows(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Rows as a target keeps them that gives all values back as they are."""
    return _batch(rows, [plain(array) for array in rows.columns])


def stored_rows(rows: pa.RecordBatch, forms: Forms, where: str) -> pa.RecordBatch:
    """Rows as a database keeps them. Raises JobError (DATA) for what it cannot hold."""
    forms.refuse_unsupported(rows.schema, where)
    arrays = []
    for name, array in zip(rows.schema.names, rows.columns, strict=True):
        kept = forms.digestible(array, forms.encode(array, name, where))
        if pa.types.is_floating(kept.type):
            kept = _bits(kept)
        arrays.append(kept)
    return _batch(rows, arrays)


def _batch(rows: pa.RecordBatch, arrays: list[pa.Array]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(arrays, names=rows.schema.names)


def plain(array: pa.Array) -> pa.Array:
    kind, t = array.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return plain(array.storage)
    if t.is_null(kind) or t.is_uint64(kind) or t.is_string(kind) or t.is_binary(kind):
        return array
    if kind.num_fields:
        return _texts(objects(array, _leaves))
    if t.is_floating(kind):
        return _bits(array.cast(pa.float64()))
    if t.is_decimal(kind):
        return array.cast(pa.string())
    if t.is_fixed_size_binary(kind):
        return array.cast(pa.binary())
    if t.is_date32(kind) or t.is_time32(kind):
        return array.cast(pa.int32()).cast(pa.int64())
    if (
        t.is_integer(kind)
        or t.is_boolean(kind)
        or (t.is_temporal(kind) and not t.is_interval(kind))
    ):
        return array.cast(pa.int64())
    return _texts(array.to_pylist())


def _leaves(array: pa.Array) -> list[Any]:
    return list(plain(array).to_pylist())


def _texts(values: list[Any]) -> pa.Array:
    return pa.array([None if value is None else repr(value) for value in values], pa.string())


def _bits(array: pa.Array) -> pa.Array:
    """Doubles as the integers that their bits are; every NaN is the same one."""
    return pc.if_else(pc.is_nan(array), pa.scalar(math.nan), array).view(pa.int64())
