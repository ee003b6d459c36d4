"""Directed schedules from S3 on: takeovers, stale promoters, the sweep, and BLOCKED jobs."""

from __future__ import annotations

from typing import Any

import pytest

from casparian.adapters.sink import _places
from casparian.app.promoter import MOST_TRIES
from casparian.domain.errors import UnavailableError
from casparian.domain.jobs import JobStatus
from tests.support.stepped import Engine, Stage, lost

# --- S3: takeovers ----------------------------------------------------------------------


def decided_and_stuck(stage: Stage, one: Engine, two: Engine) -> Any:
    """A job that `one` decided and left, that `two` has taken over in the database."""
    claim = one.new(b"a.csv", "v1")
    one.decide()
    stage.clock.advance(31)
    two.recover()
    assert two.decided == [claim.job_id]
    one.believes(claim)
    return claim


def test_a_promoter_comes_late_to_a_job_taken_over(stage: Stage, one: Engine, two: Engine) -> None:
    """Guard: the marker's generation, and the token at S4."""
    claim = decided_and_stuck(stage, one, two)
    two.promote()
    newer = two.new(b"a.csv", "v2")
    two.publish()
    one.promote()
    assert stage.rows() == ["v2"]
    assert (one.ended, one.decided) == ({}, [])
    assert two.ended == {claim.job_id: JobStatus.COMPLETED, newer.job_id: JobStatus.COMPLETED}
    assert stage.stagings() == []


def test_a_promoter_comes_between_takeover_and_promote(
    stage: Stage, one: Engine, two: Engine
) -> None:
    """Guard: the new holder renames the staging, so that the old one's path leads nowhere."""
    decided_and_stuck(stage, one, two)
    (inherited,) = two.publisher._decided
    for sink in two.sinks():
        sink.rekey(inherited.key)
    one.promote()
    assert (stage.rows(), one.decided) == ([], [])
    two.promote()
    assert stage.rows() == ["v1"]
    assert stage.stagings() == []


def test_a_stale_promoter_completes_nothing(stage: Stage, one: Engine, two: Engine) -> None:
    """Guard: the token at S4. It promoted what was decided; to end the job is not its own."""
    claim = decided_and_stuck(stage, one, two)
    one.promote()
    assert stage.status(claim.job_id) == "PROMOTING"
    assert one.ended == {}
    two.promote()
    assert stage.rows() == ["v1"]
    assert two.ended == {claim.job_id: JobStatus.COMPLETED}
    assert stage.stagings() == []


def test_a_promoter_stands_still_between_comparison_and_exchange(
    stage: Stage, one: Engine, two: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: an exchange names its own staging; SQLite compares inside the transaction."""
    two.new(b"a.csv", "v0")
    two.publish()
    claim = one.new(b"a.csv", "v1")
    one.decide()
    paused = []

    def meanwhile() -> None:
        paused.append(True)
        stage.clock.advance(31)
        two.recover()
        two.promote()
        two.new(b"a.csv", "v2")
        two.publish()
        one.believes(claim)

    stage.output.before_exchange(monkeypatch, meanwhile)
    one.promote()
    assert paused
    assert stage.rows() == ["v2"]
    assert (one.ended, one.decided, stage.stagings()) == ({}, [], [])


def test_a_promoter_stands_still_while_its_successor_is_half_way(
    stage: Stage, one: Engine, two: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: an exchange names its own staging. Under a name that both use there would now lie
    the rows that the successor took out. And a job's own marker makes a promote a no-op."""
    two.new(b"a.csv", "v0")
    two.publish()
    claim = one.new(b"a.csv", "v1")
    one.decide()

    def meanwhile() -> None:
        stage.clock.advance(31)
        two.recover()
        two.ledger.before("complete", lost)
        with monkeypatch.context() as patch:
            patch.setattr(_places.Places, "retire", lambda *_: None)
            with pytest.raises(UnavailableError):
                two.promote()
        assert stage.rows() == ["v1"]
        one.believes(claim)

    stage.output.before_exchange(monkeypatch, meanwhile)
    one.promote()
    assert stage.rows() == ["v1"]
    two.promote()
    assert stage.rows() == ["v1"]
    assert two.ended[claim.job_id] is JobStatus.COMPLETED
    assert (one.ended, stage.stagings()) == ({}, [])


def test_the_sweep_leaves_what_is_taken_over(stage: Stage, one: Engine, two: Engine) -> None:
    """Guard: a decided job's staging is its own whatever the token in its name."""
    decided_and_stuck(stage, one, two)
    stage.engine("three").keeper.sweep()
    two.keeper.sweep()
    assert stage.stagings() != []
    two.promote()
    assert stage.rows() == ["v1"]
    two.keeper.sweep()
    assert stage.stagings() == []


def test_the_sweep_takes_a_dead_attempt_only(stage: Stage, one: Engine, two: Engine) -> None:
    """Guard: a running job's staging is told by the token."""
    many = 20_000  # Fewer would wait in memory.
    one.new(b"a.csv", "v1", {"rows": {"v": ["v1"] * many}})
    stage.clock.advance(31)
    two.recover()
    stage.clock.advance(2)
    claim = two.claim()
    two.stages(claim, {"rows": {"v": ["two's"] * many}})
    assert len(stage.stagings()) == 2
    two.keeper.sweep()
    (left,) = stage.stagings()
    assert f".{claim.job_id}.{claim.attempt}.{claim.token[:12]}" in left
    two.publish()
    assert stage.rows() == ["two's"] * many


# --- BLOCKED ----------------------------------------------------------------------------


def block(stage: Stage, engine: Engine) -> None:
    for _ in range(MOST_TRIES):
        engine.promote()
        stage.clock.advance(6)
        engine.keeper.renew()


def test_a_blocked_job_is_retried(stage: Stage, one: Engine, two: Engine) -> None:
    """Guard: the staging of a BLOCKED job is kept, and its manifest."""
    claim = one.new(b"a.csv", "v1")
    one.decide()
    with stage.output.obstacle(claim):
        block(stage, one)
        assert one.ended == {claim.job_id: JobStatus.BLOCKED}
        two.keeper.sweep()
    assert stage.world.slot(claim).holder is None
    assert stage.stores.queue.retry([claim.job_id], "operator") == [claim.job_id]
    assert stage.world.slot(claim).holder == claim.job_id
    two.recover()
    two.promote()
    assert stage.rows() == ["v1"]
    assert two.ended == {claim.job_id: JobStatus.COMPLETED}
    two.keeper.sweep()
    assert stage.stagings() == []


def test_a_blocked_job_is_superseded_by_a_newer(stage: Stage, one: Engine, two: Engine) -> None:
    """Guard: completing a newer job ends the blocked one, which then cannot be retried."""
    older = one.new(b"a.csv", "v1")
    one.decide()
    with stage.output.obstacle(older):
        block(stage, one)
    two.new(b"a.csv", "v2")
    two.publish()
    assert stage.status(older.job_id) == "SUPERSEDED"
    assert stage.stores.queue.retry([older.job_id], "operator") == []
    two.keeper.sweep()
    assert stage.rows() == ["v2"]
    assert stage.stagings() == []


def test_a_blocked_job_cannot_be_retried_past_a_newer_that_holds_the_lock(
    stage: Stage, one: Engine, two: Engine
) -> None:
    """Guard: a retry takes the lock row, or is refused."""
    older = one.new(b"a.csv", "v1")
    one.decide()
    with stage.output.obstacle(older):
        block(stage, one)
    newer = two.new(b"a.csv", "v2")
    two.decide()
    assert stage.stores.queue.retry([older.job_id], "operator") == []
    two.promote()
    assert stage.rows() == ["v2"]
    assert stage.status(newer.job_id) == "COMPLETED"


def test_a_blocked_job_that_comes_after_a_newer_one_forgets_nothing(
    stage: Stage, one: Engine
) -> None:
    """Guard: a slot is forgotten only by the job that emptied it.

    The older job would empty a topic that the newer has filled meanwhile, while both were
    blocked at the other topic.
    """
    retry = stage.stores.queue.retry
    one.new(b"a.csv", "v1", {"rows": {"v": ["v1"]}, "more": {"v": ["v1"]}})
    one.publish()
    older = one.new(b"a.csv", "v2")
    with stage.output.obstacle(older):
        one.decide()
        block(stage, one)
        newer = one.new(b"a.csv", "v3", {"rows": {"v": ["v3"]}, "more": {"v": ["v3"]}})
        one.decide()
        block(stage, one)
    assert (stage.rows(), stage.rows("more")) == (["v1"], ["v3"])
    for claim in (older, newer):
        assert retry([claim.job_id], "operator") == [claim.job_id]
        one.recover()
        one.promote()
        assert stage.status(claim.job_id) == "COMPLETED"
    assert (stage.rows(), stage.rows("more")) == (["v3"], ["v3"])
    one.new(b"a.csv", "v4")
    one.publish()
    assert (stage.rows(), stage.rows("more")) == (["v4"], [])
