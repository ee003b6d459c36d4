"""The contract of JobQueue. A subclass gives the fixture `stores`; numbers are the port's."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from casparian.domain.errors import ErrorClass
from casparian.domain.jobs import COSTS, Claim, Failure, JobStatus, RetryPolicy
from casparian.domain.ports import JobQueue, WorkerNode
from casparian.domain.routing import RoutingRule
from casparian.testing.duplicates import DuplicateContract
from casparian.testing.purges import PurgeContract
from casparian.testing.world import (
    HASH,
    LEASE_US,
    PLUGIN,
    SECOND_US,
    Stores,
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


def node(name: str = "n1", pid: int = 7, stopped: bool = False) -> WorkerNode:
    return WorkerNode(
        name, "host", pid, "host/boot", 1, ("worker",), "ipc://x", {"python": "3"},
        "abc", "me", 5, 0, {"jobs": 1}, stopped,
    )  # fmt: skip


class JobQueueContract(PurgeContract, DuplicateContract):
    """Hold an adapter to the promises of JobQueue."""

    @pytest.fixture
    def clock(self) -> VirtualClock:
        return VirtualClock()

    @pytest.fixture
    def stores(self, clock: VirtualClock) -> Stores:
        raise NotImplementedError("give the adapter under test")

    @pytest.fixture
    def world(self, stores: Stores, clock: VirtualClock) -> World:
        world = World(stores, clock)
        world.apply()
        return world

    @pytest.fixture
    def queue(self, world: World) -> JobQueue:
        return world.stores.queue

    # --- claiming ---

    @pytest.mark.parametrize("batch", [1, 10, 100])
    def test_threads_claim_no_job_twice(self, world: World, batch: int) -> None:
        """Promise 1."""
        world.record_many(200)
        start = threading.Barrier(4)

        def claim_all(name: str) -> list[int]:
            start.wait()
            won: list[int] = []
            while claims := world.claim(batch, name):
                won += [claim.job_id for claim in claims]
            return won

        with ThreadPoolExecutor(4) as pool:
            won = [i for ids in pool.map(claim_all, ("w1", "w2", "w3", "w4")) for i in ids]
        assert sorted(won) == list(range(1, 201))

    def test_higher_priority_first_then_age_then_id(
        self, world: World, clock: VirtualClock
    ) -> None:
        """Promise 2: each step of priority is worth `ageing_us` of waiting."""
        rules = (RoutingRule("**", "csv", 0), RoutingRule("hot/**", "csv", 1))
        world.apply(applied(rules))
        world.record((b"old", "1"))
        clock.advance(61)
        world.record((b"hot/a", "2"), (b"b", "3"), (b"c", "4"), (b"hot/b", "5"))
        order = [claim.path for claim in world.claim(10)]
        assert order == [b"old", b"hot/a", b"hot/b", b"b", b"c"]

    def test_a_changed_ageing_reorders_what_waits(self, world: World, clock: VirtualClock) -> None:
        """Promise 2: with ageing 0 priority is strict."""
        rules = (RoutingRule("**", "csv", 0), RoutingRule("hot/**", "csv", 1))
        world.apply(applied(rules))
        world.record((b"old", "1"))
        clock.advance(61)
        world.record((b"hot/a", "2"))
        world.apply(applied(rules, ageing_us=0))
        world.record((b"new", "3"), (b"hot/b", "4"))
        order = [claim.path for claim in world.claim(10)]
        assert order == [b"hot/a", b"hot/b", b"old", b"new"]

    def test_no_claim_before_its_time(
        self, world: World, queue: JobQueue, clock: VirtualClock
    ) -> None:
        """Promise 2."""
        world.record((b"a.csv", "1"))
        claim = world.claim_one()
        assert queue.release({claim.job_id: claim.token}, 10 * SECOND_US) == {claim.job_id}
        assert queue.next_due_us() == clock() + 10 * SECOND_US
        assert queue.next_due_us(["other"]) is None
        clock.advance(9.999999)
        assert world.claim() == []
        clock.advance(0.000001)
        assert world.claim_one().attempt == 2

    def test_a_claim_is_a_new_attempt_with_a_new_token(self, world: World) -> None:
        """Promise 3: also for each job of a batch; tokens are 32 hex digits."""
        world.record_many(3)
        tokens = set()
        for attempt in (1, 2):
            claims = world.claim(3)
            assert {claim.attempt for claim in claims} == {attempt}
            tokens |= {claim.token for claim in claims}
            held = {claim.job_id: claim.token for claim in claims}
            assert world.stores.queue.release(held) == set(held)
        assert len(tokens) == 6
        assert all(len(t) == 32 and int(t, 16) >= 0 for t in tokens)

    def test_only_wanted_plugins_are_claimed(self, world: World) -> None:
        """Promise 3: and each with the hash of the code that will run."""
        world.apply(applied(plugins=(plugin("lines"), plugin("other"))))
        world.record_many(2)
        queue = world.stores.queue
        assert queue.claim("w", {}, 10, LEASE_US) == []
        assert queue.claim("w", {"unknown": "h"}, 10, LEASE_US) == []
        assert queue.claim("w", {"other": "h"}, 0, LEASE_US) == []
        claims = queue.claim("w", {"unknown": "h", "other": "h2"}, 10, LEASE_US)
        assert [(c.plugin, c.plugin_hash) for c in claims] == [("other", "h2")] * 2
        assert [c.plugin for c in world.claim(10)] == ["lines"] * 2

    # --- leases ---

    def test_renew_keeps_a_job_from_the_reaper(
        self, world: World, queue: JobQueue, clock: VirtualClock
    ) -> None:
        """Promise 7: and one without is requeued as soon as its lease is over."""
        world.record_many(2)
        kept, lost = world.claim(2)
        clock.advance(29)
        assert queue.renew("worker-1", {kept.job_id: kept.token}, LEASE_US) == {kept.job_id}
        clock.advance(1)
        assert queue.reap(POLICY) == 1
        assert world.statuses() == {kept.job_id: "RUNNING", lost.job_id: "QUEUED"}

    def test_a_stale_token_changes_nothing(
        self, world: World, queue: JobQueue, clock: VirtualClock
    ) -> None:
        """Promise 4: of an attempt before, of another worker, of another job, or of none."""
        world.record_many(2)
        old, other = world.claim(2)
        clock.advance(31)
        queue.reap(POLICY)
        clock.advance(60)
        now = {claim.job_id: claim for claim in world.claim(2)}
        before = world.stores.reports.jobs()
        stale = {old.job_id: old.token, 999: "x"}
        swapped = {old.job_id: now[other.job_id].token}
        for tokens in (stale, swapped, {old.job_id: ""}):
            assert queue.renew("worker-1", tokens, LEASE_US) == set()
            assert queue.release(tokens) == set()
        mine = {old.job_id: now[old.job_id].token}
        assert queue.renew("worker-2", mine, LEASE_US) == set()
        assert queue.fail([failure(old)], POLICY) == {}
        assert world.stores.reports.jobs() == before

    def test_release_uses_no_budget(self, world: World, queue: JobQueue) -> None:
        """Promise 6."""
        world.record((b"a.csv", "1"))
        for attempt in range(1, 20):
            claim = world.claim_one()
            assert claim.attempt == attempt
            assert queue.release({claim.job_id: claim.token}) == {claim.job_id}
        assert world.history(b"a.csv") == ["RELEASED"] * 19

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

    def test_jobs_are_looked_up_by_number(self, world: World) -> None:
        """Each once, in their order, beside the other conditions; of unknown ones nothing."""
        world.record_many(4)
        reports, (first, *_, last) = world.stores.reports, world.statuses()
        found = reports.jobs(ids=[last, first, last, 10**9, -1])
        assert found == [job for job in reports.jobs() if job["id"] in (first, last)]
        assert reports.jobs("FAILED", ids=[first]) == reports.jobs(ids=[]) == []
        assert len(reports.jobs(ids=range(first, first + 5000))) == 4

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

    # --- the operator ---

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

    # --- the state of the queue ---

    def test_backlog_counts_by_status(self, world: World, queue: JobQueue) -> None:
        assert sum(queue.backlog().values()) == 0
        world.record_many(7)
        done, decided, failed, _ = world.claim(4)
        world.publish(done)
        world.decide(decided)
        queue.fail([failure(failed, ErrorClass.DATA)], POLICY)
        queue.cancel([7], "ann")
        assert {s: n for s, n in queue.backlog().items() if n} == {
            JobStatus.COMPLETED: 1,
            JobStatus.PROMOTING: 1,
            JobStatus.FAILED: 1,
            JobStatus.RUNNING: 1,
            JobStatus.QUEUED: 2,
            JobStatus.CANCELLED: 1,
        }

    def test_heartbeats(self, world: World, queue: JobQueue, clock: VirtualClock) -> None:
        """Promise 8: written by the queue's clock; a new process takes its pid's row."""
        queue.beat(node("n1"))
        queue.beat(node("n2", pid=8))
        clock.advance(5)
        queue.beat(node("n1", stopped=True))
        first, second = queue.workers()
        assert first.heartbeat_at_us == clock()
        assert second.heartbeat_at_us == clock() - 5 * SECOND_US
        assert (first.stopped, first.roles, first.versions["python"]) == (True, ("worker",), "3")
        queue.beat(node("n3"))
        assert sorted(n.id for n in queue.workers()) == ["n2", "n3"]

    def test_a_wake_ends_a_wait(self, queue: JobQueue) -> None:
        """A wake that comes before the wait is not lost either."""
        queue.wait(0.2)
        queue.wake()
        waited = threading.Event()

        def wait() -> None:
            queue.wait(60)
            waited.set()

        queue.wait(60)
        thread = threading.Thread(target=wait)
        thread.start()
        while not waited.wait(0.01):
            queue.wake()
        thread.join()

    def test_new_jobs_end_a_wait(self, world: World, queue: JobQueue) -> None:
        queue.wait(0.2)
        thread = threading.Thread(target=world.record_many, args=(3,))
        thread.start()
        while not (claims := world.claim(3)):
            queue.wait(60)
        thread.join()
        assert claims[0].plugin_hash == HASH

    def test_a_wait_ends_in_time(self, queue: JobQueue) -> None:
        """It returns, though nothing happens."""
        queue.wait(0)
        queue.wait(0.05)
