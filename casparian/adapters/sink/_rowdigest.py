"""A digest of rows that a SQL sink's target can be held against, at any later time.

Rows are taken in `_casparian_row` order, column by column as the target stores them:

    column  = SHA-256 of presence, SHA-256 of data
    presence: per row an int64, -1 for NULL, else the value's length in bytes
    data:     the values' bytes, one after the other, NULLs left out; numbers little-endian
    digest  = SHA-256 of the row count, then of (name, class, column) by name

A column without any value counts as absent, and integers of any width as 8 bytes: so a later
publication that widens the target changes no digest. docs/reference/types.md has the words.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_ABSENT = struct.pack("<q", -1)
_EIGHT = struct.pack("<q", 8)


class RowDigest:
    """Fed with batches of any size; the result depends on the rows alone."""

    def __init__(self) -> None:
        self._columns: dict[str, _ColumnDigest] = {}
        # Most columns of numbers have no NULL: their presence is one, and taken once for all.
        self._full = hashlib.sha256()
        self.rows = 0

    def update(self, columns: Mapping[str, pa.Array], rows: int) -> None:
        """`columns`: arrays of int64, uint64, double, string, binary or null, `rows` long."""
        for name, array in columns.items():
            if name not in self._columns:
                self._columns[name] = _ColumnDigest(self._full, self.rows)
            self._columns[name].update(array)
        for name in self._columns.keys() - columns.keys():
            self._columns[name].absent(rows)
        self._full.update(_EIGHT * rows)
        self.rows += rows

    def hexdigest(self) -> str:
        whole = hashlib.sha256(struct.pack("<q", self.rows))
        for name in sorted(self._columns):
            column = self._columns[name]
            if column.storage:
                encoded = name.encode("utf-8")
                whole.update(struct.pack("<q", len(encoded)) + encoded + column.storage)
                whole.update(column.presence.digest() + column.data.digest())
        return whole.hexdigest()


class _ColumnDigest:
    """`full`: the presence of columns in which every row so far had a number."""

    def __init__(self, full: Any, rows_before: int) -> None:
        self._full = full
        self._own: Any = None
        self.data = hashlib.sha256()
        self.storage = b""
        if rows_before:
            self._own = hashlib.sha256()
            self.absent(rows_before)

    @property
    def presence(self) -> Any:
        return self._full if self._own is None else self._own

    def _parted(self) -> Any:
        """The presence of this column alone, from here on."""
        if self._own is None:
            self._own = self._full.copy()
        return self._own

    def absent(self, rows: int) -> None:
        while rows > 0:
            self._parted().update(_ABSENT * min(rows, 65_536))
            rows -= 65_536

    def update(self, array: pa.Array) -> None:
        if array.null_count == len(array):
            self.absent(len(array))
            return
        kind = array.type
        valid = array.drop_null() if array.null_count else array
        if pa.types.is_string(kind) or pa.types.is_binary(kind):
            lengths = pc.binary_length(array).cast(pa.int64()).fill_null(-1)
            self.storage = b"text" if pa.types.is_string(kind) else b"blob"
            self.data.update(_characters(valid))
        else:
            lengths = None
            if array.null_count:
                lengths = pc.if_else(array.is_valid(), pa.scalar(8), pa.scalar(-1))
            self.storage = b"real" if pa.types.is_floating(kind) else b"int"
            # The target stores -0.0 as 0.0.
            self.data.update(_fixed(pc.add(valid, 0.0) if self.storage == b"real" else valid))
        if lengths is not None:
            self._parted().update(_fixed(lengths))
        elif self._own is not None:
            self._own.update(_EIGHT * len(array))


def _fixed(array: pa.Array) -> memoryview | bytes:
    """The bytes of an array of 8-byte values without nulls."""
    buffer = array.buffers()[1]
    return memoryview(buffer)[array.offset * 8 : (array.offset + len(array)) * 8]


def _characters(array: pa.Array) -> Any:
    """The bytes of a string or binary array without nulls."""
    _, offsets, data = array.buffers()
    (start,) = struct.unpack_from("<i", offsets, array.offset * 4)
    (stop,) = struct.unpack_from("<i", offsets, (array.offset + len(array)) * 4)
    return memoryview(data)[start:stop] if data is not None else b""
