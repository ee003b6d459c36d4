"""Which expected files have come today: for `casparian status`, the log and the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from casparian.adapters.queue.common import iso
from casparian.app.settings import Settings
from casparian.domain.errors import ConfigurationError
from casparian.domain.expectations import (
    Arrival,
    Expectation,
    Today,
    first_arrivals,
    minute_of,
    state_of,
)
from casparian.domain.files import path_text
from casparian.domain.ports import Reports
from casparian.domain.routing import compile_glob

if TYPE_CHECKING:
    from casparian.domain.documents.status import ExpectedDocument

SECOND_US = 1_000_000


def expectations_of(settings: Settings) -> tuple[Expectation, ...]:
    """Raises ConfigurationError for a pattern, a time or a time zone that is none."""
    found = []
    for index, section in enumerate(settings.expect):
        try:
            compile_glob(section.pattern)
            minute = minute_of(section.by)
            _zone(section.time_zone)
        except ConfigurationError as error:
            raise ConfigurationError(f"{settings.place('expect', index)}: {error}") from error
        found.append(
            Expectation(section.pattern, minute, section.time_zone, frozenset(section.days))
        )
    return tuple(found)


def today_of(expectation: Expectation, now_us: int) -> Today:
    """The day that `now_us` lies in, by the expectation's own clock."""
    zone = _zone(expectation.time_zone)
    date = datetime.fromtimestamp(now_us / SECOND_US, zone).date()
    # Without a zone a time is the host's own, with its changes to and from summer time.
    midnight = datetime.combine(date, time(), zone)
    due = midnight + timedelta(minutes=expectation.minute)
    wanted = expectation.wanted_on(date.weekday())
    return Today(_microseconds(midnight), _microseconds(due), wanted)


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp() * SECOND_US)


def _zone(name: str) -> ZoneInfo | None:
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:  # a KeyError is one that is not there
        raise ConfigurationError(
            f"There is no time zone {name!r} on this host: write it as Europe/Berlin or UTC."
        ) from error


def documents(
    expectations: Sequence[Expectation], reports: Reports, now_us: int
) -> list[ExpectedDocument]:
    """One for each expectation, as `casparian status --json` has it."""
    if not expectations:
        return []
    wanted = [(one, today_of(one, now_us)) for one in expectations]
    since_us = min(today.began_us for _, today in wanted)
    arrivals = (Arrival(*arrival) for arrival in reports.arrived_since(since_us))
    found = first_arrivals(wanted, arrivals)
    return [
        _document(one, today, arrival, now_us)
        for (one, today), arrival in zip(wanted, found, strict=True)
    ]


def _document(
    expectation: Expectation, today: Today, arrival: Arrival | None, now_us: int
) -> ExpectedDocument:
    return {
        "pattern": expectation.pattern,
        "by": expectation.by,
        "time_zone": expectation.time_zone or None,
        "days": sorted(expectation.days) or None,
        "state": str(state_of(today, arrival, now_us)),
        "due_at": iso(today.due_us),
        "path": path_text(arrival.path) if arrival else None,
        "arrived_at": iso(arrival.seen_at_us) if arrival else None,
        "late": arrival is not None and arrival.seen_at_us > today.due_us,
    }
