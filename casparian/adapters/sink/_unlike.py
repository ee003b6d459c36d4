"""Which rows of two sides have no like on the other, by digests of the rows, in bounded memory.

Digests are dealt out to parts by their first byte, so that the like of a row is in the same part.
A part that grows goes to a file without a name, and one part at a time is counted.
"""

from __future__ import annotations

import contextlib
import heapq
import struct
from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile
from typing import Any, NamedTuple

PARTS = 64
PART_BYTES = 256 * 1024
"""Of each part and side, until it goes to a file."""
_RECORD = struct.Struct("<16sq")


class Surplus(NamedTuple):
    """Rows of one side without a like: how many, and the places of the first few, ascending."""

    rows: int
    first: list[int]


class Unlike:
    """A context, at whose end nothing is left of it. Rows are added by their places, ascending."""

    def __init__(self) -> None:
        self._parts: dict[tuple[int, int], Any] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Unlike:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, side: int, rows: Iterable[tuple[int, bytes]]) -> None:
        """`side` 0 or 1; each row by its place and its digest of 16 bytes."""
        dealt: dict[int, list[bytes]] = {}
        for place, digest in rows:
            dealt.setdefault(digest[0] % PARTS, []).append(_RECORD.pack(digest, place))
        for part, records in dealt.items():
            self._file(side, part).write(b"".join(records))

    def _file(self, side: int, part: int) -> Any:
        file = self._parts.get((side, part))
        if file is None:
            file = self._stack.enter_context(_new_part())
            self._parts[side, part] = file
        return file

    def surplus(self, few: int) -> tuple[Surplus, Surplus]:
        rows = [0, 0]
        first: list[list[int]] = [[], []]
        for part in range(PARTS):
            for side, places in enumerate(self._left(part)):
                rows[side] += len(places)
                first[side] = heapq.nsmallest(few, (*first[side], *places))
        return Surplus(rows[0], first[0]), Surplus(rows[1], first[1])

    def _left(self, part: int) -> tuple[list[int], list[int]]:
        """The places of the rows of one part that have no like."""
        counts: dict[bytes, int] = {}
        for side, step in ((0, 1), (1, -1)):
            for digest, _ in self._records(side, part):
                counts[digest] = counts.get(digest, 0) + step
        left: tuple[list[int], list[int]] = ([], [])
        for side, step in ((0, 1), (1, -1)):
            for digest, place in self._records(side, part):
                if counts[digest] * step > 0:
                    counts[digest] -= step
                    left[side].append(place)
        return left

    def _records(self, side: int, part: int) -> Iterator[tuple[bytes, int]]:
        file = self._parts.get((side, part))
        if file is None:
            return
        file.seek(0)
        while block := file.read(_RECORD.size * 4_096):
            yield from _RECORD.iter_unpack(block)


def _new_part() -> SpooledTemporaryFile[bytes]:
    return SpooledTemporaryFile(PART_BYTES)
