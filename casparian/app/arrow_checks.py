"""What Arrow's own validation passes over, though its writers and casts read it: found by the fuzz.

A list or text of no values still has an offset, and that is read where a column is written.
"""

from __future__ import annotations

import struct

import pyarrow as pa

_NUMBERED = frozenset({pa.lib.Type_INTERVAL_MONTHS, pa.lib.Type_INTERVAL_DAY_TIME})


def check_fields(schema: pa.Schema) -> None:
    """Raises ValueError for what no array can be made of: a field, at any depth, of nothing but
    NULLs that has none, or of a type that is known by its number alone."""
    for field in schema:
        _check_field(field)


def _check_field(field: pa.Field) -> None:
    if pa.types.is_null(field.type) and not field.nullable:
        raise ValueError(f"the field {field.name!r} is null and not nullable")
    if field.type.id in _NUMBERED:
        raise ValueError(f"the field {field.name!r} is {field.type}, which nobody here can read")
    for n in range(field.type.num_fields):
        _check_field(field.type.field(n))


def check_nested(batch: pa.RecordBatch) -> None:
    """Raises ValueError for a column that holds others and is not what validation takes it for."""
    for column in batch.columns:
        if column.type.num_fields or pa.types.is_dictionary(column.type):
            _check(column)


def _check(array: pa.Array) -> None:
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        _check(array.storage)
    elif pa.types.is_dictionary(kind):
        _check(array.dictionary)
    elif pa.types.is_run_end_encoded(kind):
        _check(array.values)
    elif pa.types.is_struct(kind) or pa.types.is_union(kind):
        for n in range(kind.num_fields):
            _check(array.field(n))
    elif pa.types.is_map(kind):
        _check_offset(array, len(array.keys), "<i")
        _check(array.keys)
        _check(array.items)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        _check_offset(array, len(array.values), "<i" if pa.types.is_list(kind) else "<q")
        _check(array.values)
    elif kind.num_fields:  # Lists of a fixed size, views of lists.
        _check(array.values)
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        _check_offset(array, _data_size(array), "<i")
    elif pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        _check_offset(array, _data_size(array), "<q")


def _data_size(array: pa.Array) -> int:
    data = array.buffers()[2]
    return 0 if data is None else int(data.size)


def _check_offset(array: pa.Array, most: int, form: str) -> None:
    """The first offset of an array without values; those of others are validated."""
    offsets = array.buffers()[1]
    if len(array) or offsets is None:
        return
    size = struct.calcsize(form)
    if offsets.size < (array.offset + 1) * size:
        raise ValueError(f"an empty {array.type} has no offset")
    (first,) = struct.unpack_from(form, offsets, array.offset * size)
    if not 0 <= first <= most:
        raise ValueError(f"an empty {array.type} begins at {first} of {most}")
