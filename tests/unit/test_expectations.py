"""Files that are to come by a time: whose day it is, what counts, and who is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from casparian import Settings
from casparian.adapters.queue import open_memory, open_sqlite, reports
from casparian.app.expectation_watch import ExpectationWatch
from casparian.app.expectations import documents, expectations_of, today_of
from casparian.domain.errors import ConfigurationError
from casparian.domain.expectations import (
    Arrival,
    Expectation,
    ExpectationState,
    Today,
    first_arrivals,
    minute_of,
    state_of,
)
from casparian.testing.world import VirtualClock, World

BERLIN = "Europe/Berlin"
EIGHT = 8 * 60


def at(text: str) -> int:
    """Microseconds since the epoch of a time, UTC where it names no other."""
    moment = datetime.fromisoformat(text)
    return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1_000_000)


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    clock = VirtualClock()
    clock.now_us = at("2026-03-02T05:00:00")
    path = str(tmp_path / "queue.sqlite3")
    stores = open_memory(clock) if request.param == "memory" else open_sqlite(path, clock)
    world = World(stores, clock)
    world.apply()
    yield world
    stores.close()


# --- days ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "began", "due"),
    [
        ("2026-03-02T05:00", "2026-03-02T00:00+01:00", "2026-03-02T08:00+01:00"),
        ("2026-03-01T23:30", "2026-03-02T00:00+01:00", "2026-03-02T08:00+01:00"),
        ("2026-03-02T22:59", "2026-03-02T00:00+01:00", "2026-03-02T08:00+01:00"),
        # Summer time begins and ends: midnight by the old time, eight by the new one.
        ("2026-03-29T10:00", "2026-03-29T00:00+01:00", "2026-03-29T08:00+02:00"),
        ("2026-10-25T10:00", "2026-10-25T00:00+02:00", "2026-10-25T08:00+01:00"),
    ],
)
def test_a_day_is_that_of_its_time_zone(now: str, began: str, due: str) -> None:
    today = today_of(Expectation("*", EIGHT, BERLIN), at(now))
    assert today == Today(at(began), at(due), True)


def test_without_a_zone_the_hosts_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        today = today_of(Expectation("*", EIGHT), at("2026-03-02T03:00"))
        assert today == Today(at("2026-03-01T00:00-05:00"), at("2026-03-01T08:00-05:00"), True)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_only_on_its_days() -> None:
    workdays = Expectation("*", EIGHT, "UTC", frozenset({"mon", "tue", "wed", "thu", "fri"}))
    assert today_of(workdays, at("2026-03-02T12:00")).wanted
    sunday = today_of(workdays, at("2026-03-01T12:00"))
    assert state_of(sunday, None, at("2026-03-01T12:00")) is ExpectationState.NOT_TODAY


@pytest.mark.parametrize(("text", "minute"), [("08:00", 480), ("8:05", 485), ("23:59", 1439)])
def test_times(text: str, minute: int) -> None:
    assert minute_of(text) == minute


@pytest.mark.parametrize("text", ["", "8", "24:00", "00:00", "12:60", "08:0", "-1:00", "²:00"])
def test_no_times(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no time of the day"):
        minute_of(text)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ({"by": "8 o'clock"}, "no time of the day"),
        ({"pattern": "[x"}, "without its"),
        ({"time_zone": "Europe/Atlantis"}, "no time zone 'Europe/Atlantis'"),
        ({"time_zone": "../etc/passwd"}, "no time zone"),
    ],
)
def test_expectations_that_cannot_be_used(tmp_path: Path, key: dict[str, str], said: str) -> None:
    document = {"expect": [{"pattern": "*", "by": "08:00", **key}]}
    with pytest.raises(ConfigurationError) as error:
        expectations_of(Settings.of(document, tmp_path))
    assert said in str(error.value)
    assert "expect" in str(error.value)


# --- what counts ----------------------------------------------------------------------------


def test_the_first_of_today_that_matches() -> None:
    today = Today(100, 200, True)
    wanted = [(Expectation("*.csv", 1), today), (Expectation("d/**", 1), today)]
    arrivals = [Arrival(b"b.csv", 150), Arrival(b"a.csv", 120), Arrival(b"a.csv", 99)]
    assert first_arrivals(wanted, arrivals) == [Arrival(b"a.csv", 120), None]


@pytest.mark.parametrize(
    ("arrival", "now", "state"),
    [
        (None, 199, ExpectationState.EXPECTED),
        (None, 200, ExpectationState.MISSING),
        (Arrival(b"a", 150), 300, ExpectationState.ARRIVED),
        (Arrival(b"a", 250), 300, ExpectationState.ARRIVED),
    ],
)
def test_states(arrival: Arrival | None, now: int, state: ExpectationState) -> None:
    assert state_of(Today(100, 200, True), arrival, now) is state


def test_versions_of_before_are_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "ARRIVALS_PAGE", 2)
    for number in range(5):
        world.record((b"old-%d" % number, "x"))
        world.clock.advance(1)
    since = world.clock()
    for number in range(5):
        world.record((b"new-%d" % number, "x"))
        world.clock.advance(1)
    found = sorted(path for path, _ in world.stores.reports.arrived_since(since))
    assert found == [b"new-%d" % number for number in range(5)]
    assert list(world.stores.reports.arrived_since(world.clock())) == []


def test_a_new_version_of_a_known_file_counts_and_a_deleted_file_too(world: World) -> None:
    expected = [Expectation("*.csv", EIGHT, "UTC")]
    world.record((b"a.csv", "yesterday's"))
    world.clock.advance(24 * 3600)
    assert [d["state"] for d in documents(expected, world.stores.reports, world.clock())] == [
        "expected"
    ]
    world.record((b"a.csv", "today's"))
    (location,) = world.stores.catalog.locations(world.root.id)
    for _ in range(2):
        world.stores.catalog.missed([location.id])
    (document,) = documents(expected, world.stores.reports, world.clock())
    assert (document["state"], document["path"], document["late"]) == ("arrived", "a.csv", False)
    assert document["arrived_at"] == "2026-03-03T05:00:00.000000Z"
    assert document["due_at"] == "2026-03-03T08:00:00.000000Z"


# --- who is told ----------------------------------------------------------------------------


def events(logs: list[Any]) -> list[str]:
    return [entry["event"] for entry in logs]


def test_told_once_when_missing_and_once_when_late(world: World) -> None:
    expected = Expectation("*.csv", EIGHT, "UTC")
    watch = ExpectationWatch([expected], lambda: world.stores.reports, world.clock)
    with structlog.testing.capture_logs() as logs:
        watch.look()
        assert watch.missing() == [(expected, False)]
        world.clock.advance(3 * 3600)
        for _ in range(2):
            watch.look()
        assert events(logs) == ["expected file missing"]
        assert watch.missing() == [(expected, True)]
        world.record((b"other.txt", "x"))
        watch.look()
        world.clock.advance(3600)
        world.record((b"a.csv", "x"))
        for _ in range(2):
            watch.look()
        assert events(logs) == ["expected file missing", "expected file came late"]
        assert logs[1]["path"] == "a.csv"
        assert watch.missing() == [(expected, False)]
        world.clock.advance(24 * 3600)
        watch.look()
    assert events(logs)[2:] == ["expected file missing"]


def test_what_came_in_time_is_not_told(world: World) -> None:
    watch = ExpectationWatch(
        [Expectation("*.csv", EIGHT, "UTC")], lambda: world.stores.reports, world.clock
    )
    world.record((b"a.csv", "x"))
    world.clock.advance(5 * 3600)
    with structlog.testing.capture_logs() as logs:
        watch.look()
        # Tomorrow is another day, and it is not due yet.
        world.clock.advance(16 * 3600)
        watch.look()
    assert logs == []


def test_nothing_is_asked_before_anything_is_due(world: World) -> None:
    def nobody() -> Any:
        raise AssertionError("the database was asked")

    ExpectationWatch([Expectation("*", EIGHT, "UTC")], nobody, world.clock).look()
