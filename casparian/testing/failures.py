"""The contract of JobQueue about attempts that fail, and those whose worker is gone."""

from __future__ import annotations

import pytest

from casparian.domain.errors import ErrorClass
from casparian.domain.jobs import COSTS, Claim, Failure, JobStatus, RetryPolicy
from casparian.domain.ports import JobQueue
from casparian.testing.world import (
    LEASE_US,
    PLUGIN,
    SECOND_US,
    VirtualClock,
    World,
    applied,
    plugin,
)

POLICY = RetryPolicy()


def failure(
    claim: Claim, error_class: ErrorClass = ErrorClass.CRASH, newer: bool = False
) -> Failure:
    return Failure(
        claim.job_id, claim.attempt, claim.token, error_class, "It broke.", "Traceback", newer
    )


class FailureContract:
    """Hold a queue to what it promises of failures (promises 2, 4, 5, 9) and of reaping (7)."""

    # --- failures ---

    @pytest.mark.parametrize("error_class", list(ErrorClass))
    def test_failures_follow_the_policy(
        self, world: World, queue: JobQueue, clock: VirtualClock, error_class: ErrorClass
    ) -> None:
        """Promise 5: at once, after three crashes, after five tries, or never."""
        world.record((b"a.csv", "1"))
        cost = COSTS[error_class]
        tries = 1 if cost.final else 3 if cost.crashes else 5 if cost.tries else 20
        for nth in range(1, tries + 1):
            claim = world.claim_one()
            status = queue.fail([failure(claim, error_class)], POLICY)[claim.job_id]
            ends = nth == tries and bool(cost.tries)
            assert status is (JobStatus.FAILED if ends else JobStatus.QUEUED)
            clock.advance(601 * 1.2)

    def test_backoff_doubles(self, world: World, queue: JobQueue, clock: VirtualClock) -> None:
        """Promise 5: 10 s, then 20 s, each ±20 %."""
        world.record((b"a.csv", "1"))
        for wait in (10, 20, 40):
            claim = world.claim_one()
            queue.fail([failure(claim, ErrorClass.ENGINE)], POLICY)
            due = queue.next_due_us()
            assert due is not None
            assert 0.8 * wait <= (due - clock()) / SECOND_US <= 1.2 * wait
            clock.now_us = due

    def test_a_clock_that_is_set_back_puts_no_job_off(
        self, world: World, queue: JobQueue, clock: VirtualClock
    ) -> None:
        """Promise 2: neither a new one nor one that was to be tried again."""
        clock.now_us += 3600 * SECOND_US
        world.record((b"a.csv", "1"))
        queue.fail([failure(world.claim_one(), ErrorClass.ENGINE)], POLICY)
        world.record((b"b.csv", "2"))
        clock.now_us -= 3600 * SECOND_US
        assert {world.claim_one().path, world.claim_one().path} == {b"a.csv", b"b.csv"}

    def test_every_attempt_is_kept(
        self, world: World, queue: JobQueue, clock: VirtualClock
    ) -> None:
        """Promise 5."""
        world.record((b"a.csv", "1"))
        claim = world.claim_one()
        queue.fail([failure(claim, ErrorClass.CRASH)], POLICY)
        clock.advance(13)
        claim = world.claim_one("worker-2")
        text = "Bad \udcff byte and \0."
        last = Failure(
            claim.job_id,
            claim.attempt,
            claim.token,
            ErrorClass.DATA,
            text,
            sandbox="off",
            plugin_hash="b" * 64,
            environment="e" * 64,
        )
        assert world.job(claim.job_id)["sandbox"] is None
        queue.fail([last], POLICY)
        (job,) = world.stores.reports.current_failures()
        assert (job["sandbox"], job["plugin_hash"]) == ("off", "b" * 64)
        assert job["environment_digest"] == "e" * 64
        assert job["error"] is not None
        assert (job["status"], job["error"]["class"]) == ("FAILED", "DATA")
        assert job["error"]["message"].startswith("Bad ")
        attempts = job["error"]["attempts"]
        assert [(a["attempt"], a["event"], a["worker"], a["class"]) for a in attempts] == [
            (1, "REQUEUED", "worker-1", "CRASH"),
            (2, "FAILED", "worker-2", "DATA"),
        ]

    def test_an_attempt_fails_once(self, world: World, queue: JobQueue) -> None:
        """Promise 4: reported twice, in one call and in two."""
        world.record((b"a.csv", "1"))
        claim = world.claim_one()
        assert queue.fail([failure(claim), failure(claim)], POLICY) == {
            claim.job_id: JobStatus.QUEUED
        }
        assert queue.fail([failure(claim)], POLICY) == {}
        assert len(world.history(b"a.csv")) == 1

    def test_gone_bytes_are_superseded_by_a_newer_version(
        self, world: World, queue: JobQueue
    ) -> None:
        """Promise 5: and only then."""
        world.record((b"a.csv", "1"), (b"b.csv", "1"))
        world.record((b"a.csv", "2"))
        first, second, newest = world.claim(3)
        gone = [failure(c, ErrorClass.SOURCE_GONE, newer=True) for c in (first, second, newest)]
        assert queue.fail(gone, POLICY) == {
            first.job_id: JobStatus.SUPERSEDED,
            second.job_id: JobStatus.FAILED,
            newest.job_id: JobStatus.FAILED,
        }

    def test_a_quarantined_plugin_loses_what_waits(self, world: World, queue: JobQueue) -> None:
        """Promise 9: QUEUED jobs of that plugin, and no other."""
        world.apply(applied(plugins=(plugin("lines"), plugin("other"))))
        world.record_many(3)
        running = world.claim_one()
        assert queue.fail_queued(PLUGIN, "It kills its host.") == 2
        assert queue.fail_queued(PLUGIN, "Again.") == 0
        jobs = world.stores.reports.jobs(plugin=PLUGIN)
        assert sorted(job["status"] for job in jobs) == ["FAILED", "FAILED", "RUNNING"]
        assert world.job(running.job_id)["status"] == "RUNNING"
        errors = [job["error"] for job in jobs if job["error"]]
        assert {error["class"] for error in errors} == {"QUARANTINED"}
        assert len(world.stores.reports.jobs("QUEUED", "other")) == 3

    # --- reaping ---

    def test_the_jobs_of_a_dead_worker_are_reaped_at_once(
        self, world: World, queue: JobQueue
    ) -> None:
        """Promise 7."""
        world.record_many(2)
        (dead,), (alive,) = world.claim(1, "w1"), world.claim(1, "w2")
        assert queue.reap(POLICY, ["w1", "w3"]) == 1
        assert queue.reap(POLICY, ["w1"]) == 0
        assert world.statuses() == {dead.job_id: "QUEUED", alive.job_id: "RUNNING"}

    def test_reaping_counts_toward_the_attempts(
        self, world: World, queue: JobQueue, clock: VirtualClock
    ) -> None:
        """Promise 7: the fifth death ends the job, as no crash of the plugin."""
        world.record((b"a.csv", "1"))
        for _ in range(5):
            world.claim_one()
            clock.advance(31)
            assert queue.reap(POLICY) == 1
            clock.advance(721)
        assert world.statuses() == {1: "FAILED"}
        assert world.history(b"a.csv") == ["REAPED"] * 5

    def test_a_decided_job_is_not_reaped(
        self, world: World, queue: JobQueue, clock: VirtualClock
    ) -> None:
        """Promise 7: RUNNING jobs only; a decision is rolled forward."""
        world.record((b"a.csv", "1"))
        claim = world.claim_one()
        world.decide(claim)
        clock.advance(100)
        assert queue.reap(POLICY, ["worker-1"]) == 0
        assert queue.fail([failure(claim)], POLICY) == {}
        assert queue.release({claim.job_id: claim.token}) == set()
        assert world.statuses() == {claim.job_id: "PROMOTING"}
        assert queue.renew("worker-1", {claim.job_id: claim.token}, LEASE_US) == {claim.job_id}
