"""Directed schedules of bundles: small outputs decided together, superseded one by one."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from casparian.adapters.sink import _marked
from casparian.app.promoter import Decided
from casparian.domain.errors import UnavailableError
from casparian.domain.jobs import Claim, JobStatus
from casparian.testing.world import LEASE_US
from tests.support.stepped import Engine, Stage, lost

MANY = 20_000
"""Rows that are too many to wait in memory."""


@pytest.fixture(params=["memory", "sqlite"])
def surroundings(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param, "parquet"


def places(stage: Stage, topic: str = "rows") -> list[str]:
    """The directories of a topic, by their letter: b for bundles, f for slots of their own."""
    found = (stage.directory / "out" / topic).glob("*")
    return sorted(path.name[0] for path in found)


def bundle_of(stage: Stage) -> Path:
    (path,) = (stage.directory / "out" / "rows").glob("b*")
    return path


def pair(engine: Engine) -> tuple[Claim, Claim]:
    """Two files in one bundle."""
    claims = (engine.new(b"a.csv", "a1"), engine.new(b"b.csv", "b1"))
    engine.publish()
    assert places(engine.stage) == ["b"]
    return claims


def take(engine: Engine, job_id: int) -> None:
    """This engine takes over one job that a stopped one decided, and no other."""
    (taken,) = engine.stage.stores.ledger.take_over(engine.name, 1, LEASE_US)
    assert taken.job_id == job_id
    engine.leases.add([(taken.job_id, taken.token)])
    engine.publisher._decided.append(Decided(taken.manifest, taken.token, inherited=True))


# --- what shares a place ----------------------------------------------------------------


def test_small_outputs_of_a_group_share_one_file(stage: Stage, one: Engine) -> None:
    claims = [one.new(b"%d.csv" % n, f"v{n}") for n in range(5)]
    one.publish()
    assert stage.rows() == [f"v{n}" for n in range(5)]
    assert places(stage) == ["b"]
    (file,) = bundle_of(stage).glob("*.parquet")
    jobs = _marked.read_bundle(str(bundle_of(stage)))
    assert jobs is not None
    assert [m.job_id for m in jobs.members] == [c.job_id for c in claims]
    assert pq.read_metadata(file).num_rows == 5
    assert set(one.ended.values()) == {JobStatus.COMPLETED}
    assert stage.stagings() == []


def test_alone_large_or_with_other_columns_each_has_its_own(stage: Stage, one: Engine) -> None:
    one.new(b"alone.csv", "v0")
    one.publish()
    one.new(b"large.csv", "", {"rows": {"v": ["large"] * MANY}})
    one.new(b"small.csv", "v1")
    one.publish()
    assert places(stage) == ["f", "f", "f"]
    one.new(b"a.csv", "v2")
    one.new(b"wider.csv", "", {"rows": {"v": ["v3"], "w": [1]}})
    one.new(b"b.csv", "v4")
    one.publish()
    one.publish()  # A target's schema changes once in a group.
    assert sorted(set(stage.rows())) == ["large", "v0", "v1", "v2", "v3", "v4"]


def test_topics_have_bundles_of_their_own(stage: Stage, one: Engine) -> None:
    for name in (b"a.csv", b"b.csv"):
        one.new(name, "", {"rows": {"v": ["x"]}, "more": {"v": ["y"]}})
    one.publish()
    assert (stage.rows(), stage.rows("more")) == (["x", "x"], ["y", "y"])
    assert (places(stage), places(stage, "more")) == (["b"], ["b"])


# --- superseding ------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [["a2"], ["a2"] * MANY, []], ids=["small", "large", "none"])
def test_a_correction_takes_its_place_within_the_bundle(
    stage: Stage, one: Engine, rows: list[str]
) -> None:
    pair(one)
    one.new(b"a.csv", "a2", {"rows": {"v": rows}} if rows else {"more": {"v": ["elsewhere"]}})
    one.publish()
    assert stage.rows() == sorted([*rows, "b1"])
    assert places(stage) == ["b"]
    one.new(b"b.csv", "b2")
    one.publish()
    assert stage.rows() == sorted([*rows, "b2"])
    one.new(b"a.csv", "a3")
    one.publish()
    assert stage.rows() == ["a3", "b2"]
    assert stage.stagings() == []


def test_corrections_of_one_group_rewrite_the_bundle_once(
    stage: Stage, one: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair(one)
    exchanges = []
    before(monkeypatch, "exchange", lambda: exchanges.append(stage.rows()))
    one.new(b"a.csv", "a2")
    one.new(b"b.csv", "b2")
    one.new(b"c.csv", "c1")
    one.publish()
    assert stage.rows() == ["a2", "b2", "c1"]
    assert exchanges == [["a1", "b1"]] or exchanges == [["a1", "b1", "c1"]]


def test_rows_say_where_they_are_from_after_a_rewrite(stage: Stage, one: Engine) -> None:
    claims = [one.new(b"%d.csv" % n, "", {"rows": {"v": [f"{n}.{i}" for i in range(3)]}})
              for n in range(3)]  # fmt: skip
    one.publish()
    newer = one.new(b"1.csv", "1.x")
    one.publish()
    (file,) = bundle_of(stage).glob("*.parquet")
    table = pq.read_table(file).to_pylist()
    found = {(row["_casparian_job_id"], row["_casparian_row"]): row["v"] for row in table}
    first, _, third = (claim.job_id for claim in claims)
    assert found == {
        **{(first, i): f"0.{i}" for i in range(3)},
        **{(third, i): f"2.{i}" for i in range(3)},
        (newer.job_id, 0): "1.x",
    }
    said = _jobs(file)
    assert [(j["job_id"], j["first_row"], j["rows"]) for j in said] == [
        (first, 0, 3), (third, 3, 3), (newer.job_id, 6, 1),
    ]  # fmt: skip
    for job in said:
        part = table[job["first_row"] : job["first_row"] + job["rows"]]
        assert {row["_casparian_job_id"] for row in part} == {job["job_id"]}


def test_an_older_job_brings_nothing_back(stage: Stage, one: Engine, two: Engine) -> None:
    pair(one)
    stage.world.record((b"a.csv", "a2"))
    old = two.claim()
    one.new(b"a.csv", "a3")
    one.publish()
    two.stages(old, {"rows": {"v": ["a2"]}})
    two.publish()
    assert stage.rows() == ["a3", "b1"]
    assert stage.status(old.job_id) == "SUPERSEDED"


# --- a group that is not decided whole --------------------------------------------------


def test_who_is_lost_before_the_decision_is_not_in_the_bundle(stage: Stage, one: Engine) -> None:
    """Guard: all or nothing. The bundle is written anew without the loser."""
    claims = [one.new(b"%d.csv" % n, f"v{n}") for n in range(4)]
    gone = claims[0]
    one.ledger.before("decide", lambda: stage.stores.queue.cancel([gone.job_id], "op"))
    one.publish()
    assert stage.rows() == []
    one.publish()
    assert stage.rows() == ["v1", "v2", "v3"]
    assert stage.status(gone.job_id) == "CANCELLED"
    assert stage.stagings() == []


def test_the_answer_to_a_decision_is_lost(stage: Stage, one: Engine) -> None:
    pair(one)
    one.new(b"a.csv", "a2")
    one.new(b"c.csv", "c1")
    one.new(b"d.csv", "d1")
    one.ledger.after("decide", lost)
    with pytest.raises(UnavailableError):
        one.decide()
    one.publish()
    assert stage.rows() == ["a2", "b1", "c1", "d1"]
    assert stage.stagings() == []


@pytest.mark.parametrize("decided", [True, False])
def test_a_decision_in_doubt_is_not_mixed_with_new_ones(
    stage: Stage, one: Engine, decided: bool
) -> None:
    """Guard: what may be decided is sent again as it was; another correction of the same
    bundle waits until it stands, or does not."""
    pair(one)
    one.new(b"a.csv", "a2")
    (one.ledger.after if decided else one.ledger.before)("decide", lost)
    with pytest.raises(UnavailableError):
        one.decide()
    one.new(b"b.csv", "b2")
    one.publish()
    assert stage.rows() == ["a2", "b1"]
    stage.clock.advance(1)
    one.publish()
    assert stage.rows() == ["a2", "b2"]


@pytest.mark.parametrize("decided", [True, False])
def test_the_answer_and_one_lease_are_lost(
    stage: Stage, one: Engine, two: Engine, decided: bool
) -> None:
    """Guard: who was sent together stays together. What the others would be without the one
    is not what may have been decided."""
    claims = [one.new(b"a.csv", "a1"), one.new(b"b.csv", "b1"), one.new(b"c.csv", "c1")]
    (one.ledger.after if decided else one.ledger.before)("decide", lost)
    with pytest.raises(UnavailableError):
        one.decide()
    one.leases.remove(claims[1].job_id, claims[1].token)
    one.publish()
    assert stage.rows() == []
    stage.clock.advance(31)
    two.recover()
    two.promote()
    if not decided:
        stage.clock.advance(2)
        for text in ("a1", "b1", "c1"):
            two.stages(two.claim(), {"rows": {"v": [text]}})
        two.publish()
    assert stage.rows() == ["a1", "b1", "c1"]
    two.keeper.sweep()
    assert stage.stagings() == []


def test_a_file_that_cannot_be_written_fails_alone(
    stage: Stage, one: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk while bundles are written: tried again, and nothing is half there."""
    from casparian.adapters.sink import _parquet_bundles

    def full(*_: Any) -> None:
        raise OSError(28, os.strerror(28))

    claims = [one.new(b"a.csv", "a1"), one.new(b"b.csv", "b1")]
    with monkeypatch.context() as patch:
        patch.setattr(_parquet_bundles, "fresh", full)
        one.publish()
    assert stage.rows() == []
    assert {stage.status(c.job_id) for c in claims} == {"QUEUED"}


def test_what_was_sealed_in_other_company_cannot_be_removed(
    stage: Stage, one: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken disk before bundles are written anew: whose the old one is is tried again, the
    others go on without it."""
    from casparian.adapters.sink import _parquet_bundles

    def broken(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    claims = [one.new(b"%d.csv" % n, f"v{n}") for n in range(4)]
    lead, gone = claims[0], claims[3]
    one.ledger.before("decide", lambda: stage.stores.queue.cancel([gone.job_id], "op"))
    one.publish()
    with monkeypatch.context() as patch:
        patch.setattr(_parquet_bundles, "remove_tree", broken)
        one.publish()
    assert stage.rows() == ["v1", "v2"]
    assert stage.status(lead.job_id) == "QUEUED"
    stage.clock.advance(2)  # Longer than it waits for its next attempt.
    one.stages(one.claim(), {"rows": {"v": ["v0"]}})
    one.publish()
    assert stage.rows() == ["v0", "v1", "v2"]


@pytest.mark.parametrize("files", [1, 3])
def test_want_of_memory_costs_no_try(
    stage: Stage, one: Engine, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    """Arrow's error of it is one of its exceptions: it says nothing of the rows."""
    from casparian.adapters.sink import _bundle_files, _sealing

    def full(*_: object) -> None:
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    claims = [one.new(b"%d.csv" % n, f"v{n}") for n in range(files)]
    with monkeypatch.context() as patch:
        patch.setattr(_bundle_files, "shared_file", full)
        patch.setattr(_sealing, "small_file", full)
        one.publish()
    assert {stage.status(c.job_id) for c in claims} == {"QUEUED"}
    jobs = stage.stores.reports.jobs()
    assert {job["error"]["class"] for job in jobs if job["error"]} == {"INFRASTRUCTURE"}
    stage.clock.advance(2)  # Longer than they wait for their next attempt.
    for _ in range(files):
        claim = one.claim()
        one.stages(claim, {"rows": {"v": [claim.path.decode()]}})
    one.publish()
    assert stage.rows() == [f"{n}.csv" for n in range(files)]


# --- two engines ------------------------------------------------------------------------


def test_two_engines_correct_two_members(stage: Stage, one: Engine, two: Engine) -> None:
    """Guard: a bundle's next revision is granted to one of them."""
    pair(one)
    one.new(b"a.csv", "a2")
    two.new(b"b.csv", "b2")
    one.ledger.before("decide", two.publish)
    one.publish()
    assert stage.rows() == ["a1", "b2"]
    one.publish()
    assert stage.rows() == ["a2", "b2"]
    assert (one.staged, two.staged) == ([], [])


def test_a_bundle_that_is_decided_and_not_installed_waits(
    stage: Stage, one: Engine, two: Engine
) -> None:
    pair(one)
    one.new(b"a.csv", "a2")
    one.decide()
    two.new(b"b.csv", "b2")
    two.publish()
    assert (stage.rows(), two.decided) == (["a1", "b1"], [])
    one.promote()
    stage.clock.advance(1)
    two.publish()
    assert stage.rows() == ["a2", "b2"]


@pytest.mark.parametrize("first", [0, 1])
def test_each_member_is_taken_over_by_another_engine(
    stage: Stage, one: Engine, two: Engine, first: int
) -> None:
    """Guard: whoever comes second finds the revision standing, and exchanges nothing back."""
    pair(one)
    claims = [one.new(b"a.csv", "a2"), one.new(b"b.csv", "b2")]
    one.decide()
    stage.clock.advance(31)
    three = stage.engine("three")
    take(two, claims[0].job_id)
    take(three, claims[1].job_id)
    order = (two, three) if first == 0 else (three, two)
    for engine in order:
        engine.promote()
        assert stage.rows() == ["a2", "b2"]
    one.believes(claims[0])
    one.believes(claims[1])
    one.promote()
    assert stage.rows() == ["a2", "b2"]
    assert {stage.status(c.job_id) for c in claims} == {"COMPLETED"}
    two.keeper.sweep()
    assert stage.stagings() == []


@pytest.mark.parametrize("born", [True, False], ids=["born", "rewritten"])
@pytest.mark.parametrize("step", ["exchange", "rename_new"])
def test_a_second_holder_comes_right_before_the_exchange(
    stage: Stage, one: Engine, two: Engine, monkeypatch: pytest.MonkeyPatch, born: bool, step: str
) -> None:
    """Guard: an exchange names a path that only its promoter has."""
    if not born:
        pair(two)
    claims = [one.new(b"a.csv", "a2"), one.new(b"b.csv", "b2")]
    one.decide()
    stage.clock.advance(31)
    three = stage.engine("three")
    take(two, claims[0].job_id)
    take(three, claims[1].job_id)
    before(monkeypatch, step, three.promote)
    two.promote()
    assert stage.rows() == ["a2", "b2"]
    three.promote()
    two.promote()
    assert stage.rows() == ["a2", "b2"]
    assert {stage.status(c.job_id) for c in claims} == {"COMPLETED"}


def test_a_stale_promoter_wakes_up_much_later(
    stage: Stage, one: Engine, two: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: the path it exchanges from is gone, and the revision it names is long past."""
    pair(two)
    claims = [one.new(b"a.csv", "a2"), one.new(b"b.csv", "b2")]
    one.decide()

    def meanwhile() -> None:
        stage.clock.advance(31)
        two.recover()
        two.promote()
        two.new(b"b.csv", "b3")
        two.publish()
        for claim in claims:
            one.believes(claim)

    before(monkeypatch, "exchange", meanwhile)
    one.promote()
    assert stage.rows() == ["a2", "b3"]
    assert (one.ended, stage.stagings()) == ({}, [])


def test_one_completes_and_the_other_was_stopped(stage: Stage, one: Engine, two: Engine) -> None:
    """Guard: while a member waits for its completion, the bundle may move on around it."""
    pair(one)
    claims = [one.new(b"a.csv", "a2"), one.new(b"b.csv", "b2")]
    one.decide()
    stage.clock.advance(31)
    take(two, claims[0].job_id)
    two.promote()
    newer = two.new(b"a.csv", "a3")
    two.publish()
    assert stage.rows() == ["a3", "b2"]
    two.recover()
    two.promote()
    assert stage.rows() == ["a3", "b2"]
    assert {stage.status(c.job_id) for c in (*claims, newer)} == {"COMPLETED"}


def test_the_sweep_leaves_a_decided_bundle(stage: Stage, one: Engine, two: Engine) -> None:
    claims = [one.new(b"a.csv", "a1"), one.new(b"b.csv", "b1")]
    one.decide()
    two.keeper.sweep()
    stage.clock.advance(31)
    two.recover()
    stage.engine("three").keeper.sweep()
    two.promote()
    assert stage.rows() == ["a1", "b1"]
    assert {stage.status(c.job_id) for c in claims} == {"COMPLETED"}


# --- somebody's hand --------------------------------------------------------------------


def test_a_bundle_that_somebody_changed_is_not_written_over(stage: Stage, one: Engine) -> None:
    stage.spoilt = True
    pair(one)
    (file,) = bundle_of(stage).glob("*.parquet")
    file.write_bytes(file.read_bytes().replace(b"b1", b"b9"))
    newer = one.new(b"a.csv", "a2")
    one.publish()
    assert stage.rows() == ["a1", "b9"]
    job = stage.world.job(newer.job_id)
    assert job["status"] == "FAILED"
    assert "somebody changed it" in str(job["error"])


def test_a_bundle_that_somebody_removed_is_begun_anew(stage: Stage, one: Engine) -> None:
    stage.spoilt = True
    pair(one)
    shutil.rmtree(bundle_of(stage))
    one.new(b"a.csv", "a2")
    one.publish()
    assert stage.rows() == ["a2"]


def test_a_directory_restored_from_a_backup_is_refused(
    stage: Stage, one: Engine, tmp_path: Path
) -> None:
    stage.spoilt = True
    pair(one)
    bundle, backup = bundle_of(stage), tmp_path / "backup"
    shutil.copytree(bundle, backup)
    one.new(b"a.csv", "a2")
    one.publish()
    shutil.rmtree(bundle)
    shutil.copytree(backup, bundle)
    newer = one.new(b"b.csv", "b2")
    one.publish()
    assert stage.rows() == ["a1", "b1"]
    assert "restore" in str(stage.world.job(newer.job_id)["error"])


def _jobs(file: Path) -> list[dict[str, Any]]:
    from casparian.adapters.sink._bundle_files import jobs_in

    return jobs_in(file)


def before(monkeypatch: pytest.MonkeyPatch, name: str, do: Callable[[], object]) -> None:
    """Do this once, right before a bundle's or slot's directory moves in."""
    function = getattr(_marked, name)
    waiting = [do]

    def call(*arguments: Any) -> Any:
        if waiting:
            waiting.pop()()
        return function(*arguments)

    monkeypatch.setattr(_marked, name, call)
