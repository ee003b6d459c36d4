"""The contract of JobQueue about claims and their leases (promises 1 to 4, 6 and 7)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from casparian.domain.ports import JobQueue
from casparian.domain.routing import RoutingRule
from casparian.testing.failures import POLICY, failure
from casparian.testing.world import LEASE_US, SECOND_US, VirtualClock, World, applied, plugin


class ClaimContract:
    """Hold a queue to what it promises whoever claims a job, and whoever has one."""

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
