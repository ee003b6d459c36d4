"""Directed schedules of two steps that meet: each is the one in which a guard alone decides."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from casparian.adapters.queue import QueueStores
from casparian.app.payloads import GarbledPayload
from casparian.domain.errors import ErrorClass, UnavailableError
from casparian.domain.jobs import Failure, JobStatus
from casparian.domain.plugins import Mode
from casparian.domain.publish import Generation
from casparian.testing.world import VirtualClock
from tests.faults.conftest import SURROUNDINGS
from tests.support.outputs import Output, PostgresqlOutput, SqliteOutput
from tests.support.stepped import POLICY, Engine, Stage, lost

# --- S2 ---------------------------------------------------------------------------------


def test_a_newer_version_in_the_same_slots_between_plan_and_decision(
    stage: Stage, one: Engine, two: Engine
) -> None:
    """Guard: the generation is compared in S2. All else is as it was when it was planned."""
    two.new(b"a.csv", "v1")
    two.publish()
    older = one.new(b"a.csv", "v2")
    newer = two.new(b"a.csv", "v3")
    one.ledger.before("decide", two.publish)
    one.publish()
    one.publish()
    assert stage.rows() == ["v3"]
    assert stage.status(older.job_id) == "SUPERSEDED"
    assert stage.world.slot(newer).generation == Generation(3, newer.job_id)


def test_an_older_version_is_appended_between_plan_and_decision(
    stores: QueueStores, clock: VirtualClock, output: Output
) -> None:
    """Guard: the slots that stand are compared in S2. The generation is as it was, since an
    older version raises none; what it appended is to be replaced all the same."""
    stage = Stage(stores, clock, output, {"rows": Mode.APPEND})
    one, two = stage.engine("one"), stage.engine("two")
    one.new(b"a.csv", "v1")
    two.new(b"a.csv", "v2")
    two.publish()
    replaced = replace(
        stage.config, topics=tuple(replace(t, mode=Mode.REPLACE) for t in stage.config.topics)
    )
    stage.world.record((b"a.csv", "v3"))
    two.stages(two.claim(), {"rows": {"v": ["v3"]}}, replaced)
    two.ledger.before("decide", one.publish)
    two.publish()
    two.publish()
    assert stage.rows() == ["v3"]
    assert stage.violations() == []


def test_appended_versions_in_their_order(
    stores: QueueStores, clock: VirtualClock, output: Output
) -> None:
    """Guard: a version empties no append slot of another version."""
    stage = Stage(stores, clock, output, {"rows": Mode.APPEND, "more": Mode.APPEND})
    one = stage.engine("one")
    one.new(b"a.csv", "v1", {"rows": {"v": ["v1"]}, "more": {"v": ["v1"]}})
    one.publish()
    one.new(b"a.csv", "v2")
    one.publish()
    assert (stage.rows(), stage.rows("more")) == (["v1", "v2"], ["v1"])
    assert stage.violations() == []


def test_the_reaper_comes_while_the_owner_renews(stage: Stage, one: Engine, two: Engine) -> None:
    """Guard: the lease is looked at in the statement that reaps."""
    claim = one.new(b"a.csv", "v1")
    stage.clock.advance(15)
    one.keeper.renew()
    stage.clock.advance(16)
    two.recover()
    assert stage.status(claim.job_id) == "RUNNING"
    one.publish()
    assert stage.rows() == ["v1"]
    assert one.ended == {claim.job_id: JobStatus.COMPLETED}


def test_a_retry_meets_the_reaper_and_a_late_failure(
    stage: Stage, one: Engine, two: Engine
) -> None:
    """Guard: attempt and token of `fail`. What the first attempt still says is not heard."""
    queue = stage.stores.queue
    stage.world.record((b"a.csv", "v1"))
    claim = one.claim()
    failure = Failure(claim.job_id, claim.attempt, claim.token, ErrorClass.DATA, "line 1")
    assert queue.fail([failure], POLICY) == {claim.job_id: JobStatus.FAILED}
    assert queue.retry([claim.job_id], "operator") == [claim.job_id]
    two.recover()
    again = two.claim()
    assert queue.fail([failure], POLICY) == {}
    assert queue.reap(POLICY) == 0
    two.stages(again, {"rows": {"v": ["v1"]}})
    two.publish()
    assert stage.rows() == ["v1"]


# --- what a sidecar sends ---------------------------------------------------------------


def test_a_batch_that_did_not_arrive(stage: Stage, one: Engine) -> None:
    """Guard: the rows that a plugin vouches for are held against those that came."""
    stage.world.record((b"a.csv", "v1"))
    claim = one.claim()
    with pytest.raises(GarbledPayload, match="has 1 rows, the plugin vouched for 2"):
        one.stages(claim, {"rows": {"v": ["v1"]}}, vouched={"rows": 2})
    one.publish()
    assert stage.rows() == []


def test_a_batch_that_lies_about_itself(stage: Stage, one: Engine) -> None:
    """Guard: Arrow data is validated in full. Text that is no UTF-8 would be published."""
    stage.world.record((b"a.csv", "v1"))
    claim = one.claim()
    lie = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"]).buffers())
    with pytest.raises(GarbledPayload):
        one.stages(claim, {"rows": {"v": lie}})
    one.publish()
    assert stage.rows() == []


# --- S3 ---------------------------------------------------------------------------------


def test_an_engine_that_lost_its_lease_promotes_nothing(
    stage: Stage, one: Engine, two: Engine
) -> None:
    """Guard: the lease is looked at before S3. Another may be at it already."""
    claim = one.new(b"a.csv", "v1")
    one.decide()
    stage.clock.advance(21)
    one.promote()
    assert stage.rows() == []
    stage.clock.advance(10)
    two.recover()
    two.promote()
    assert stage.rows() == ["v1"]
    assert two.ended == {claim.job_id: JobStatus.COMPLETED}


def test_a_widening_comes_before_the_promote_of_narrower_rows(
    stage: Stage, one: Engine, two: Engine
) -> None:
    """Guard: rows that were decided by the older schema fit into the newer one."""
    one.new(b"a.csv", "a", {"rows": {"v": pa.array([1], pa.int32())}})
    one.decide()
    two.new(b"b.csv", "b", {"rows": {"v": pa.array([2**40], pa.int64()), "w": ["w"]}})
    two.publish()
    one.promote()
    assert stage.rows() == [1, 2**40]
    assert {*one.ended.values(), *two.ended.values()} == {JobStatus.COMPLETED}


def test_a_marker_that_says_otherwise_is_not_taken_for_done(stage: Stage, one: Engine) -> None:
    """Guard: a marker of the same job with another digest. A queue restored from a backup gives
    a number twice."""
    stage.spoilt = True
    claim = one.new(b"a.csv", "v1")
    one.decide()
    one.ledger.before("complete", lost)
    with pytest.raises(UnavailableError):
        one.promote()
    stage.output.edit_marker(digest="f" * 64)
    one.promote()
    assert stage.status(claim.job_id) == "PROMOTING"
    assert one.ended == {}


def test_rows_of_another_installation_are_not_replaced(stage: Stage, one: Engine) -> None:
    """Guard: the installation in a marker."""
    stage.spoilt = True
    one.new(b"a.csv", "theirs")
    one.publish()
    stage.output.edit_marker(installation="f" * 32)
    one.new(b"a.csv", "mine")
    one.publish()
    assert stage.rows() == ["theirs"]


@pytest.mark.parametrize(
    "surroundings", [s for s in SURROUNDINGS if s[1] != "parquet"], indirect=True, ids="-".join
)
def test_a_staging_that_lost_rows_is_not_published(stage: Stage, one: Engine) -> None:
    """Guard: the rows that are copied are counted."""
    claim = one.new(b"a.csv", "v1", {"rows": {"v": ["v1", "v2", "v3"]}})
    one.decide()
    assert isinstance(stage.output, SqliteOutput | PostgresqlOutput)
    stage.output.lose_a_staged_row("v", "v2")
    one.promote()
    assert stage.rows() == []
    assert stage.status(claim.job_id) == "PROMOTING"
    assert one.decided == [claim.job_id]
