"""The contract of JobQueue about purges (promises 12 and 13)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from casparian.domain.departures import Action, Departures, Outcome
from casparian.domain.errors import ErrorClass
from casparian.domain.jobs import Claim, Failure, JobKind, JobStatus, RetryPolicy
from casparian.domain.plugins import Mode
from casparian.domain.ports import JobQueue, PurgesBegun, Unfinished
from casparian.domain.publish import (
    EMPTY_DIGEST,
    Completion,
    Decision,
    Generation,
    ManifestItem,
    Refusal,
)
from casparian.domain.routing import RoutingRule
from casparian.testing.world import LEASE_US, PLUGIN, VirtualClock, World, applied, code, plugin

POLICY = RetryPolicy(max_attempts=5)


def begin(world: World, *claims: Claim, worker: str = "purger") -> PurgesBegun:
    """Purge the files of these claims."""
    keys = [(claim.plugin, claim.location_id) for claim in claims]
    return world.stores.queue.begin_purges(worker, keys, LEASE_US, "me@here")


def begin_one(world: World, claim: Claim, worker: str = "purger") -> Claim:
    begun = begin(world, claim, worker=worker)
    assert list(begun.in_the_way) == []
    (purge,) = begun.claims
    return purge


def decision(world: World, purge: Claim) -> Decision:
    """A decision that empties all that stands."""
    state = world.slot(purge)
    items = [
        ManifestItem(p.target, p.mode, p.slot, False, 0, EMPTY_DIGEST) for p in state.published
    ]
    empty = world.decision(purge, topics=(), emptied=state.published)
    return world.with_items(empty, items)


def finish(world: World, purge: Claim) -> None:
    """S2 to S4."""
    decided = decision(world, purge)
    assert world.stores.ledger.decide([decided]) == {}
    emptied = decided.manifest.emptied
    done = Completion(purge.job_id, purge.token, JobStatus.COMPLETED, 0, emptied)
    assert world.stores.ledger.complete([done]) == {purge.job_id}


def failed(world: World, claim: Claim, error: ErrorClass) -> dict[int, JobStatus]:
    failure = Failure(claim.job_id, claim.attempt, claim.token, error, "It broke.")
    return world.stores.queue.fail([failure], POLICY)


def published_rows(world: World) -> Sequence[tuple[str, int | None]]:
    """(topic, rows) of what stands, by the reports."""
    documents = world.stores.reports.published(lambda path: True)
    return [(o["topic"], o["rows"]) for document in documents for o in document["outputs"]]


class PurgeContract:
    """Part of `JobQueueContract`, whose fixtures it uses."""

    def test_a_purge_runs_from_its_beginning(self, world: World, queue: JobQueue) -> None:
        """Promise 12."""
        world.record((b"a.csv", "1"))
        world.publish(first := world.claim_one())
        purge = begin_one(world, first)
        assert purge.job_id > first.job_id
        assert (purge.attempt, purge.plugin_hash, len(purge.token)) == (1, "", 32)
        assert (purge.location_id, purge.ordinal) == (first.location_id, 1)
        assert (purge.path, purge.content_hash) == (first.path, first.content_hash)
        job = world.job(purge.job_id)
        assert (job["kind"], job["status"], job["worker"]) == ("PURGE", "RUNNING", "purger")
        assert world.job(first.job_id)["kind"] == "RUN"
        (story,) = world.stores.reports.why(b"a.csv")
        (event,) = story["versions"][0]["jobs"][1]["events"]
        assert (event["event"], event["actor"]) == ("PURGED", "me@here")
        assert world.claim(10) == []
        assert queue.renew("purger", {purge.job_id: purge.token}, LEASE_US) == {purge.job_id}

    def test_purged_rows_are_gone_and_the_next_version_stands(self, world: World) -> None:
        """Promise 12: newer than every job before it, and older than every job after."""
        world.record((b"a.csv", "1"))
        world.publish(first := world.claim_one(), ("rows", "more"))
        assert published_rows(world) == [("more", 5), ("rows", 5)]
        purge = begin_one(world, first)
        finish(world, purge)
        assert published_rows(world) == []
        state = world.slot(first)
        assert (state.generation, state.published) == (Generation(1, purge.job_id), ())
        world.record((b"a.csv", "2"))
        world.publish(world.claim_one())
        assert published_rows(world) == [("rows", 5)]

    def test_a_purge_is_of_the_version_that_stands(self, world: World) -> None:
        """Promise 12: the rows may be those of an older one, and of several in mode append."""
        claims = []
        for text in "12":
            world.record((b"a.csv", text))
            claims.append(claim := world.claim_one())
            assert world.stores.ledger.decide([world.decision(claim, mode=Mode.APPEND)]) == {}
            world.complete(claim)
        world.record((b"a.csv", "3"))
        failed(world, world.claim_one(), ErrorClass.DATA)
        assert published_rows(world) == [("rows", 5), ("rows", 5)]
        purge = begin_one(world, claims[0])
        assert purge.ordinal == 3
        finish(world, purge)
        assert published_rows(world) == []

    def test_an_unfinished_job_is_in_the_way(self, world: World, clock: VirtualClock) -> None:
        """Promise 12: waiting, running, promoting; of this plugin and file only."""
        world.apply(applied(plugins=[plugin(), plugin("other")]))
        world.record((b"a.csv", "1"))
        (first,) = world.claim(1, plugins={PLUGIN: code().content_hash})
        (second,) = world.claim(1, plugins={"other": code("other").content_hash})
        world.publish(second)
        key = (PLUGIN, first.location_id)

        def in_the_way(status: JobStatus, kind: JobKind = JobKind.RUN, job_id: int = 0) -> None:
            begun = begin(world, first)
            assert list(begun.claims) == []
            assert list(begun.in_the_way) == [
                Unfinished(job_id or first.job_id, *key, status, kind)
            ]

        in_the_way(JobStatus.RUNNING)
        world.stores.queue.release({first.job_id: first.token})
        in_the_way(JobStatus.QUEUED)
        (first,) = world.claim(1, plugins={PLUGIN: code().content_hash})
        world.decide(first)
        in_the_way(JobStatus.PROMOTING)
        begun = begin(world, first, second)
        assert [claim.plugin for claim in begun.claims] == ["other"]
        world.complete(first)
        purge = begin_one(world, first)
        in_the_way(JobStatus.RUNNING, JobKind.PURGE, purge.job_id)

    def test_a_purge_is_never_queued(
        self, world: World, queue: JobQueue, clock: VirtualClock
    ) -> None:
        """Promise 13: failing, releasing, reaping, retrying."""
        world.record((b"a.csv", "1"))
        world.publish(first := world.claim_one())
        purge = begin_one(world, first)
        assert queue.release({purge.job_id: purge.token}) == set()
        for error in (ErrorClass.INFRASTRUCTURE, ErrorClass.CONFLICT, ErrorClass.ENGINE):
            assert failed(world, purge, error) == {purge.job_id: JobStatus.FAILED}
            assert queue.retry([purge.job_id], "me") == []
            purge = begin_one(world, first)
        clock.advance(31)
        assert queue.reap(POLICY) == 1
        assert world.job(purge.job_id)["status"] == "FAILED"
        assert world.stores.ledger.decide([decision(world, purge)]) == {purge.job_id: Refusal.STALE}
        other = begin_one(world, first)
        assert queue.reap(POLICY, ["purger"]) == 1
        assert "nothing was removed" in str(world.job(other.job_id)["error"])
        purge = begin_one(world, first)
        assert queue.cancel([purge.job_id], "me") == [purge.job_id]
        assert queue.retry([purge.job_id], "me") == []
        assert (queue.next_due_us(), world.claim(10)) == (None, [])
        assert published_rows(world) == [("rows", 5)]
        assert world.stores.reports.current_failures() == []

    def test_a_blocked_purge_is_taken_up_again(self, world: World, queue: JobQueue) -> None:
        """Promise 13: it was decided."""
        world.record((b"a.csv", "1"))
        world.publish(first := world.claim_one())
        purge = begin_one(world, first)
        ledger = world.stores.ledger
        assert ledger.decide([decision(world, purge)]) == {}
        assert ledger.block(purge.job_id, purge.token, "The disk is gone.")
        (blocked,) = world.stores.reports.current_failures()
        assert (blocked["id"], blocked["kind"]) == (purge.job_id, "PURGE")
        assert queue.retry([purge.job_id], "me") == [purge.job_id]
        (again,) = ledger.take_over("worker-2", 10, LEASE_US, ["purger"])
        assert (again.job_id, again.manifest.emptied) == (purge.job_id, world.slot(first).published)

    def test_what_was_purged_is_not_taken_away(self, world: World, queue: JobQueue) -> None:
        """Promise 13, and promise 1 of Departures: a purge is no run that went well."""
        world.record((b"a.csv", "1"))
        world.publish(first := world.claim_one())
        world.apply(applied(plugins=[plugin(tags=["none"])]))
        world.record((b"b.csv", "1"))

        departures = cast(Departures, world.stores.catalog)

        def leaving() -> list[bytes]:
            planned = departures.plan_departures(
                world.root.id, Action.DELETE, lambda path, ordinal: b"", world.clock(), 10
            )
            for departure in planned:
                departures.end_departure(departure.version_id, Outcome.KEPT)
            world.clock.advance(1)
            return [departure.path for departure in planned]

        assert leaving() == [b"a.csv"]
        given_up = begin_one(world, first)
        assert leaving() == []
        failed(world, given_up, ErrorClass.DATA)
        assert leaving() == [b"a.csv"]
        finish(world, begin_one(world, first))
        assert leaving() == []

    def test_a_purge_is_no_run_of_its_version(self, world: World) -> None:
        """Promise 13: a plugin that comes to the version later gets its job."""
        world.record((b"a.csv", "1"))
        world.publish(first := world.claim_one())
        world.apply(applied(plugins=[plugin(tags=["none"])]))
        world.record((b"a.csv", "2"))
        finish(world, begin_one(world, first))
        rules = (RoutingRule("**/*.csv", "csv"),)
        assert world.apply(applied(rules, plugins=[plugin()])) == 1
        claim = world.claim_one()
        assert (claim.ordinal, world.job(claim.job_id)["kind"]) == (2, "RUN")
