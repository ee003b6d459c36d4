"""Arrow values as SQL Server stores them: the mapping of docs/reference/types.md.

Numbers, bytes and text go as they are; all else goes as the text that the SQLite sink has for it
and is cast by the server to its own type, which no driver has a say in.
"""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from casparian.adapters.sink import _sqlite_values as text_values
from casparian.adapters.sink._refusals import Refused, refuse_nul, told
from casparian.domain.errors import ErrorClass, JobError

MOST_COLUMNS = 1_024
MOST_NAME = 128
MOST_DIGITS = 38
_SMALLEST = {pa.float32(): 2.0**-126, pa.float64(): 2.0**-1022}
_INTEGERS = {
    pa.int8(): "smallint",
    pa.uint8(): "smallint",
    pa.int16(): "smallint",
    pa.uint16(): "int",
    pa.int32(): "int",
    pa.uint32(): "bigint",
    pa.int64(): "bigint",
    pa.uint64(): "decimal(20,0)",
}
MOST_ROW_BYTES = 8_060
"""Without text and bytes, for which there is room elsewhere."""
_WIDTHS = {
    "smallint": 2, "int": 4, "bigint": 8, "real": 4, "float(53)": 8, "date": 3, "time(6)": 5,
    "datetime2(6)": 8, "datetimeoffset(6)": 10,
}  # fmt: skip
_DECIMAL_WIDTHS = ((9, 5), (19, 9), (28, 13), (MOST_DIGITS, 17))
NO_TYPE = "nvarchar(max)"
"""Of a column that has no values yet."""


def declared(kind: pa.DataType) -> str | None:
    """The type of a column; None: unsupported."""
    t = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return declared(kind.storage_type)
    if kind in _INTEGERS:
        return _INTEGERS[kind]
    if t.is_boolean(kind):
        return "bit"
    if t.is_floating(kind):
        return "float(53)" if t.is_float64(kind) else "real"
    if t.is_decimal(kind):
        fits = kind.precision <= MOST_DIGITS and 0 <= kind.scale <= kind.precision
        return f"decimal({kind.precision},{kind.scale})" if fits else None
    if t.is_null(kind):
        return NO_TYPE
    if t.is_binary(kind) or t.is_fixed_size_binary(kind):
        return "varbinary(max)"
    if t.is_date32(kind):
        return "date"
    if t.is_time(kind):
        return "time(6)"
    if t.is_timestamp(kind):
        return "datetime2(6)" if kind.tz is None else "datetimeoffset(6)"
    if t.is_duration(kind):
        return "bigint"
    if t.is_string(kind) or (kind.num_fields and text_values.declared(kind) is not None):
        return "nvarchar(max)"
    return None


def is_cast(declared_type: str) -> bool:
    """Whether values of such a column go as text."""
    return declared_type.startswith(("decimal", "date", "time"))


def encode(array: pa.Array, column: str, where: str) -> pa.Array:
    """The array as int64, double, string, binary or null. Raises JobError (DATA) for a value
    that SQL Server could not give back."""
    with told(array.type, column, where):
        return _encode(array, column, where)


def _encode(array: pa.Array, column: str, where: str) -> pa.Array:
    kind, t = array.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _encode(array.storage, column, where)
    if t.is_floating(kind):
        _refuse_unusual(array)
    if (t.is_timestamp(kind) or t.is_time64(kind)) and kind.unit == "ns":
        array = _in_microseconds(array)
    encoded = text_values.encode(array, column, where)
    if t.is_timestamp(kind) and kind.tz is not None:
        return pc.replace_substring(encoded, "Z", "+00:00")
    if t.is_decimal(kind):
        return _without_exponents(encoded)
    if t.is_string(encoded.type):
        refuse_nul(encoded, "at which many of SQL Server's tools end a text")
    return encoded


def _in_microseconds(array: pa.Array) -> pa.Array:
    kind = array.type
    micro = pa.time64("us") if pa.types.is_time(kind) else pa.timestamp("us", kind.tz)
    try:
        return array.cast(micro)
    except pa.ArrowInvalid as error:
        raise Refused(
            "holds nanoseconds, and the columns of this sink end at microseconds"
        ) from error


def _without_exponents(numbers: pa.Array) -> pa.Array:
    """Arrow writes 0E-10 for 0.0000000000, which SQL Server does not take for a decimal."""
    if not pc.any(pc.match_substring(numbers, "E")).as_py():
        return numbers
    texts = [None if text is None else format(Decimal(text), "f") for text in numbers.to_pylist()]
    return pa.array(texts, pa.string())


def _refuse_unusual(array: pa.Array) -> None:
    """SQL Server's numbers end before infinity, and before those with fewer digits near 0."""
    wide = array.cast(pa.float64())
    smallest = _SMALLEST.get(array.type, 0.0)
    size = pc.abs(wide)
    odd = pc.or_(
        pc.invert(pc.is_finite(wide)),
        pc.and_(pc.greater(size, 0.0), pc.less(size, smallest)),
    )
    at = pc.index(odd, pa.scalar(True)).as_py()
    if at >= 0:
        raise Refused(
            f"holds {wide[at].as_py()} (the first such in row {at} of its batch), which SQL "
            "Server's float cannot"
        )


def digestible(array: pa.Array, stored: pa.Array) -> pa.Array:
    """The values as the digest takes them; `stored` is what `encode` made of `array`."""
    if pa.types.is_floating(stored.type):
        return pc.add(stored, 0.0)  # The digest knows no -0.0.
    return array if pa.types.is_uint64(array.type) else stored


def refuse_unsupported(schema: pa.Schema, where: str) -> None:
    """Raise JobError (DATA) for columns that SQL Server could not hold or keep apart."""
    problem = _unsupported(schema)
    if problem:
        raise JobError(ErrorClass.DATA, f"The rows for {where} do not fit SQL Server: {problem}")


def _unsupported(schema: pa.Schema) -> str | None:
    if len(schema) > MOST_COLUMNS:
        return (
            f"they have {len(schema)} columns with those for lineage, and a table has at most "
            f"{MOST_COLUMNS}. Publish a narrower table, or use a Parquet sink."
        )
    seen: dict[str, str] = {}
    for field in schema:
        if not field.name.strip() or field.name != field.name.strip() or "\0" in field.name:
            return f"{field.name!r} cannot be a column's name. Rename it."
        if len(field.name.encode("utf-16-le")) > 2 * MOST_NAME:
            return f"the column {field.name!r} has a name of more than {MOST_NAME} characters."
        other = seen.setdefault(field.name.casefold(), field.name)
        if other != field.name:
            return (
                f"the columns {other!r} and {field.name!r} differ in case only, which SQL Server "
                "takes for one. Rename one of them."
            )
        if declared(field.type) is None:
            return (
                f"column {field.name!r} is {field.type}, which has no stored form. "
                "Publish it as another type, or as text."
            )
    return _too_wide(schema)


def _too_wide(schema: pa.Schema) -> str | None:
    bits = sum(1 + _bits(field.type) for field in schema)  # One tells whether there is a value.
    if bits <= 8 * MOST_ROW_BYTES:
        return None
    return (
        f"numbers and times of a row take {bits // 8} bytes, and SQL Server has room for "
        f"{MOST_ROW_BYTES}. Publish a narrower table, or use a Parquet sink."
    )


def _bits(kind: pa.DataType) -> int:
    """The room of a value in its row, where it is of fixed size."""
    name = declared(kind) or ""
    if name.startswith("decimal"):
        digits = int(name[len("decimal(") :].partition(",")[0])
        return 8 * next(width for most, width in _DECIMAL_WIDTHS if digits <= most)
    return 1 if name == "bit" else 8 * _WIDTHS.get(name, 0)


def python_type(kind: pa.DataType) -> type:
    """Of the values of `encode`'s result, as Python has them."""
    stored = text_values.stored_type(kind)
    if pa.types.is_integer(stored):
        return int
    if pa.types.is_floating(stored):
        return float
    return bytes if pa.types.is_binary(stored) else str
