"""Rows in the binary form of PostgreSQL's COPY: compiled (_copy_rows.pyx) where possible, the same
in Python where not.

    stream = SIGNATURE, rows, TRAILER
    row    = int16 number of fields, fields
    field  = int32 length, bytes; length -1 for NULL; all numbers big-endian

`encode_rows(columns)` gives the rows of arrays of equal length, in the types that
`_postgresql_values.stored_type` names. CASPARIAN_PURE=1 in the environment asks for the Python
twin.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from decimal import Decimal
from importlib import import_module
from struct import Struct
from typing import Any

import pyarrow as pa

from casparian.adapters.sink._postgresql_values import DAYS_TO_2000, US_TO_2000

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
PIECE_ROWS = 1_024
"""So few that the server works on some while the next ones are encoded."""
_NULL = b"\xff\xff\xff\xff"
_COUNT, _LENGTH = Struct(">h"), Struct(">i")
_INTERVAL = Struct(">iqii")
_NUMERIC = Struct(">hhhh")
_NEGATIVE = 0x4000
_NUMBERS = {
    pa.bool_(): Struct(">i?"),
    pa.int16(): Struct(">ih"),
    pa.int32(): Struct(">ii"),
    pa.int64(): Struct(">iq"),
    pa.float32(): Struct(">if"),
    pa.float64(): Struct(">id"),
}


def copied(columns: Sequence[pa.Array], rows: int) -> Iterator[bytes]:
    """The rows in pieces, without signature and trailer."""
    ready = [_without_wide_decimals(column) for column in columns]
    for start in range(0, rows, PIECE_ROWS):
        yield encode_rows([column.slice(start, PIECE_ROWS) for column in ready])


def _without_wide_decimals(column: pa.Array) -> pa.Array:
    """Decimals that no machine has integers for, as the bytes of their fields."""
    kind = column.type
    if not pa.types.is_decimal(kind) or (kind.bit_width == 128 and kind.scale >= 0):
        return column
    fields = [None if v is None else numeric(v, kind.scale) for v in column.to_pylist()]
    return pa.array(fields, pa.binary())


def encode_in_python(columns: Sequence[pa.Array]) -> bytes:
    count = _COUNT.pack(len(columns))
    fields = [_fields(column) for column in columns]
    return b"".join(count + b"".join(row) for row in zip(*fields, strict=True))


def _fields(column: pa.Array) -> Iterator[bytes]:
    write = _writer(column.type)
    return (_NULL if value is None else write(value) for value in _values(column).to_pylist())


def _values(column: pa.Array) -> pa.Array:
    """Moments as the numbers that they are kept as."""
    kind, t = column.type, pa.types
    if t.is_date32(kind):
        return column.cast(pa.int32())
    moment = t.is_timestamp(kind) or t.is_time(kind) or t.is_duration(kind)
    return column.cast(pa.int64()) if moment else column


def _writer(kind: pa.DataType) -> Callable[[Any], bytes]:
    t = pa.types
    if kind in _NUMBERS:
        number = _NUMBERS[kind]
        return lambda value: number.pack(number.size - 4, value)
    if t.is_string(kind):
        return lambda value: _sized(value.encode())
    if t.is_binary(kind):
        return lambda value: _sized(value)
    if t.is_date32(kind):
        return lambda days: _NUMBERS[pa.int32()].pack(4, days - DAYS_TO_2000)
    if t.is_timestamp(kind):
        return lambda us: _NUMBERS[pa.int64()].pack(8, us - US_TO_2000)
    if t.is_time(kind):
        return lambda us: _NUMBERS[pa.int64()].pack(8, us)
    if t.is_duration(kind):
        return lambda us: _INTERVAL.pack(16, us, 0, 0)
    if t.is_decimal(kind):
        return lambda value: _sized(numeric(value, kind.scale))
    raise TypeError(f"{kind} has no binary form for COPY")


def _sized(value: bytes) -> bytes:
    return _LENGTH.pack(len(value)) + value


def numeric(value: Decimal, scale: int) -> bytes:
    """Groups of four decimal digits, of which one ends at the decimal point."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    whole = int("".join(map(str, digits))) * 10 ** max(0, exponent)
    behind = max(0, -exponent)
    text = str(whole * 10 ** (-behind % 4))
    text = text.zfill(-(-len(text) // 4) * 4)
    groups = [int(text[at : at + 4]) for at in range(0, len(text), 4)]
    weight = len(groups) - 1 - -(-behind // 4)
    head = _NUMERIC.pack(len(groups), weight, _NEGATIVE if sign else 0, max(0, scale))
    return head + b"".join(map(_COUNT.pack, groups))


EncodeRows = Callable[[Sequence[pa.Array]], bytes]


def _twin() -> EncodeRows:
    if os.environ.get("CASPARIAN_PURE", "") in {"", "0"}:
        # `casparian check` says that nothing was compiled: slower, but no less right.
        with suppress(ImportError):
            found: EncodeRows = import_module("casparian.adapters.sink._copy_rows").encode_rows
            return found
    return encode_in_python


encode_rows = _twin()
