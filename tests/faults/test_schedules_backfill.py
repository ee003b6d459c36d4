"""Directed schedules of backfills: who else publishes of the same file meanwhile."""

from __future__ import annotations

from casparian.domain.backfill import Backfills
from casparian.domain.jobs import Claim, JobStatus
from casparian.domain.plugins import code_hash
from casparian.testing.world import LEASE_US, PLUGIN, applied, code
from tests.support.stepped import Engine, Stage

NEW_CODE = b"class Handler: 'better'\n"


def backfills(stage: Stage) -> Backfills:
    assert stage.stores.backfills is not None
    return stage.stores.backfills


def deploy(stage: Stage) -> None:
    stage.world.apply(applied(plugins=[stage.config], manifests=[code(PLUGIN, NEW_CODE)]))


def ask(stage: Stage) -> list[int]:
    ids = [old.version_id for old in backfills(stage).outdated(PLUGIN)]
    return list(backfills(stage).enqueue_backfills(PLUGIN, ids, "me@here").values())


def run(engine: Engine, *values: str) -> Claim:
    """Claim the next job for the new code and stage rows for it."""
    plugins = {PLUGIN: code_hash(NEW_CODE)}
    (claim,) = engine.stage.stores.queue.claim(engine.name, plugins, 1, LEASE_US)
    engine.leases.add([(claim.job_id, claim.token)])
    engine.stages(claim, {"rows": {"v": list(values)}})
    return claim


def test_a_newer_version_is_published_while_the_older_is_backfilled(
    stage: Stage, one: Engine, two: Engine
) -> None:
    one.new(b"a.csv", "v1")
    one.publish()
    deploy(stage)
    (job,) = ask(stage)
    assert run(one, "v1 again").job_id == job
    two.new(b"a.csv", "v2")
    two.publish()
    one.publish()
    assert stage.rows() == ["v2"]
    assert stage.status(job) == JobStatus.SUPERSEDED
    # The newer one is of other code too, in this schedule: it is its turn.
    assert ask(stage)
    run(one, "v2 again")
    one.publish()
    assert stage.rows() == ["v2 again"]


def test_a_backfill_is_decided_before_the_newer_version(
    stage: Stage, one: Engine, two: Engine
) -> None:
    one.new(b"a.csv", "v1")
    one.publish()
    deploy(stage)
    (job,) = ask(stage)
    run(one, "v1 again")
    one.decide()
    two.new(b"a.csv", "v2")
    two.publish()
    one.promote()
    assert stage.rows() == ["v1 again"]
    stage.clock.advance(0.1)
    two.publish()
    assert (stage.rows(), stage.status(job)) == (["v2"], JobStatus.COMPLETED)


def test_a_backfill_that_is_asked_for_twice_runs_once(stage: Stage, one: Engine) -> None:
    """Guard: a version on which a job waits gets no other."""
    one.new(b"a.csv", "v1")
    one.publish()
    deploy(stage)
    ids = [old.version_id for old in backfills(stage).outdated(PLUGIN)]
    (job,) = backfills(stage).enqueue_backfills(PLUGIN, ids, "one").values()
    assert backfills(stage).enqueue_backfills(PLUGIN, ids, "two") == {}
    assert run(one, "v1 again").job_id == job
    one.publish()
    assert stage.rows() == ["v1 again"]
    assert stage.stores.queue.next_due_us() is None
