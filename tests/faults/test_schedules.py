"""Directed schedules: two engines stepped by hand into each race that the protocol must win.

Kills at random seldom meet these. Each test fails when the guard that it names is taken out.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from casparian.adapters.queue import QueueStores, open_memory, open_sqlite
from casparian.adapters.sink import _places, parquet, sqlite
from casparian.app.promoter import MOST_TRIES
from casparian.domain.errors import JobError, UnavailableError
from casparian.domain.jobs import Claim, JobStatus
from casparian.domain.plugins import Mode
from casparian.domain.publish import Generation, slot_for
from casparian.testing.world import VirtualClock
from tests.support.stepped import Engine, Stage, virtual_time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualClock]:
    clock = VirtualClock()
    with virtual_time(clock, monkeypatch):
        yield clock


@pytest.fixture(params=["memory", "sqlite"])
def stores(
    request: pytest.FixtureRequest, clock: VirtualClock, tmp_path: Path
) -> Iterator[QueueStores]:
    memory = request.param == "memory"
    stores = open_memory(clock) if memory else open_sqlite(str(tmp_path / "queue.db"), clock)
    yield stores
    stores.close()


@pytest.fixture(params=["parquet", "sqlite"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stage(stores: QueueStores, clock: VirtualClock, tmp_path: Path, kind: str) -> Stage:
    return Stage(stores, clock, tmp_path, kind)


@pytest.fixture
def one(stage: Stage) -> Engine:
    return stage.engine("one")


@pytest.fixture
def two(stage: Stage) -> Engine:
    return stage.engine("two")


def lost() -> None:
    raise UnavailableError("the connection was lost before the answer came")


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
    stores: QueueStores, clock: VirtualClock, tmp_path: Path, kind: str
) -> None:
    """Guard: an append topic's slot is the version's. The older may well come second."""
    stage = Stage(stores, clock, tmp_path, kind, {"rows": Mode.APPEND})
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

    if stage.kind == "parquet":
        before(monkeypatch, parquet, "exchange", meanwhile)
    else:
        # Right before it asks for the write lock, under which it compares.
        after(monkeypatch, sqlite.SqliteSink, "_attach", meanwhile)
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

    if stage.kind == "parquet":
        before(monkeypatch, parquet, "exchange", meanwhile)
    else:
        after(monkeypatch, sqlite.SqliteSink, "_attach", meanwhile)
    one.promote()
    assert stage.rows() == ["v1"]
    two.promote()
    assert stage.rows() == ["v1"]
    assert two.ended[claim.job_id] is JobStatus.COMPLETED
    assert (one.ended, stage.stagings()) == ({}, [])


def before(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, do: Callable[[], None]) -> None:
    """Do something once, right before the function is called next."""
    real = getattr(module, name)

    def paused(*arguments: Any) -> Any:
        monkeypatch.setattr(module, name, real)
        do()
        return real(*arguments)

    monkeypatch.setattr(module, name, paused)


def after(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, do: Callable[[], None]) -> None:
    real = getattr(owner, name)

    def paused(*arguments: Any) -> Any:
        monkeypatch.setattr(owner, name, real)
        answer = real(*arguments)
        do()
        return answer

    monkeypatch.setattr(owner, name, paused)


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
    one.new(b"a.csv", "v1")
    stage.clock.advance(31)
    two.recover()
    stage.clock.advance(2)
    claim = two.claim()
    two.stages(claim, {"rows": {"v": ["two's"]}})
    assert len(stage.stagings()) == 2
    two.keeper.sweep()
    (left,) = stage.stagings()
    assert f".{claim.job_id}.{claim.attempt}.{claim.token[:12]}" in left
    two.publish()
    assert stage.rows() == ["two's"]


# --- BLOCKED ----------------------------------------------------------------------------


@contextlib.contextmanager
def obstacle(stage: Stage, claim: Claim) -> Iterator[None]:
    """Something of somebody else's stands where a job's rows are to go."""
    if stage.kind == "parquet":
        slot = slot_for(Mode.REPLACE, claim.plugin, "rows", claim.location_id, 0)
        place = stage.directory / "out" / "rows" / slot.name
        aside = stage.directory / "aside"
        if place.exists():
            place.rename(aside)
        place.mkdir(parents=True)
        yield
        place.rmdir()
        if aside.exists():
            aside.rename(place)
        return
    with contextlib.closing(sqlite3.connect(stage.directory / "out.db")) as db:
        db.execute(
            "INSERT INTO _casparian_publish VALUES "
            "('rows', 'theirs', 'rows', 1, 0, 'another', 1, 1, 0, '', '{}')"
        )
        db.commit()
        yield
        db.execute("DELETE FROM _casparian_publish WHERE installation = 'another'")
        db.commit()


def block(stage: Stage, engine: Engine) -> None:
    for _ in range(MOST_TRIES):
        engine.promote()
        stage.clock.advance(6)
        engine.keeper.renew()


def test_a_blocked_job_is_retried(stage: Stage, one: Engine, two: Engine) -> None:
    """Guard: the staging of a BLOCKED job is kept, and its manifest."""
    claim = one.new(b"a.csv", "v1")
    one.decide()
    with obstacle(stage, claim):
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
    with obstacle(stage, older):
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
    with obstacle(stage, older):
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
    with obstacle(stage, older):
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
