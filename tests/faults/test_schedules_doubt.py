"""Directed schedules of commits whose answer was lost: what may be decided stays whole."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from casparian.domain.errors import UnavailableError
from casparian.domain.jobs import JobStatus
from tests.faults.conftest import IN_FILES
from tests.support.stepped import Engine, Stage, lost

# --- S1: a staging that did not get to the disk ------------------------------------------


@pytest.mark.parametrize("surroundings", IN_FILES, indirect=True, ids="-".join)
def test_a_sync_that_fails_costs_a_staging_and_no_lease(
    stage: Stage, one: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job goes back at once; nothing was decided, and the sync is not tried again."""
    claim = one.new(b"a.csv", "v1")
    synced: list[int] = []

    def broken(descriptor: int) -> None:
        synced.append(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        one.decide()
    assert (len(synced), stage.stagings()) == (1, [])
    assert stage.status(claim.job_id) == "QUEUED"
    (job,) = stage.stores.reports.jobs()
    assert job["error"] is not None
    assert job["error"]["class"] == "INFRASTRUCTURE"
    stage.clock.advance(60)
    again = one.claim()
    one.stages(again, {"rows": {"v": ["v1"]}})
    one.publish()
    assert stage.rows() == ["v1"]


# --- S2: a commit whose outcome is not known --------------------------------------------


def test_the_answer_to_a_decision_is_lost(stage: Stage, one: Engine) -> None:
    """Guard: a job found PROMOTING by one's own token was decided after all."""
    claim = one.new(b"a.csv", "v1", {"rows": {"v": ["v1"]}, "more": {"v": ["v1"]}})
    one.publish()
    claim = one.new(b"a.csv", "v2")
    one.ledger.after("decide", lost)
    with pytest.raises(UnavailableError):
        one.decide()
    assert stage.status(claim.job_id) == "PROMOTING"
    one.publish()
    assert (stage.rows(), stage.rows("more")) == (["v2"], [])
    assert one.ended[claim.job_id] is JobStatus.COMPLETED
    assert stage.stagings() == []


def test_the_decision_was_lost_and_not_only_the_answer(stage: Stage, one: Engine) -> None:
    claim = one.new(b"a.csv", "v1")
    one.ledger.before("decide", lost)
    with pytest.raises(UnavailableError):
        one.decide()
    assert stage.status(claim.job_id) == "RUNNING"
    one.publish()
    assert stage.rows() == ["v1"]
    assert one.ended == {claim.job_id: JobStatus.COMPLETED}


@pytest.mark.parametrize("taken", [True, False], ids=["taken over", "left alone"])
def test_the_answer_and_then_the_lease_are_lost(
    stage: Stage, one: Engine, two: Engine, taken: bool
) -> None:
    """Guard: a staging that may be decided is nobody's to discard but the sweep's.

    The database was away for longer than a lease, so that both go together.
    """
    claim = one.new(b"a.csv", "one's")
    one.ledger.after("decide", lost)
    with pytest.raises(UnavailableError):
        one.decide()
    stage.clock.advance(31)
    if taken:
        two.recover()
    assert one.leases.expired() == [claim.job_id]
    one.publish()
    if not taken:
        two.recover()
    two.keeper.sweep()
    two.promote()
    assert stage.status(claim.job_id) == "COMPLETED"
    assert stage.rows() == ["one's"]
    assert one.staged == one.decided == []
    assert stage.stagings() == []


def test_the_answer_is_lost_and_another_takes_over_unnoticed(
    stage: Stage, one: Engine, two: Engine
) -> None:
    """Guard: the same, for an engine that still believes in its lease."""
    claim = one.new(b"a.csv", "one's")
    one.ledger.after("decide", lost)
    with pytest.raises(UnavailableError):
        one.decide()
    stage.clock.advance(31)
    two.recover()
    one.believes(claim)
    one.publish()
    assert one.staged == one.decided == []
    two.promote()
    assert stage.rows() == ["one's"]
    assert two.ended == {claim.job_id: JobStatus.COMPLETED}


def test_a_staging_that_may_be_decided_outlives_a_failing_sync(
    stage: Stage, one: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: what is asked first is whether it was decided; only then is it planned again."""
    claim = one.new(b"a.csv", "v1")
    one.ledger.after("decide", lost)
    with pytest.raises(UnavailableError):
        one.decide()
    (sink,) = one.sinks()

    def full(keys: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sink, "sync", full)
        one.decide()
    one.promote()
    assert stage.rows() == ["v1"]
    assert one.ended == {claim.job_id: JobStatus.COMPLETED}


def test_a_decision_in_doubt_is_not_planned_again(
    stage: Stage, one: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: it is sent again as it was, so that what is promoted is what was written."""
    one.new(b"a.csv", "v1", {"rows": {"v": ["v1"]}, "more": {"v": ["v1"]}})
    one.publish()
    claim = one.new(b"a.csv", "v2")
    one.ledger.after("decide", lost)
    with pytest.raises(UnavailableError):
        one.decide()
    (sink,) = one.sinks()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sink, "stage_empty", full)
        one.decide()
    one.promote()
    assert (stage.rows(), stage.rows("more")) == (["v2"], [])
    assert one.ended[claim.job_id] is JobStatus.COMPLETED


def test_the_answer_to_a_completion_is_lost(stage: Stage, one: Engine) -> None:
    """Guard: the marker makes the second promote a no-op; the sweep clears what is left."""
    one.new(b"a.csv", "v1")
    one.publish()
    claim = one.new(b"a.csv", "v2")
    one.decide()
    one.ledger.after("complete", lost)
    with pytest.raises(UnavailableError):
        one.promote()
    assert stage.status(claim.job_id) == "COMPLETED"
    one.promote()
    one.keeper.sweep()
    assert stage.rows() == ["v2"]
    assert (one.decided, stage.stagings()) == ([], [])
    assert len(one.leases) == 0
