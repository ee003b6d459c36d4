"""One form per logical type: what differs only in layout is one type to every sink.

Strings, dictionaries of strings, views and large strings hold the same values, and a plugin
rarely chooses between them: its library does, sometimes per file. Held apart, they would be
schema drift. docs/reference/types.md lists the forms.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_TEXT = (pa.types.is_large_string, pa.types.is_string_view)
_BINARY = (pa.types.is_large_binary, pa.types.is_binary_view)
_LIST = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)


def canonical_type(kind: pa.DataType) -> pa.DataType:
    """The form in which sinks hold values of this type. Extension types stay as they are."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return canonical_type(kind.value_type)
    if any(test(kind) for test in _TEXT):
        return pa.string()
    if any(test(kind) for test in _BINARY):
        return pa.binary()
    if pa.types.is_date64(kind):
        return pa.date32()
    if kind == pa.time32("s"):
        return pa.time32("ms")
    if pa.types.is_timestamp(kind) and kind.unit == "s":
        return pa.timestamp("ms", kind.tz)
    return _canonical_nested(kind)


def _canonical_nested(kind: pa.DataType) -> pa.DataType:
    if any(test(kind) for test in _LIST):
        return pa.list_(_child(kind.value_field, "item"))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_child(kind.value_field, "item"), kind.list_size)
    if pa.types.is_map(kind):
        key = _child(kind.key_field, "key")
        return pa.map_(key, _child(kind.item_field, "value"), keys_sorted=kind.keys_sorted)
    if pa.types.is_struct(kind):
        return pa.struct([_child(field, field.name) for field in kind])
    return kind


def _child(field: pa.Field, name: str) -> pa.Field:
    return pa.field(name, canonical_type(field.type), field.nullable)


def has_fixed_lists_of_null(kind: pa.DataType) -> bool:
    """True where Arrow's own kernels make invalid arrays of this type: a list of a fixed size
    with the type null somewhere in it."""
    if pa.types.is_fixed_size_list(kind) and _has_null(kind.value_type):
        return True
    return any(has_fixed_lists_of_null(kind.field(i).type) for i in range(kind.num_fields))


def _has_null(kind: pa.DataType) -> bool:
    within = (kind.field(i).type for i in range(kind.num_fields))
    return bool(pa.types.is_null(kind)) or any(_has_null(child) for child in within)


def canonical_field(field: pa.Field) -> pa.Field:
    """The field in canonical form. Parquet's field ids belong to the file they came from."""
    kept = {k: v for k, v in (field.metadata or {}).items() if not k.startswith(b"PARQUET:")}
    return pa.field(field.name, canonical_type(field.type), field.nullable, kept or None)


def cast_array(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The same values as another type; raises pa.ArrowException for one that would change."""
    if pa.types.is_primitive(array.type) and pa.types.is_primitive(kind):
        return array.cast(kind, safe=True)
    if pa.types.is_null(array.type) and not pa.types.is_null(kind):
        return pa.nulls(len(array), kind)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    elif pa.types.is_run_end_encoded(array.type):
        array = compute().run_end_decode(array)
    if _holds_list_views(array.type):
        array = _without_list_views(array)
    # Types compare equal whatever their list items are called.
    if str(array.type) == str(kind):
        return array
    cast = array.cast(kind, safe=True)
    if kind.num_fields:
        # Arrow's own casts of nested types were seen to make arrays that are none.
        cast.validate(full=True)
    return cast


def _holds_list_views(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
        or any(_holds_list_views(kind.field(i).type) for i in range(kind.num_fields))
    )


def _without_list_views(array: pa.Array) -> pa.Array:
    """Lists for views of lists, which Arrow casts to wrong offsets where one of them is NULL."""
    kind, nulls = array.type, array.is_null()
    if pa.types.is_struct(kind):
        children = [_without_list_views(child) for child in array.flatten()]
        fields = [kind.field(i).with_type(child.type) for i, child in enumerate(children)]
        return pa.StructArray.from_arrays(children, fields=fields, mask=nulls)
    if any(test(kind) for test in _LIST) and _holds_list_views(kind):
        pc = compute()
        lengths = pc.fill_null(pc.list_value_length(array), 0).cast(pa.int64())
        ends = pc.cumulative_sum(lengths)
        offsets = pa.concat_arrays([pa.array([0], pa.int64()), ends])
        items = _without_list_views(array.flatten())
        return pa.LargeListArray.from_arrays(offsets, items, mask=nulls)
    return array


def compute() -> Any:
    """Arrow's functions on arrays: few files need any, and to load them takes a while."""
    import pyarrow.compute

    return pyarrow.compute
