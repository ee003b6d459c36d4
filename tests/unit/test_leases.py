"""Leases: what a worker holds, and until when it may touch it."""

from __future__ import annotations

import pytest

from casparian.app.leases import Leases


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """One number, the time; tests write it."""
    now = [1000.0]
    monkeypatch.setattr("casparian.app.leases.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def leases(clock: list[float]) -> Leases:
    leases = Leases(give_up_s=20)
    leases.add([(1, "a"), (2, "b")])
    return leases


def test_what_was_claimed_is_held(leases: Leases) -> None:
    assert leases.holds(1, "a")
    assert not leases.holds(1, "another token")
    assert not leases.holds(3, "a")
    assert len(leases) == 2
    assert leases.snapshot() == {1: "a", 2: "b"}


def test_what_ended_is_not(leases: Leases) -> None:
    leases.remove(1, "a")
    assert not leases.holds(1, "a")
    assert len(leases) == 1


def test_an_old_token_ends_nothing(leases: Leases) -> None:
    """A job that came back at another attempt is held by its new token."""
    leases.add([(1, "newer")])
    leases.remove(1, "a")
    assert leases.holds(1, "newer")


def test_time_runs_from_when_it_was_asked_for(leases: Leases, clock: list[float]) -> None:
    """Not from the answer, which the database may have taken long to give."""
    clock[0] += 15
    leases.add([(3, "c")], asked_at=1000.0)
    clock[0] += 5.1
    assert not leases.holds(3, "c")


def test_a_renewal_extends_from_when_it_was_asked_for(leases: Leases, clock: list[float]) -> None:
    clock[0] = 1019.0
    assert leases.renewed(leases.snapshot(), {1, 2}, asked_at=1010.0) == []
    clock[0] = 1029.9
    assert leases.holds(1, "a")
    clock[0] = 1030.1
    assert not leases.holds(1, "a")


def test_what_a_renewal_no_longer_has_is_lost(leases: Leases, clock: list[float]) -> None:
    assert leases.renewed(leases.snapshot(), {2}, clock[0]) == [1]
    assert not leases.holds(1, "a")
    assert leases.holds(2, "b")


def test_a_renewal_says_nothing_of_jobs_that_came_or_ended_meanwhile(
    leases: Leases, clock: list[float]
) -> None:
    asked = leases.snapshot()
    leases.add([(1, "newer")])
    leases.remove(2, "b")
    leases.add([(3, "c")])
    assert leases.renewed(asked, set(), clock[0]) == []
    assert leases.snapshot() == {1: "newer", 3: "c"}


def test_what_could_not_be_renewed_in_time_is_given_up_once(
    leases: Leases, clock: list[float]
) -> None:
    assert leases.expired() == []
    clock[0] += 10
    leases.renewed({2: "b"}, {2}, clock[0])
    clock[0] += 10.1
    assert not leases.holds(1, "a")
    assert leases.expired() == [1]
    assert leases.expired() == []
    assert leases.snapshot() == {2: "b"}
