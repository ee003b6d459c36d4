"""Arrow values as SQLite stores them, and back: the mapping of docs/reference/types.md.

Every Arrow type has one stored form, so that a column can be read without looking at its
values. What SQLite would change on the way (NaN, say) is refused.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from casparian.adapters.sink._refusals import Refused, check_range, told

INTEGER, REAL, TEXT, BLOB, ANY = "INTEGER", "REAL", "TEXT", "BLOB", ""
_STORED = {INTEGER: pa.int64(), REAL: pa.float64(), TEXT: pa.string(), BLOB: pa.binary()}
_DAY_UNITS = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
_UNSORTED = ", which has no ISO 8601 form that sorts"
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31


def declared(kind: pa.DataType) -> str | None:
    """The declared type (and so the affinity) of a column of this type; None: unsupported."""
    t = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return declared(kind.storage_type)
    if t.is_null(kind):
        return ANY
    if t.is_uint64(kind):
        return TEXT
    if t.is_integer(kind) or t.is_boolean(kind) or t.is_duration(kind):
        return INTEGER
    if t.is_floating(kind):
        return REAL
    if t.is_binary(kind) or t.is_fixed_size_binary(kind):
        return BLOB
    if t.is_string(kind) or t.is_decimal(kind) or t.is_date32(kind):
        return TEXT
    if t.is_time(kind) or t.is_timestamp(kind):
        return TEXT
    return TEXT if _is_nested(kind) and _nests_supported(kind) else None


def _is_nested(kind: pa.DataType) -> bool:
    t = pa.types
    return t.is_list(kind) or t.is_fixed_size_list(kind) or t.is_struct(kind) or t.is_map(kind)


def _nests_supported(kind: pa.DataType) -> bool:
    children = [kind.field(i) for i in range(kind.num_fields)]
    names = [child.name for child in children]
    if pa.types.is_struct(kind) and len(set(names)) != len(names):
        return False
    return all(declared(child.type) is not None for child in children)


def stored_type(kind: pa.DataType) -> pa.DataType:
    """The Arrow type of `encode`'s result."""
    return _STORED.get(declared(kind) or ANY, pa.null())


def encode(array: pa.Array, column: str, where: str) -> pa.Array:
    """The array as int64, double, string, binary or null, ready to be bound.

    Raises JobError (DATA) for a value that SQLite cannot give back.
    """
    with told(array.type, column, where):
        return _encode(array)


def _encode(array: pa.Array) -> pa.Array:
    kind, t = array.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _encode(array.storage)
    if t.is_null(kind):
        return array
    if _is_nested(kind):
        return _encode_nested(array)
    if t.is_floating(kind):
        wide = array.cast(pa.float64())
        at = pc.index(pc.is_nan(wide), pa.scalar(True)).as_py()
        if at >= 0:
            raise Refused(f"holds NaN (the first in row {at} of its batch), which becomes NULL")
        return wide
    if t.is_date32(kind):
        check_range(
            array.cast(pa.int32()), _FIRST_DAY, _LAST_DAY, f"a date outside 0001 to 9999{_UNSORTED}"
        )
        return array.cast(pa.string())
    if t.is_time(kind):
        counts = array.cast(pa.int32() if t.is_time32(kind) else pa.int64())
        check_range(counts, 0, _DAY_UNITS[kind.unit] - 1, f"a time outside of the day{_UNSORTED}")
        return array.cast(pa.string())
    if t.is_timestamp(kind):
        return _encode_timestamp(array)
    if t.is_fixed_size_binary(kind):
        return array.cast(pa.binary())
    stored = stored_type(kind)
    return array if kind == stored else array.cast(stored)


def _encode_timestamp(array: pa.Array) -> pa.Array:
    kind, counts = array.type, array.cast(pa.int64())
    if kind.unit != "ns":  # 64 bits of nanoseconds stay within the years 1677 to 2262.
        day = _DAY_UNITS[kind.unit]
        check_range(
            counts,
            _FIRST_DAY * day,
            (_LAST_DAY + 1) * day - 1,
            f"a time outside 0001 to 9999{_UNSORTED}",
        )
    text = pc.binary_replace_slice(
        counts.cast(pa.timestamp(kind.unit)).cast(pa.string()), start=10, stop=11, replacement="T"
    )
    return text if kind.tz is None else pc.binary_join_element_wise(text, "Z", "")


def _encode_nested(array: pa.Array) -> pa.Array:
    try:
        texts = [
            None if value is None
            else json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            for value in _objects(array)
        ]  # fmt: skip
    except ValueError as error:
        raise Refused("holds a NaN or an infinity, which JSON has no word for") from error
    return pa.array(texts, pa.string())


def _objects(array: pa.Array) -> list[Any]:
    """The values as JSON has them: structs as objects, lists as arrays, maps as pairs."""
    return objects(array, _leaves)


def objects(array: pa.Array, leaves: Callable[[pa.Array], list[Any]]) -> list[Any]:
    """The same, with what `leaves` makes of the values that nest nothing."""
    kind, t = array.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return objects(array.storage, leaves)
    if t.is_struct(kind):
        names = [kind.field(i).name for i in range(kind.num_fields)]
        columns = [objects(child, leaves) for child in array.flatten()]
        rows = zip(*columns, strict=True) if columns else [()] * len(array)
        valid = array.is_valid().to_pylist()
        return [
            dict(zip(names, row, strict=True)) if is_valid else None
            for is_valid, row in zip(valid, rows, strict=True)
        ]
    if t.is_map(kind):
        pairs = array.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
        return [
            None if row is None else [[pair["key"], pair["value"]] for pair in row]
            for row in objects(pairs, leaves)
        ]
    if _is_nested(kind):
        items, at, rows_ = objects(array.flatten(), leaves), 0, []
        for length in pc.list_value_length(array).to_pylist():
            rows_.append(None if length is None else items[at : at + length])
            at += length or 0
        return rows_
    return leaves(array)


def _leaves(array: pa.Array) -> list[Any]:
    kind, t = array.type, pa.types
    if t.is_boolean(kind):
        return list(array.to_pylist())
    if t.is_binary(kind) or t.is_fixed_size_binary(kind):
        return [None if v is None else base64.b64encode(v).decode() for v in array.to_pylist()]
    if t.is_floating(kind):
        # As in a column of its own, -0.0 is the equal 0.0.
        array = pc.add(array.cast(pa.float64()), 0.0)
    return list(_encode(array).to_pylist())


# --- and back ---------------------------------------------------------------------------


def decode(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Values as read from a column of this Arrow type, as an array of it."""
    if _is_nested(kind):
        objects = [None if v is None else json.loads(v) for v in values]
        return _from_objects(objects, kind)
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, decode(values, kind.storage_type))
    return _decode_flat(pa.array(values, stored_type(kind)), kind)


def _decode_flat(stored: pa.Array, kind: pa.DataType) -> pa.Array:
    t = pa.types
    if t.is_time(kind):
        moments = pc.binary_join_element_wise("1970-01-01T", stored, "")
        counts = moments.cast(pa.timestamp(kind.unit)).cast(pa.int64())
        return (counts.cast(pa.int32()) if t.is_time32(kind) else counts).cast(kind)
    if t.is_timestamp(kind):
        naive = pc.utf8_rtrim(stored, characters="Z")
        if kind.unit == "ns":
            return _nanoseconds(naive).cast(kind)
        return naive.cast(pa.timestamp(kind.unit)).cast(pa.int64()).cast(kind)
    return stored.cast(kind)


def _nanoseconds(naive: pa.Array) -> pa.Array:
    """Nanoseconds since 1970. Arrow refuses the first part of a second that it can hold, since
    the beginning of that second is out of range; a sum that wraps around comes out right."""
    seconds = pc.utf8_slice_codeunits(naive, 0, 19).cast(pa.timestamp("s")).cast(pa.int64())
    fractions = pc.utf8_slice_codeunits(naive, 20).cast(pa.int64())
    return pc.add(pc.multiply(seconds, 1_000_000_000), fractions)


def _from_objects(values: list[Any], kind: pa.DataType) -> pa.Array:
    t = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, _from_objects(values, kind.storage_type))
    if t.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        children = [
            _from_objects([None if v is None else v[f.name] for v in values], f.type)
            for f in fields
        ]
        mask = pa.array([v is None for v in values], pa.bool_())
        return pa.StructArray.from_arrays(children, fields=fields, mask=mask)
    if t.is_fixed_size_list(kind):
        padded = [
            item for v in values for item in (v if v is not None else [None] * kind.list_size)
        ]
        mask = pa.array([v is None for v in values], pa.bool_())
        items = _from_objects(padded, kind.value_type)
        return pa.FixedSizeListArray.from_arrays(items, type=kind, mask=mask)
    if t.is_list(kind) or t.is_map(kind):
        return _lists_from_objects(values, kind)
    if t.is_binary(kind) or t.is_fixed_size_binary(kind):
        blobs = [None if v is None else base64.b64decode(v) for v in values]
        return pa.array(blobs, kind)
    if t.is_null(kind) or t.is_boolean(kind):
        return pa.array(values, kind)
    if t.is_floating(kind):
        # A database may write 1e16 as an integer, which Arrow takes for no float.
        values = [None if v is None else float(v) for v in values]
    return _decode_flat(pa.array(values, stored_type(kind)), kind)


def _lists_from_objects(values: list[Any], kind: pa.DataType) -> pa.Array:
    starts: list[int | None] = []
    items: list[Any] = []
    for value in values:
        starts.append(None if value is None else len(items))
        items.extend(value or ())
    starts.append(len(items))
    offsets = pa.array(starts, pa.int32())
    if pa.types.is_map(kind):
        keys = _from_objects([k for k, _ in items], kind.key_type)
        return pa.MapArray.from_arrays(
            offsets, keys, _from_objects([v for _, v in items], kind.item_type), type=kind
        )
    return pa.ListArray.from_arrays(offsets, _from_objects(items, kind.value_type), type=kind)
