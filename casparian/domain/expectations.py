"""Files that are to come by a time of the day.

A day begins at midnight in the expectation's own time zone, and what came before does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from casparian.domain.errors import ConfigurationError
from casparian.domain.files import path_text
from casparian.domain.routing import compile_glob

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Expectation:
    """A file whose path below its root matches `pattern` is to come on each of `days` (none: all)
    by `minute`, counted from midnight. `time_zone` is an IANA name, empty for the host's own."""

    pattern: str
    minute: int
    time_zone: str = ""
    days: frozenset[str] = frozenset()

    @property
    def by(self) -> str:
        return f"{self.minute // 60:02}:{self.minute % 60:02}"

    def wanted_on(self, weekday: int) -> bool:
        """`weekday` counts from 0 for Monday."""
        return not self.days or DAYS[weekday] in self.days


class Today(NamedTuple):
    """An expectation's day: when it began, when the file is due (microseconds since the epoch),
    and whether one is wanted on it at all."""

    began_us: int
    due_us: int
    wanted: bool


class Arrival(NamedTuple):
    """A version of the location `path` was first seen at `seen_at_us`."""

    path: bytes
    seen_at_us: int


class ExpectationState(StrEnum):
    """What became of an expectation today."""

    ARRIVED = "arrived"
    EXPECTED = "expected"
    MISSING = "missing"
    NOT_TODAY = "not today"


def state_of(today: Today, arrival: Arrival | None, now_us: int) -> ExpectationState:
    if arrival is not None:
        return ExpectationState.ARRIVED
    if not today.wanted:
        return ExpectationState.NOT_TODAY
    return ExpectationState.MISSING if now_us >= today.due_us else ExpectationState.EXPECTED


def first_arrivals(
    wanted: Sequence[tuple[Expectation, Today]], arrivals: Iterable[Arrival]
) -> list[Arrival | None]:
    """Of each expectation the earliest arrival of its day, None without one."""
    found: list[Arrival | None] = [None] * len(wanted)
    patterns = [compile_glob(expectation.pattern) for expectation, _ in wanted]
    for arrival in arrivals:
        text = path_text(arrival.path)
        for i, (_, today) in enumerate(wanted):
            known = found[i]
            until_us = known.seen_at_us if known is not None else arrival.seen_at_us + 1
            if today.began_us <= arrival.seen_at_us < until_us and patterns[i].fullmatch(text):
                found[i] = arrival
    return found


def minute_of(text: str) -> int:
    """Minutes since midnight of `HH:MM`. Raises ConfigurationError."""
    hours, colon, minutes = text.partition(":")
    digits = hours + minutes
    written = colon and len(hours) in (1, 2) and len(minutes) == 2
    if written and digits.isascii() and digits.isdigit():
        minute = int(hours) * 60 + int(minutes)
        if int(minutes) < 60 and 0 < minute < 24 * 60:
            return minute
    raise ConfigurationError(
        f"by = {text!r} is no time of the day: write it as 08:00, from 00:01 to 23:59."
    )
