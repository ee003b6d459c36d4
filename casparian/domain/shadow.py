"""What new code of a plugin would change: rows that are published, and those that it makes now.

Rows are compared as whole rows, whatever their order, in the form in which their target keeps them.
Which two rows are one and the same row, changed, is a guess, and only for showing them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

EXAMPLES = 5
"""How many differing rows are shown of one topic."""
CANDIDATES = 20
"""Among how many differing rows of each side those to be shown are looked for."""

LONGEST = 80
"""Characters of a value that are shown."""


class FileCase(StrEnum):
    """What a shadow run could say of one file version."""

    COMPARED = "compared"
    UNPUBLISHED = "unpublished"
    """Nothing of this version is published, so that all that the new code makes is new."""
    FAILED = "failed"
    """The new code fails on it: what is published would stay as it is."""
    UNCOMPARED = "uncompared"
    """What is published of it could not be read, or not be told from something else."""


class SampleRow(NamedTuple):
    """A row that only one side has. `keys` are its values as the target keeps them, without those
    that are NULL; `shown` are the same as text."""

    number: int | None
    keys: Mapping[str, Hashable]
    shown: Mapping[str, str]


class ValueChange(NamedTuple):
    """`before` and `now` are as text; None is NULL, or no such column."""

    column: str
    before: str | None
    now: str | None


class RowChange(NamedTuple):
    """A row that was published as number `row_before` and is now made as `row_now`, with what
    differs; None for a row that only one side has, with all columns that have a value."""

    row_before: int | None
    row_now: int | None
    values: tuple[ValueChange, ...]


@dataclass(slots=True)
class RowsCompared:
    """The rows of one file version and topic. `gone` and `new` are the first few of those that
    only one side has; `valued`: the columns in which some published row has a value; `reasons_*`:
    of rejects, how many have which reason."""

    rows_before: int = 0
    rows_now: int = 0
    only_before: int = 0
    only_now: int = 0
    gone: Sequence[SampleRow] = ()
    new: Sequence[SampleRow] = ()
    valued: frozenset[str] = frozenset()
    reasons_before: Mapping[str, int] = field(default_factory=dict)
    reasons_now: Mapping[str, int] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        return not (self.only_before or self.only_now)


@dataclass(slots=True)
class TopicDifference:
    """One topic over all files. `columns`: name to (type in the target, type by the new code),
    None for none; `examples`: each with the number of its file among the samples; `reasons`, of
    the topic of rejects: how many had that reason, and have it now."""

    target: str
    rows_before: int = 0
    rows_now: int = 0
    only_before: int = 0
    only_now: int = 0
    columns: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    reasons: dict[str, tuple[int, int]] = field(default_factory=dict)
    examples: list[tuple[int, RowChange]] = field(default_factory=list)

    @property
    def same(self) -> bool:
        return not (self.only_before or self.only_now or self.columns)

    def add(self, file: int, found: RowsCompared) -> None:
        self.rows_before += found.rows_before
        self.rows_now += found.rows_now
        self.only_before += found.only_before
        self.only_now += found.only_now
        for reason in {**found.reasons_before, **found.reasons_now}:
            before, now = self.reasons.get(reason, (0, 0))
            before += found.reasons_before.get(reason, 0)
            self.reasons[reason] = before, now + found.reasons_now.get(reason, 0)
        room = EXAMPLES - len(self.examples)
        self.examples += [(file, change) for change in pair(found.gone, found.new)[:room]]


@dataclass(slots=True)
class FileFinding:
    """What was found of one file version. `reason` says why it was not compared, or what else is to
    be known of it; `altered` are targets in which somebody has changed its rows since."""

    case: FileCase
    reason: str = ""
    rows_before: int = 0
    rows_now: int = 0
    rejects_before: int = 0
    rejects_now: int = 0
    same: bool = True
    altered: list[str] = field(default_factory=list)


def pair(gone: Sequence[SampleRow], new: Sequence[SampleRow]) -> list[RowChange]:
    """The rows that differ, those first that both sides have in some way: with the same number, or
    the same value in half of the columns. The likest find each other first."""
    ranked = sorted(
        (-alike, _distance(old, now), i, j)
        for i, old in enumerate(gone)
        for j, now in enumerate(new)
        for alike, of in (_alike(old, now),)
        if 2 * alike >= of or (old.number == now.number and old.number is not None)
    )
    old_left, new_left = dict(enumerate(gone)), dict(enumerate(new))
    paired: list[tuple[int, RowChange]] = []
    for _, _, i, j in ranked:
        if i in old_left and j in new_left:
            paired.append((i, _changed(old_left.pop(i), new_left.pop(j))))
    changes = [change for _, change in sorted(paired, key=lambda one: one[0])]
    changes += [_one_sided(row, gone=True) for row in old_left.values()]
    changes += [_one_sided(row, gone=False) for row in new_left.values()]
    return changes


def _alike(old: SampleRow, now: SampleRow) -> tuple[int, int]:
    """In how many columns both have the same value, and how many have one in either."""
    same = sum(1 for name, key in old.keys.items() if now.keys.get(name) == key)
    return same, max(1, len(old.keys.keys() | now.keys.keys()))


def _distance(old: SampleRow, now: SampleRow) -> int:
    return abs((old.number or 0) - (now.number or 0))


def _changed(old: SampleRow, now: SampleRow) -> RowChange:
    names = [*old.keys, *(name for name in now.keys if name not in old.keys)]
    values = (
        ValueChange(name, *_clipped(old.shown.get(name), now.shown.get(name)))
        for name in names
        if old.keys.get(name) != now.keys.get(name)
    )
    return RowChange(old.number, now.number, tuple(values))


def _clipped(old: str | None, now: str | None) -> tuple[str | None, str | None]:
    """Two texts, each at most so long as people read, from shortly before they part."""
    start = 0
    if old is not None and now is not None and max(len(old), len(now)) > LONGEST:
        parts = (i for i, (a, b) in enumerate(zip(old, now, strict=False)) if a != b)
        start = max(0, next(parts, min(len(old), len(now))) - LONGEST // 4)
    return _clip(old, start), _clip(now, start)


def _clip(text: str | None, start: int = 0) -> str | None:
    if text is None or len(text) <= LONGEST:
        return text
    end = start + LONGEST
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"


def _one_sided(row: SampleRow, *, gone: bool) -> RowChange:
    values = tuple(
        ValueChange(name, _clip(text), None) if gone else ValueChange(name, None, _clip(text))
        for name, text in row.shown.items()
    )
    return RowChange(row.number, None, values) if gone else RowChange(None, row.number, values)
