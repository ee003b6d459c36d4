"""What an Arrow message says of its batch before it is read: rows, lengths, compression.

A few bytes can stand for very many: columns of nulls have rows without data, and a compressed
body may be ten thousand times as large as it came. Read first, they would take the engine's
memory; so the head, a flatbuffer, is looked at by itself.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from casparian.domain.wire import DEFAULT_LIMITS

# Fields of the flatbuffers' tables, by number: see Message.fbs and Schema.fbs of Apache Arrow.
_HEADER_TYPE, _HEADER = 1, 2
_LENGTH, _NODES, _COMPRESSION = 0, 1, 3
_DICTIONARY_DATA = 1
_RECORD_BATCH, _DICTIONARY_BATCH = 3, 2
_NODE = struct.Struct("<qq")


class BatchHead(NamedTuple):
    """`elements` is the length of the longest column, nested ones included."""

    rows: int
    elements: int
    compressed: bool


def problem_of(head: BatchHead, size: int) -> str | None:
    """Why a batch is not to be read that came as `size` bytes; None where it may be."""
    if head.compressed:
        return "its body is compressed"
    most = DEFAULT_LIMITS.rows
    if not 0 <= head.rows <= most:
        return f"it has {head.rows:,} rows, at most {most:,} can be sent at once"
    if head.elements > most + 8 * size:
        return f"a column has {head.elements:,} values in {size:,} bytes"
    return None


def batch_head(metadata: memoryview) -> BatchHead | None:
    """The head of a record batch or of a dictionary's; None for another kind of message.

    Raises ValueError for bytes that are no flatbuffer of a message.
    """
    try:
        message = _Table(metadata, struct.unpack_from("<I", metadata, 0)[0])
        kind = message.byte(_HEADER_TYPE)
        if kind not in (_RECORD_BATCH, _DICTIONARY_BATCH):
            return None
        batch = message.table(_HEADER)
        if kind == _DICTIONARY_BATCH and batch is not None:
            batch = batch.table(_DICTIONARY_DATA)
        if batch is None:
            raise ValueError("a message of a batch has none")
        # Values of a dictionary are no rows: they are bounded by their bytes.
        rows = batch.long(_LENGTH) if kind == _RECORD_BATCH else 0
        return BatchHead(rows, batch.longest_node(), batch.has(_COMPRESSION))
    except (struct.error, IndexError) as error:
        raise ValueError(f"a message's head cannot be read: {error}") from error


class _Table:
    """A table of a flatbuffer. Fields that are not there have their defaults."""

    def __init__(self, buffer: memoryview, at: int) -> None:
        self._buffer, self._at = buffer, at
        self._fields = at - struct.unpack_from("<i", buffer, at)[0]
        if self._fields < 0:
            raise ValueError("a table begins before its buffer")
        self._size = struct.unpack_from("<H", buffer, self._fields)[0]

    def _place(self, number: int) -> int | None:
        entry = 4 + 2 * number
        if entry + 2 > self._size:
            return None
        offset = struct.unpack_from("<H", self._buffer, self._fields + entry)[0]
        return self._at + offset if offset else None

    def has(self, number: int) -> bool:
        return self._place(number) is not None

    def byte(self, number: int) -> int:
        place = self._place(number)
        return 0 if place is None else self._buffer[place]

    def long(self, number: int) -> int:
        place = self._place(number)
        return 0 if place is None else int(struct.unpack_from("<q", self._buffer, place)[0])

    def table(self, number: int) -> _Table | None:
        place = self._place(number)
        if place is None:
            return None
        return _Table(self._buffer, place + struct.unpack_from("<I", self._buffer, place)[0])

    def longest_node(self) -> int:
        place = self._place(_NODES)
        if place is None:
            return 0
        place += struct.unpack_from("<I", self._buffer, place)[0]
        count = struct.unpack_from("<I", self._buffer, place)[0]
        end = place + 4 + _NODE.size * count
        if end > len(self._buffer):
            raise ValueError("a batch's columns end behind its head")
        nodes = self._buffer[place + 4 : end]
        return max((length for length, _ in _NODE.iter_unpack(nodes)), default=0)
