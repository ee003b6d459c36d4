"""The contract of JobQueue about what an operator does to jobs (promises 9 to 11)."""

from __future__ import annotations

from casparian.domain.errors import ErrorClass
from casparian.domain.ports import JobQueue
from casparian.testing.failures import POLICY, failure
from casparian.testing.world import LEASE_US, SECOND_US, VirtualClock, World


class OperatorContract:
    """Hold a queue to what it promises who cancels, retries and prunes."""

    def test_cancel_takes_the_token_away(self, world: World, queue: JobQueue) -> None:
        """Promise 10: of queued and running jobs, and of no others."""
        world.record_many(3)
        done = world.claim_one()
        world.publish(done)
        running = world.claim_one()
        queued = running.job_id + 1
        ids = [done.job_id, running.job_id, queued, 999]
        assert queue.cancel(ids, "ann") == [running.job_id, queued]
        assert queue.fail([failure(running)], POLICY) == {}
        assert queue.renew("worker-1", {running.job_id: running.token}, LEASE_US) == set()
        assert world.ledger_refuses(running)
        statuses = world.statuses()
        assert (statuses[done.job_id], statuses[queued]) == ("COMPLETED", "CANCELLED")
        assert world.claim(5) == []

    def test_retry_resets_the_budgets(
        self, world: World, queue: JobQueue, clock: VirtualClock
    ) -> None:
        """Promise 10: the attempt goes on growing."""
        world.record((b"a.csv", "1"))
        for expected in ("FAILED", "FAILED"):
            while world.statuses()[1] != "FAILED":
                clock.advance(721)
                queue.fail([failure(world.claim_one())], POLICY)
            assert world.statuses()[1] == expected
            assert queue.retry([1, 1, 999], "ann") == [1]
            assert world.job(1)["error"] is None
        assert world.claim_one().attempt == 7
        retried = [e for e in world.history(b"a.csv") if e == "RETRIED"]
        assert len(retried) == 2

    def test_a_cancelled_job_may_be_retried(self, world: World, queue: JobQueue) -> None:
        """Promise 10."""
        world.record((b"a.csv", "1"))
        assert queue.cancel([1], "ann") == [1]
        assert queue.retry([1], "ann") == [1]
        assert world.claim_one().job_id == 1
        assert world.history(b"a.csv") == ["CANCELLED", "RETRIED"]

    def test_retry_leaves_others_alone(self, world: World, queue: JobQueue) -> None:
        """Promise 9: QUEUED, RUNNING, PROMOTING, COMPLETED."""
        world.record_many(4)
        done, decided, running = world.claim(3)
        world.publish(done)
        world.decide(decided)
        before = world.statuses()
        assert queue.retry([1, 2, 3, 4], "ann") == []
        assert world.statuses() == before
        assert running.job_id in before

    def test_a_blocked_job_is_promoted_again(self, world: World, queue: JobQueue) -> None:
        """Promise 10: whoever takes over first; the manifest is the one decided on."""
        world.record((b"a.csv", "1"))
        claim = world.claim_one()
        world.decide(claim)
        assert world.stores.ledger.block(claim.job_id, claim.token, "No room.")
        assert queue.retry([claim.job_id], "ann") == [claim.job_id]
        assert world.slot(claim).holder == claim.job_id
        (taken,) = world.stores.ledger.take_over("w2", 5, LEASE_US)
        assert (taken.job_id, taken.attempt) == (claim.job_id, 1)
        assert taken.token != claim.token
        assert taken.manifest == world.manifest(claim)

    def test_a_blocked_job_waits_for_the_lock(self, world: World, queue: JobQueue) -> None:
        """Promise 10: while a newer job of the location holds it, nothing changes."""
        world.record((b"a.csv", "1"))
        old = world.claim_one()
        world.decide(old)
        world.stores.ledger.block(old.job_id, old.token, "No room.")
        world.record((b"a.csv", "2"))
        new = world.claim_one()
        world.decide(new)
        assert queue.retry([old.job_id], "ann") == []
        assert world.statuses()[old.job_id] == "BLOCKED"

    def test_prune_keeps_what_rows_are_traced_by(
        self, world: World, queue: JobQueue, clock: VirtualClock
    ) -> None:
        """Promise 11: of ended jobs, and never of those that are decided or current."""
        world.record((b"a.csv", "1"), (b"b.csv", "1"), (b"c.csv", "1"))
        published, failed, waiting = world.claim(3)
        queue.fail([failure(published, ErrorClass.CRASH), failure(failed, ErrorClass.DATA)], POLICY)
        queue.release({waiting.job_id: waiting.token}, delay_us=900 * SECOND_US)
        clock.advance(60)
        world.publish(again := world.claim_one())
        assert again.job_id == published.job_id
        clock.advance(60)
        assert queue.prune(clock() - 300 * SECOND_US, "ann") == (0, 0)
        assert world.stores.reports.status()["prunings"] == []
        assert queue.prune(clock(), "ann") == (0, 2)
        assert len(world.statuses()) == 3
        assert world.history(b"c.csv") == ["RELEASED"]
        world.record((b"a.csv", "2"), (b"b.csv", "2"))
        clock.advance(60)
        assert queue.prune(clock(), "bob") == (1, 0)
        assert failed.job_id not in world.statuses()
        assert world.stores.reports.trace(published.job_id) is not None
        assert queue.prune(clock(), "ann") == (0, 0)
        newest, oldest = world.stores.reports.status()["prunings"]
        assert (oldest["actor"], oldest["jobs"], oldest["events"]) == ("ann", 0, 2)
        assert (newest["actor"], newest["jobs"], newest["events"]) == ("bob", 1, 0)
        assert newest["at"] == newest["before"] > oldest["at"] == oldest["before"]

    def test_what_was_cancelled_late_is_not_pruned(
        self, world: World, queue: JobQueue, clock: VirtualClock
    ) -> None:
        """Promise 11: a job is as old as its end, not as its beginning."""
        world.record((b"a.csv", "1"))
        begun = clock()
        clock.advance(60)
        queue.cancel([1], "ann")
        world.record((b"a.csv", "2"))
        assert queue.prune(begun + SECOND_US, "ann") == (0, 0)
        assert queue.prune(clock() + SECOND_US, "ann") == (1, 1)
