"""Directed schedules up to S2: two engines stepped by hand into each race that it must win.

Kills at random seldom meet these. Each test fails when the guard that it names is taken out.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from casparian.adapters.queue import QueueStores
from casparian.domain.errors import JobError
from casparian.domain.jobs import JobStatus
from casparian.domain.plugins import Mode
from casparian.domain.publish import Generation
from casparian.testing.world import VirtualClock
from tests.support.outputs import Output
from tests.support.stepped import Engine, Stage

# --- S2: the fence ----------------------------------------------------------------------


@pytest.mark.parametrize("published", [True, False], ids=["published", "only claimed"])
def test_a_late_decision_after_a_reap_is_stale(
    stage: Stage, one: Engine, two: Engine, published: bool
) -> None:
    """Guard: attempt and token at S2."""
    old = one.new(b"a.csv", "one's")
    stage.clock.advance(31)
    two.recover()
    stage.clock.advance(2)
    new = two.claim()
    assert new.job_id == old.job_id
    if published:
        two.stages(new, {"rows": {"v": ["two's"]}})
        two.publish()
    one.believes(old)
    one.decide()
    assert one.staged == one.decided == []
    if not published:
        assert stage.stagings() == []
        two.stages(new, {"rows": {"v": ["two's"]}})
        two.publish()
    one.promote()
    assert stage.rows() == ["two's"]
    assert stage.stagings() == []
    assert (one.ended, two.ended) == ({}, {new.job_id: JobStatus.COMPLETED})


def test_an_engine_that_lost_its_lease_decides_nothing(
    stage: Stage, one: Engine, two: Engine
) -> None:
    """Guard: the lease is looked at before S2. The database would still take the token."""
    claim = one.new(b"a.csv", "one's")
    stage.clock.advance(21)
    assert one.leases.expired() == [claim.job_id]
    one.publish()
    assert stage.status(claim.job_id) == "RUNNING"
    assert (one.staged, one.decided, stage.stagings()) == ([], [], [])
    stage.clock.advance(10)
    two.recover()
    stage.clock.advance(2)
    two.stages(two.claim(), {"rows": {"v": ["two's"]}})
    two.publish()
    assert stage.rows() == ["two's"]


def test_cancelled_between_claim_and_decision(stage: Stage, one: Engine, two: Engine) -> None:
    """Guard: a cancel takes the token away. The late engine adds no row, now or after a retry."""
    queue = stage.stores.queue
    claim = one.new(b"a.csv", "one's")
    assert queue.cancel([claim.job_id], "operator") == [claim.job_id]
    one.publish()
    assert (stage.rows(), stage.stagings()) == ([], [])
    assert queue.retry([claim.job_id], "operator") == [claim.job_id]
    again = two.claim()
    two.stages(again, {"rows": {"v": ["two's"]}})
    two.publish()
    one.believes(claim)
    one.stages(claim, {"rows": {"v": ["one's"]}})
    one.publish()
    assert stage.rows() == ["two's"]
    assert stage.stagings() == []


def test_cancelled_before_the_claim(stage: Stage, one: Engine) -> None:
    stage.world.record((b"a.csv", "1"))
    (job_id,) = stage.world.statuses()
    assert stage.stores.queue.cancel([job_id], "operator") == [job_id]
    assert stage.world.claim() == []


# --- S2: what a decision was planned on -------------------------------------------------


def test_an_older_version_behind_a_newer_is_superseded(
    stage: Stage, one: Engine, two: Engine
) -> None:
    """Guard: generations are compared when a decision is planned."""
    older = one.new(b"a.csv", "v1", {"rows": {"v": ["v1"]}, "more": {"v": ["v1"]}})
    newer = two.new(b"a.csv", "v2")
    two.publish()
    one.publish()
    assert (stage.rows(), stage.rows("more")) == (["v2"], [])
    assert stage.status(older.job_id) == "SUPERSEDED"
    assert stage.status(newer.job_id) == "COMPLETED"
    one.keeper.sweep()
    assert stage.world.slot(newer).generation == Generation(2, newer.job_id)
    assert stage.stagings() == []


def test_a_newer_version_between_plan_and_decision(stage: Stage, one: Engine, two: Engine) -> None:
    """Guard: a decision is refused where the slot has moved since it was planned."""
    two.new(b"b.csv", "other")
    two.publish()
    older = one.new(b"a.csv", "v1")
    newer = two.new(b"a.csv", "v2")
    one.ledger.before("decide", two.publish)
    one.publish()
    one.publish()
    assert stage.rows() == ["other", "v2"]
    assert stage.status(older.job_id) == "SUPERSEDED"
    assert stage.world.slot(newer).generation == Generation(2, newer.job_id)
    one.keeper.sweep()
    assert stage.stagings() == []


def test_appended_versions_stand_beside_one_another(
    stores: QueueStores, clock: VirtualClock, output: Output
) -> None:
    """Guard: an append topic's slot is the version's. The older may well come second."""
    stage = Stage(stores, clock, output, {"rows": Mode.APPEND})
    one, two = stage.engine("one"), stage.engine("two")
    older = one.new(b"a.csv", "v1")
    newer = two.new(b"a.csv", "v2")
    two.publish()
    one.publish()
    assert stage.rows() == ["v1", "v2"]
    assert {stage.status(older.job_id), stage.status(newer.job_id)} == {"COMPLETED"}
    assert stage.world.slot(newer).generation == Generation(2, newer.job_id)


def test_a_topic_that_a_new_version_leaves_out_is_emptied(stage: Stage, one: Engine) -> None:
    """Guard: the slots that stand and were not written are emptied. It may come back later."""
    both = {"rows": {"v": ["v1"]}, "more": {"v": ["v1"]}}
    one.new(b"a.csv", "v1", both)
    one.new(b"b.csv", "other", {"more": {"v": ["other"]}})
    one.publish()
    one.new(b"a.csv", "v2")
    one.publish()
    assert (stage.rows(), stage.rows("more")) == (["v2"], ["other"])
    one.new(b"a.csv", "v3", {"more": {"v": ["v3"]}})
    one.publish()
    assert (stage.rows(), stage.rows("more")) == ([], ["other", "v3"])
    assert stage.stagings() == []


def test_two_jobs_of_one_location_at_once(stage: Stage, one: Engine, two: Engine) -> None:
    """Guard: the lock row. The second is decided once the first stands, and told nobody."""
    first = one.new(b"a.csv", "v1")
    second = two.new(b"a.csv", "v2")
    one.decide()
    two.decide()
    assert (one.decided, two.staged, two.decided) == ([first.job_id], [second.job_id], [])
    one.promote()
    assert stage.rows() == ["v1"]
    stage.clock.advance(0.1)
    two.publish()
    assert stage.rows() == ["v2"]
    assert one.ended | two.ended == dict.fromkeys(
        (first.job_id, second.job_id), JobStatus.COMPLETED
    )


def test_two_versions_in_one_engine(stage: Stage, one: Engine) -> None:
    """Guard: two versions of one file share no group."""
    one.new(b"a.csv", "v1", {"rows": {"v": ["v1"]}, "more": {"v": ["v1"]}})
    one.new(b"a.csv", "v2")
    one.publish()
    assert (stage.rows(), stage.rows("more")) == (["v1"], ["v1"])
    one.publish()
    assert (stage.rows(), stage.rows("more")) == (["v2"], [])


# --- S2: schemas ------------------------------------------------------------------------

NARROW = {"rows": {"v": pa.array([1], pa.int32())}}
WIDE = {"rows": {"v": pa.array([2], pa.int64())}}
MORE = {"rows": {"v": pa.array([3], pa.int32()), "w": ["w"]}}
TEXT = {"rows": {"v": ["text"]}}


def error_class(stage: Stage, job_id: int) -> str:
    error: Any = stage.world.job(job_id)["error"]
    return str(error["class"])


def schema_of(stage: Stage, engine: Engine) -> str | None:
    covered = engine.targets.of_topic(stage.config, "rows")
    assert covered is not None
    known = engine.ledger.schemas([covered[0]]).get(covered[0])
    return None if known is None else str(known)


def test_two_jobs_of_a_group_widen_one_schema(stage: Stage, one: Engine) -> None:
    """Guards: in a group a target's schema changes once, what comes next is held against it,
    and it is compared and set. Any one of them is enough."""
    one.new(b"a.csv", "a", NARROW)
    one.publish()
    one.new(b"b.csv", "b", WIDE)
    one.new(b"c.csv", "c", MORE)
    one.publish()
    stage.clock.advance(0.1)
    one.publish()
    assert stage.rows() == [1, 2, 3]
    schema = schema_of(stage, one)
    assert schema is not None
    assert "int64" in schema
    assert "w" in schema
    assert set(one.ended.values()) == {JobStatus.COMPLETED}


def test_two_engines_set_one_schema(stage: Stage, one: Engine, two: Engine) -> None:
    """Guard: the schema is compared and set. The loser checks again, and here does not fit."""
    loser = one.new(b"a.csv", "a", NARROW)
    two.new(b"b.csv", "b", TEXT)
    one.ledger.before("decide", two.publish)
    one.publish()
    one.publish()
    assert stage.rows() == ["text"]
    assert stage.status(loser.job_id) == "FAILED"
    assert error_class(stage, loser.job_id) == "SCHEMA_DRIFT"
    assert stage.stagings() == []


def test_a_schema_that_only_a_loser_would_have_set(stage: Stage, one: Engine) -> None:
    """Guard: what was held against a loser's schema is planned anew: else nobody sets one, and
    whatever comes next is taken for the first."""
    loser = one.new(b"a.csv", "a", NARROW)
    one.new(b"b.csv", "b", NARROW)
    stage.stores.queue.cancel([loser.job_id], "operator")
    one.publish()
    one.publish()
    assert stage.rows() == [1]
    assert schema_of(stage, one) is not None
    with pytest.raises(JobError, match="is string, the target has int32"):
        one.new(b"c.csv", "c", TEXT)
