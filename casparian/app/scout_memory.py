"""What a scout knows of files from one pass to the next, beyond what the catalog does.

All of it may be forgotten: it only saves work, or lets a file settle sooner.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TypeVar

from casparian.domain.files import StatIdentity

REMEMBERED_FUTURES = 10_000

K = TypeVar("K")
V = TypeVar("V")


def remember(table: OrderedDict[K, V], key: K, value: V, at_most: int) -> None:
    """Put an entry into a table that forgets its oldest beyond a size."""
    table[key] = value
    table.move_to_end(key)
    if len(table) > at_most:
        table.popitem(last=False)


class FutureStamps:
    """Since when each file with a timestamp in the future was met unchanged; the latest
    REMEMBERED_FUTURES of them."""

    def __init__(self) -> None:
        self._since: OrderedDict[tuple[int, bytes], tuple[StatIdentity, int]] = OrderedDict()

    def unchanged_since_ns(
        self, key: tuple[int, bytes], identity: StatIdentity, now_ns: int
    ) -> int:
        known = self._since.get(key)
        if known is not None and known[0] == identity and known[1] <= now_ns:
            return known[1]
        remember(self._since, key, (identity, now_ns), REMEMBERED_FUTURES)
        return now_ns


@dataclass(slots=True)
class ArchiveMemory:
    """Archives that were refused, with the reason, and those that were opened."""

    refused: OrderedDict[tuple[int, bytes], tuple[StatIdentity, str]] = field(
        default_factory=OrderedDict
    )
    opened: OrderedDict[tuple[int, bytes], None] = field(default_factory=OrderedDict)
