"""What a scout knows of files from one pass to the next, beyond what the catalog does.

All of it may be forgotten: it only saves work, or lets a file settle sooner.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TypeVar

from casparian.domain.files import SECOND_NS, StatIdentity

REMEMBERED_FUTURES = 65_536
STALE_NS = 600 * SECOND_NS

K = TypeVar("K")
V = TypeVar("V")


def remember(table: OrderedDict[K, V], key: K, value: V, at_most: int) -> None:
    """Put an entry into a table that forgets its oldest beyond a size."""
    table[key] = value
    table.move_to_end(key)
    if len(table) > at_most:
        table.popitem(last=False)


class FutureStamps:
    """Since when each file with a timestamp in the future was met unchanged.

    REMEMBERED_FUTURES of them at a time. When there are more, the others wait for their turn:
    would they push out those that wait, none would ever have been met for long enough.
    """

    def __init__(self) -> None:
        self._since: OrderedDict[tuple[int, bytes], tuple[StatIdentity, int]] = OrderedDict()

    def unchanged_since_ns(
        self, key: tuple[int, bytes], identity: StatIdentity, now_ns: int
    ) -> int:
        known = self._since.get(key)
        if known is not None and known[0] == identity and known[1] <= now_ns:
            return known[1]
        self._since.pop(key, None)
        if len(self._since) >= REMEMBERED_FUTURES:
            self._drop_stale(now_ns)
        if len(self._since) < REMEMBERED_FUTURES:
            self._since[key] = (identity, now_ns)
        return now_ns

    def forget(self, key: tuple[int, bytes]) -> None:
        """The file is taken: its place is for another."""
        self._since.pop(key, None)

    def _drop_stale(self, now_ns: int) -> None:
        """The oldest, where it should have been taken long ago, or is of a clock since set back."""
        since = next(iter(self._since.values()))[1]
        if not 0 <= now_ns - since <= STALE_NS:
            self._since.popitem(last=False)


@dataclass(slots=True)
class ArchiveMemory:
    """Archives that were refused, with the reason, and those that were opened."""

    refused: OrderedDict[tuple[int, bytes], tuple[StatIdentity, str]] = field(
        default_factory=OrderedDict
    )
    opened: OrderedDict[tuple[int, bytes], None] = field(default_factory=OrderedDict)
