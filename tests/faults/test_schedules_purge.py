"""Directed schedules of purges: what crashes leave of them, and who meets them on the way."""

from __future__ import annotations

from typing import Any

import pytest

from casparian.adapters.queue import QueueStores
from casparian.app.promoter import MOST_TRIES
from casparian.app.purging import purge_of
from casparian.domain.errors import ErrorClass
from casparian.domain.jobs import Claim, Failure, JobStatus
from casparian.domain.plugins import Mode, TopicConfig
from casparian.domain.publish import Target
from casparian.testing.world import LEASE_US, PLUGIN, VirtualClock, applied, plugin
from tests.support.outputs import Output
from tests.support.stepped import POLICY, Engine, Stage

BOTH_TOPICS = {"rows": {"v": ["1"]}, "more": {"v": ["m"]}}


@pytest.fixture(params=["replace", "append"])
def stage(
    request: pytest.FixtureRequest,
    stores: QueueStores,
    clock: VirtualClock,
    output: Output,
) -> Stage:
    mode = Mode(request.param)
    return Stage(stores, clock, output, {"rows": mode, "more": mode})


def published(engine: Engine, path: bytes, text: str, **topics: list[str]) -> Claim:
    """A file whose rows stand: `text` in the topic `rows`, and more."""
    tables = {"rows": {"v": [text]}, **{topic: {"v": values} for topic, values in topics.items()}}
    claim = engine.new(path, text, tables)
    engine.publish()
    assert engine.ended[claim.job_id] is JobStatus.COMPLETED
    return claim


def begin(engine: Engine, claim: Claim) -> Claim:
    """A purge of the file of `claim`, in the publisher's hands."""
    key = (claim.plugin, claim.location_id)
    begun = engine.stage.stores.queue.begin_purges(engine.name, [key], LEASE_US, "me@here")
    assert list(begun.in_the_way) == []
    (purge,) = begun.claims
    engine.leases.add([(purge.job_id, purge.token)])
    engine.publisher.submit(purge_of(purge, engine.ledger.installation))
    engine.publisher._collect()
    return purge


def markers(engine: Engine) -> dict[tuple[str, int, int], tuple[int, int]]:
    """(topic, location, version) to (job, rows) of every slot of the target."""
    return {
        (m.topic, m.location_id, m.version_id): (m.job_id, m.rows)
        for sink in engine.sinks()
        for _, m in sink.markers()
    }


def test_all_rows_of_a_file_go_and_no_others(stage: Stage, one: Engine) -> None:
    published(one, b"a.csv", "1", more=["m1"])
    last = published(one, b"a.csv", "2", more=["m2"])
    published(one, b"b.csv", "other")
    purge = begin(one, last)
    one.publish()
    assert one.ended[purge.job_id] is JobStatus.COMPLETED
    assert (stage.rows(), stage.rows("more")) == (["other"], [])
    assert stage.stagings() == []
    emptied = {job: rows for job, rows in markers(one).values() if job == purge.job_id}
    assert emptied == {purge.job_id: 0}
    published(one, b"a.csv", "3", more=["m3"])
    assert (stage.rows(), stage.rows("more")) == (["3", "other"], ["m3"])


def test_small_files_that_share_a_place(stage: Stage, one: Engine) -> None:
    """Of a group that is published together only the purged file's rows go."""
    for name in "abc":
        stage.world.record((f"{name}.csv".encode(), name))
    claims = [one.claim() for _ in range(3)]
    for claim, name in zip(claims, "abc", strict=True):
        one.stages(claim, {"rows": {"v": [name]}})
    one.publish()
    assert stage.rows() == ["a", "b", "c"]
    begin(one, claims[1])
    one.publish()
    assert stage.rows() == ["a", "c"]
    begin(one, claims[0])
    begin(one, claims[2])
    one.publish()
    assert stage.rows() == []
    published(one, b"b.csv", "again")
    assert stage.rows() == ["again"]


def test_killed_before_the_decision_nothing_is_removed(
    stage: Stage, one: Engine, two: Engine
) -> None:
    """The reaper ends it, it is not tried again, and its staging is swept."""
    claim = published(one, b"a.csv", "1")
    purge = begin(one, claim)
    one.ledger.before("decide", _killed)
    with pytest.raises(Killed):
        one.publisher._decide_due()
    stage.clock.advance(31)
    two.recover()
    two.keeper.sweep()
    assert (stage.status(purge.job_id), stage.rows(), stage.stagings()) == ("FAILED", ["1"], [])
    assert stage.stores.queue.retry([purge.job_id], "me") == []
    assert stage.stores.queue.claim("two", {claim.plugin: claim.plugin_hash}, 9, LEASE_US) == []
    begin(two, claim)
    two.publish()
    assert stage.rows() == []


def test_killed_after_the_decision_another_finishes(stage: Stage, one: Engine, two: Engine) -> None:
    claim = published(one, b"a.csv", "1", more=["m"])
    purge = begin(one, claim)
    one.decide()
    assert (one.decided, stage.rows(), stage.rows("more")) == ([purge.job_id], ["1"], ["m"])
    stage.clock.advance(31)
    two.recover()
    two.promote()
    assert two.ended == {purge.job_id: JobStatus.COMPLETED}
    assert (stage.rows(), stage.rows("more"), stage.stagings()) == ([], [], [])
    # Its first holder wakes up: it is not its any more.
    one.promote()
    assert one.ended == {claim.job_id: JobStatus.COMPLETED}


def test_killed_before_it_was_completed(stage: Stage, one: Engine, two: Engine) -> None:
    """The markers say that it was done: a second promote changes nothing."""
    claim = published(one, b"a.csv", "1")
    purge = begin(one, claim)
    one.decide()
    one.ledger.before("complete", _killed)
    with pytest.raises(Killed):
        one.promote()
    assert stage.rows() == []
    before = markers(two)
    stage.clock.advance(31)
    two.recover()
    two.promote()
    assert two.ended == {purge.job_id: JobStatus.COMPLETED}
    assert (stage.rows(), markers(two), stage.stagings()) == ([], before, [])


def test_a_version_that_comes_meanwhile_stays(stage: Stage, one: Engine, two: Engine) -> None:
    """Its rows are not those that were to go, whoever decides first."""
    claim = published(one, b"a.csv", "1")
    purge = begin(one, claim)
    published(two, b"a.csv", "2")
    one.publish()
    assert one.ended[purge.job_id] is JobStatus.FAILED
    assert "newer version" in str(stage.world.job(purge.job_id)["error"])
    append = markers(one).keys() > {("rows", claim.location_id, claim.file_version_id)}
    assert stage.rows() == (["1", "2"] if append else ["2"])


def test_a_version_that_comes_after_the_decision(stage: Stage, one: Engine, two: Engine) -> None:
    """It waits for the purge, and its rows stand."""
    claim = published(one, b"a.csv", "1")
    begin(one, claim)
    one.decide()
    newer = two.new(b"a.csv", "2")
    two.publish()
    assert (two.staged, stage.rows()) == ([newer.job_id], ["1"])
    one.promote()
    assert stage.rows() == []
    stage.clock.advance(1)
    two.publish()
    assert stage.rows() == ["2"]


def test_a_job_of_before_the_purge_that_is_tried_again(stage: Stage, one: Engine) -> None:
    """Rows of a version that was purged do not come back. In mode append a version that had
    never been published is another matter: its rows are no purged ones."""
    published(one, b"a.csv", "1")
    failed = one.new(b"a.csv", "2")
    one.publisher._staged.clear()
    failure = Failure(failed.job_id, 1, failed.token, ErrorClass.DATA, "It broke.")
    stage.stores.queue.fail([failure], POLICY)
    begin(one, failed)
    one.publish()
    assert stage.rows() == []
    assert stage.stores.queue.retry([failed.job_id], "me") == [failed.job_id]
    again = one.claim()
    one.stages(again, {"rows": {"v": ["2"]}})
    one.publish()
    append = stage.config.topics[0].mode is Mode.APPEND
    assert stage.rows() == (["2"] if append else [])
    assert one.ended[again.job_id] is (JobStatus.COMPLETED if append else JobStatus.SUPERSEDED)


def test_what_a_blocked_job_had_decided_goes_too(
    stage: Stage, one: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(one, b"a.csv", "1")
    blocked = one.new(b"a.csv", "2")
    one.decide()
    _break_sinks(one, monkeypatch)
    for _ in range(MOST_TRIES):
        one.promote()
        stage.clock.advance(6)
        one.keeper.renew()
    assert one.ended[blocked.job_id] is JobStatus.BLOCKED
    monkeypatch.undo()
    purge = begin(one, blocked)
    one.publish()
    assert stage.rows() == []
    assert stage.status(blocked.job_id) == "SUPERSEDED"
    assert stage.status(purge.job_id) == "COMPLETED"


def test_rows_in_a_target_that_the_topic_has_left(stage: Stage, one: Engine) -> None:
    """They stay there until they are purged, and no configuration names the target any more."""
    claim = published(one, b"a.csv", "1")
    elsewhere = stage.output.uri("rows", "elsewhere")
    config = plugin(topics=[TopicConfig("rows", elsewhere, stage.config.topics[0].mode)])
    stage.config = config
    stage.world.apply(applied(plugins=[config]))
    later = stage.engine("later")
    published(later, b"a.csv", "2")
    assert stage.rows() == ["1"]
    (document,) = stage.stores.reports.published(lambda path: True)
    targets = {o["target"]: (o["rows"], o["job_id"]) for o in document["outputs"]}
    assert targets[str(_target(stage, "out"))] == (1, claim.job_id)
    begin(later, claim)
    later.publish()
    assert stage.rows() == []
    assert stage.stores.reports.published(lambda path: True) == []
    assert stage.stagings() == []


def _target(stage: Stage, name: str) -> Target:
    return stage.output.factory.parse(stage.output.uri("rows", name), "/", PLUGIN, "rows")


class Killed(BaseException):
    """The process ends here: nothing after it is run."""


def _killed() -> None:
    raise Killed


def _break_sinks(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from casparian.domain.publish import Receipt

    def refuse(items: Any) -> list[Receipt]:
        return [Receipt(item.item, None, "It is full of sand.") for item in items]

    for sink in engine.sinks():
        monkeypatch.setattr(sink, "promote", refuse)
