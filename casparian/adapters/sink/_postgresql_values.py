"""Arrow values as PostgreSQL stores them: the mapping of docs/reference/types.md.

Every Arrow type has one stored form. The driver's COPY writes what it is given without a word
where PostgreSQL's type is smaller (nanoseconds, uint64), so all is made to fit, or refused, here.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from casparian.adapters.sink import _sqlite_values as json_values
from casparian.adapters.sink._refusals import Refused, check_range, refuse_nul, told
from casparian.domain.errors import ErrorClass, JobError

MOST_COLUMNS = 1_600
MOST_NAME = 63
UINT64_FORM = pa.decimal128(20, 0)
JSON_VERSION = b"\x01"
"""Before the text of a jsonb value, in the binary form of COPY."""
DAYS_TO_2000 = 10_957
"""Since 1970; PostgreSQL counts from 2000 on."""
US_TO_2000 = DAYS_TO_2000 * 86_400_000_000
_JSONB = pa.binary()
_SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
_NO_NUL = "which no text of PostgreSQL can"
_DAY_US = 86_400_000_000
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31
_INTEGERS = {
    pa.int8(): ("smallint", pa.int16()),
    pa.int16(): ("smallint", pa.int16()),
    pa.int32(): ("integer", pa.int32()),
    pa.int64(): ("bigint", pa.int64()),
    pa.uint8(): ("smallint", pa.int16()),
    pa.uint16(): ("integer", pa.int32()),
    pa.uint32(): ("bigint", pa.int64()),
    pa.uint64(): ("numeric(20,0)", UINT64_FORM),
}


def declared(kind: pa.DataType) -> str | None:
    """The type of a column; None: unsupported."""
    t = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return declared(kind.storage_type)
    if kind in _INTEGERS:
        return _INTEGERS[kind][0]
    if t.is_boolean(kind):
        return "boolean"
    if t.is_floating(kind):
        return "double precision" if t.is_float64(kind) else "real"
    if t.is_decimal(kind):
        exact = 0 <= kind.scale <= kind.precision
        return f"numeric({kind.precision},{kind.scale})" if exact else "numeric"
    if t.is_string(kind) or t.is_null(kind):
        return "text"
    if t.is_binary(kind) or t.is_fixed_size_binary(kind):
        return "bytea"
    if t.is_date32(kind):
        return "date"
    if t.is_time(kind):
        return "time"
    if t.is_timestamp(kind):
        return "timestamp" if kind.tz is None else "timestamptz"
    if t.is_duration(kind):
        return "interval"
    return "jsonb" if kind.num_fields and json_values.declared(kind) is not None else None


def stored_type(kind: pa.DataType) -> pa.DataType:
    """The Arrow type of `encode`'s result."""
    t = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return stored_type(kind.storage_type)
    if kind in _INTEGERS:
        return _INTEGERS[kind][1]
    if t.is_float16(kind):
        return pa.float32()
    if t.is_decimal(kind):
        wide = kind.precision > 38
        make = pa.decimal256 if wide else pa.decimal128
        return make(kind.precision, kind.scale)
    if t.is_null(kind):
        return pa.string()
    if t.is_fixed_size_binary(kind):
        return pa.binary()
    if t.is_time(kind):
        return pa.time64("us")
    if t.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if t.is_duration(kind):
        return pa.duration("us")
    return _JSONB if declared(kind) == "jsonb" else kind


def encode(array: pa.Array, column: str, where: str) -> pa.Array:
    """The array in its stored form. Raises JobError (DATA) for a value that PostgreSQL could
    not give back."""
    with told(array.type, column, where):
        return _encode(array, column, where)


def _encode(array: pa.Array, column: str, where: str) -> pa.Array:
    kind, t = array.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _encode(array.storage, column, where)
    stored = stored_type(kind)
    if t.is_string(kind):
        refuse_nul(array, _NO_NUL)
        return array
    if declared(kind) == "jsonb":
        return _jsonb(json_values.encode(array, column, where))
    if t.is_date32(kind):
        check_range(array.cast(pa.int32()), _FIRST_DAY, _LAST_DAY, "a date outside 0001 to 9999")
        return array
    if kind == stored:
        encoded = array
    elif t.is_timestamp(kind) or t.is_time(kind) or t.is_duration(kind):
        encoded = _in_microseconds(array, stored)
    else:
        return array.cast(stored)
    if t.is_time(kind):
        check_range(encoded.cast(pa.int64()), 0, _DAY_US - 1, "a time outside of the day")
    elif t.is_timestamp(kind):
        first, end = _FIRST_DAY * _DAY_US, (_LAST_DAY + 1) * _DAY_US
        check_range(encoded.cast(pa.int64()), first, end - 1, "a time outside 0001 to 9999")
    return encoded


def _in_microseconds(array: pa.Array, stored: pa.DataType) -> pa.Array:
    try:
        return array.cast(stored)
    except pa.ArrowInvalid as error:
        if array.type.unit == "ns":
            raise Refused(
                "holds nanoseconds, and PostgreSQL's types end at microseconds"
            ) from error
        raise Refused("holds more than 64 bits of microseconds can say") from error


def _jsonb(texts: pa.Array) -> pa.Array:
    values = texts.to_pylist()
    for text in values:
        if text is not None and "\\u0000" in text and _has_nul(json.loads(text)):
            raise Refused(f"holds a NUL character, {_NO_NUL}")
    return pa.array(
        [None if text is None else JSON_VERSION + text.encode() for text in values], _JSONB
    )


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(map(_has_nul, value))


# --- what is digested -------------------------------------------------------------------


def digestible(array: pa.Array, stored: pa.Array) -> pa.Array:
    """The values as the digest takes them: int64, uint64, double, string or binary.

    `array` is what was published, `stored` what `encode` made of it.
    """
    kind, form, t = array.type, stored.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return digestible(array.storage, stored)
    if t.is_null(kind):
        return array
    if t.is_uint64(kind) or t.is_string(form):
        return array
    if t.is_integer(form) or t.is_boolean(form):
        return stored.cast(pa.int64())
    if t.is_floating(form):
        return stored.cast(pa.float64())
    if t.is_decimal(form):
        return stored.cast(pa.string())
    if t.is_date32(form):
        return stored.cast(pa.int32()).cast(pa.int64())
    if t.is_timestamp(form) or t.is_time(form) or t.is_duration(form):
        return stored.cast(pa.int64())
    if declared(kind) == "jsonb":
        texts = [None if v is None else v[len(JSON_VERSION) :].decode() for v in stored.to_pylist()]
        return pa.array(texts, pa.string())
    return stored


def refuse_unsupported(schema: pa.Schema, where: str) -> None:
    """Raise JobError (DATA) for columns that PostgreSQL could not hold or keep apart."""
    problem = _unsupported(schema)
    if problem:
        raise JobError(ErrorClass.DATA, f"The rows for {where} do not fit PostgreSQL: {problem}")


def _unsupported(schema: pa.Schema) -> str | None:
    if len(schema) > MOST_COLUMNS:
        return (
            f"they have {len(schema)} columns with those for lineage, and a table has at most "
            f"{MOST_COLUMNS}. Publish a narrower table, or use a Parquet sink."
        )
    for field in schema:
        if not field.name or "\0" in field.name or field.name in _SYSTEM_COLUMNS:
            return f"{field.name!r} cannot be a column's name. Rename it."
        if len(field.name.encode()) > MOST_NAME:
            return (
                f"the column {field.name!r} has a name of {len(field.name.encode())} bytes, and "
                f"PostgreSQL cuts names at {MOST_NAME}. Rename it."
            )
        if declared(field.type) is None:
            return (
                f"column {field.name!r} is {field.type}, which has no stored form. "
                "Publish it as another type, or as text."
            )
    return None


def widest_row(schema: pa.Schema) -> int:
    """How many bytes of a page a row of these columns can come to need, long values moved out."""
    pointer, word, header = 24, 16, 32
    variable = (pa.types.is_string, pa.types.is_binary, pa.types.is_decimal)
    widths = (
        pointer if any(test(stored_type(field.type)) for test in variable) else word
        for field in schema
    )
    return sum(widths) + header + len(schema) // 8
