"""What new code of a plugin would change: the rows that two codes make of the same files, compared.

Rows are compared as whole rows, whatever their order; a value counts by what it is, so 1 and 1.0
are the same, and a NaN is one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Row = Mapping[str, Any]
EXAMPLES = 3


class Made(NamedTuple):
    """What one code made of one version. `columns` are type names by topic and column; `error` is
    why the job failed, empty where it did not."""

    columns: Mapping[str, Mapping[str, str]]
    rows: Mapping[str, Sequence[Row]]
    rejects: int = 0
    error: str = ""


@dataclass(slots=True)
class TopicDifference:
    """One topic over all versions. `columns`: name to (type before, type now), None for none;
    `examples` are rows that only one of both makes, with `-` for before and `+` for now."""

    rows_before: int = 0
    rows_now: int = 0
    only_before: int = 0
    only_now: int = 0
    columns: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    examples: list[tuple[str, Row]] = field(default_factory=list)

    @property
    def same(self) -> bool:
        return not (self.only_before or self.only_now or self.columns)


def compare(before: Sequence[Made], now: Sequence[Made]) -> dict[str, TopicDifference]:
    """By topic; `before` and `now` are of the same versions, in the same order."""
    found: dict[str, TopicDifference] = {}
    for old, new in zip(before, now, strict=True):
        for topic in sorted(old.rows.keys() | new.rows.keys()):
            _compare_topic(found.setdefault(topic, TopicDifference()), topic, old, new)
    return found


def _compare_topic(difference: TopicDifference, topic: str, old: Made, new: Made) -> None:
    rows_before, rows_now = old.rows.get(topic, ()), new.rows.get(topic, ())
    difference.rows_before += len(rows_before)
    difference.rows_now += len(rows_now)
    if rows_before and rows_now:
        columns_before, columns_now = old.columns[topic], new.columns[topic]
        for name in columns_before.keys() | columns_now.keys():
            pair = columns_before.get(name), columns_now.get(name)
            if pair[0] != pair[1]:
                difference.columns.setdefault(name, pair)
    counts = Counter(_key(row) for row in rows_before)
    counts.subtract(_key(row) for row in rows_now)
    gone = _surplus(rows_before, counts, 1)
    added = _surplus(rows_now, counts, -1)
    difference.only_before += len(gone)
    difference.only_now += len(added)
    room = 2 * EXAMPLES - len(difference.examples)
    shown = [("-", row) for row in gone[:EXAMPLES]] + [("+", row) for row in added[:EXAMPLES]]
    difference.examples += shown[: max(0, room)]


def _surplus(rows: Sequence[Row], counts: Counter[Hashable], sign: int) -> list[Row]:
    left = {key: sign * n for key, n in counts.items() if sign * n > 0}
    found = []
    for row in rows:
        key = _key(row)
        if left.get(key, 0) > 0:
            left[key] -= 1
            found.append(row)
    return found


def _key(row: Row) -> Hashable:
    """A column without a value is as one that is not there."""
    return frozenset((name, _frozen(value)) for name, value in row.items() if value is not None)


def _frozen(value: Any) -> Hashable:
    if isinstance(value, float) and math.isnan(value):
        return "a NaN"
    if isinstance(value, list | tuple):
        return tuple(_frozen(one) for one in value)
    if isinstance(value, Mapping):
        return frozenset((name, _frozen(one)) for name, one in value.items())
    if isinstance(value, Hashable):
        return value
    return repr(value)
