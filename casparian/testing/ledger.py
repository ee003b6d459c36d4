"""The contract of PublishLedger. A subclass gives the fixture `stores`; numbers are the port's."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from casparian.domain.errors import IllegalTransitionError
from casparian.domain.jobs import Claim, JobStatus, RetryPolicy
from casparian.domain.plugins import Mode
from casparian.domain.ports import KnownPlaces, PublishLedger
from casparian.domain.publish import (
    Completion,
    Generation,
    Refusal,
    SchemaChange,
    SlotState,
)
from casparian.domain.schemas import Column, TargetSchema
from casparian.testing.bundles import BundleContract
from casparian.testing.world import LEASE_US, TARGET, Stores, VirtualClock, World, published

NARROW = TargetSchema((Column("n", "int32"),)).to_json()
WIDE = TargetSchema((Column("n", "int64"),)).to_json()


class PublishLedgerContract(BundleContract):
    """Hold an adapter to the promises of PublishLedger."""

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
    def ledger(self, world: World) -> PublishLedger:
        return world.stores.ledger

    @pytest.fixture
    def claim(self, world: World) -> Claim:
        """One running job."""
        world.record((b"a.csv", "1"))
        return world.claim_one()

    # --- decide ---

    def test_a_decision_is_written_whole(
        self, world: World, ledger: PublishLedger, claim: Claim
    ) -> None:
        """Promise 3: lock, generation, slots, schema, status."""
        change = SchemaChange(TARGET, None, NARROW)
        topics = ("rows", "_rejects")
        decision = world.decision(claim, topics, schemas=[change])
        decision = replace(decision, sandbox="full", environment="e" * 64)
        # It ran with code that came after the claim.
        newer = replace(decision.manifest, plugin_hash="b" * 64)
        decision = replace(decision, manifest=newer)
        assert ledger.decide([decision]) == {}
        assert world.slot(claim) == SlotState(
            Generation(1, claim.job_id),
            claim.job_id,
            (published(claim, "_rejects"), published(claim, "rows")),
        )
        assert ledger.schemas([TARGET, TARGET._replace(name="other")]) == {
            TARGET: TargetSchema.from_json(NARROW)
        }
        job = world.job(claim.job_id)
        assert (job["status"], job["rejects"], job["sandbox"]) == ("PROMOTING", 5, "full")
        assert job["environment_digest"] == "e" * 64
        assert job["plugin_hash"] == "b" * 64
        fate = ledger.fates([claim.job_id, 999])[claim.job_id]
        assert (fate.status, fate.attempt, fate.token) == (JobStatus.PROMOTING, 1, claim.token)

    def test_a_group_is_decided_all_or_nothing(self, world: World, ledger: PublishLedger) -> None:
        """Promise 1: one stale token, and nobody is decided."""
        world.record_many(3)
        claims = world.claim(3)
        decisions = [world.decision(claim) for claim in claims]
        decisions[1] = replace(decisions[1], token="0" * 32)
        before = world.stores.reports.jobs()
        assert ledger.decide(decisions) == {claims[1].job_id: Refusal.STALE}
        assert world.stores.reports.jobs() == before
        assert [world.slot(claim) for claim in claims] == [SlotState()] * 3
        assert ledger.decide([decisions[0], decisions[2]]) == {}
        assert ledger.decide([]) == {}

    def test_stale_attempts_are_refused(
        self, world: World, ledger: PublishLedger, claim: Claim, clock: VirtualClock
    ) -> None:
        """Promise 2: reaped and claimed again, decided already, unknown."""
        old = world.decision(claim)
        clock.advance(31)
        world.stores.queue.reap(RetryPolicy())
        assert ledger.decide([old]) == {claim.job_id: Refusal.STALE}
        clock.advance(20)
        again = world.claim_one()
        assert ledger.decide([old]) == {claim.job_id: Refusal.STALE}
        mine = world.decision(again)
        assert ledger.decide([replace(mine, attempt=1)]) == {claim.job_id: Refusal.STALE}
        assert ledger.decide([replace(mine, job_id=999)]) == {999: Refusal.STALE}
        assert ledger.decide([mine]) == {}
        assert ledger.decide([mine]) == {claim.job_id: Refusal.STALE}

    def test_a_held_location_waits(self, world: World, ledger: PublishLedger, claim: Claim) -> None:
        """Promise 2: until the holder has completed; then the plan is of yesterday."""
        world.record((b"a.csv", "2"))
        newer = world.claim_one()
        world.decide(claim)
        planned = world.decision(newer)
        assert ledger.decide([planned]) == {newer.job_id: Refusal.HELD}
        world.complete(claim)
        assert ledger.decide([planned]) == {}
        assert world.slot(newer).generation == Generation(2, newer.job_id)

    def test_two_of_one_location_in_a_group(
        self, world: World, ledger: PublishLedger, claim: Claim
    ) -> None:
        """Promise 2: the first given wins, the other is decided later."""
        world.record((b"a.csv", "2"))
        newer = world.claim_one()
        group = [world.decision(claim), world.decision(newer)]
        assert ledger.decide(group) == {newer.job_id: Refusal.HELD}
        assert world.slot(claim) == SlotState()

    def test_a_moved_slot_is_planned_again(
        self, world: World, ledger: PublishLedger, claim: Claim
    ) -> None:
        """Promise 2: generation or published slots are not those planned on."""
        world.record((b"a.csv", "2"))
        newer = world.claim_one()
        stale_plan = world.decision(claim)
        world.publish(newer)
        assert ledger.decide([stale_plan]) == {claim.job_id: Refusal.MOVED}
        less = replace(stale_plan, planned_on=replace(world.slot(claim), published=()))
        assert ledger.decide([less]) == {claim.job_id: Refusal.MOVED}
        assert ledger.decide([world.decision(claim)]) == {}

    def test_an_older_version_never_lowers_the_generation(
        self, world: World, ledger: PublishLedger, claim: Claim
    ) -> None:
        """Promise 3, and the rule that a slot's generation never falls."""
        world.record((b"a.csv", "2"))
        newer = world.claim_one()
        world.publish(newer)
        older = world.decision(claim, topics=())
        assert ledger.decide([older]) == {}
        assert world.slot(claim).generation == Generation(2, newer.job_id)
        assert world.complete(claim, JobStatus.SUPERSEDED) == {claim.job_id}
        assert world.slot(claim) == SlotState(
            Generation(2, newer.job_id), None, (published(newer),)
        )

    def test_a_schema_is_compared_and_set(self, world: World, ledger: PublishLedger) -> None:
        """Promise 2: whoever loses the race checks again."""
        world.record_many(3)
        first, second, third = world.claim(3)
        sets = SchemaChange(TARGET, None, NARROW)
        widens = SchemaChange(TARGET, NARROW, WIDE)
        early = world.decision(second, schemas=[widens])
        assert ledger.decide([early]) == {second.job_id: Refusal.SCHEMA}
        group = [world.decision(first, schemas=[sets]), world.decision(third, schemas=[sets])]
        assert ledger.decide(group) == {third.job_id: Refusal.SCHEMA}
        assert ledger.schemas([TARGET]) == {}
        assert ledger.decide(group[:1]) == {}
        assert ledger.decide([early]) == {}
        assert ledger.schemas([TARGET]) == {TARGET: TargetSchema.from_json(WIDE)}
        assert ledger.decide(group[1:]) == {third.job_id: Refusal.SCHEMA}
        assert ledger.decide([world.decision(third)]) == {}

    def test_paths_that_are_no_utf8(self, world: World, ledger: PublishLedger) -> None:
        """Promise 3: targets and files whose names are bytes."""
        world.record((b"\xff.csv", "1"))
        claim = world.claim_one()
        target = TARGET._replace(location="/out/\udcfe")
        decision = world.decision(claim, schemas=[SchemaChange(target, None, NARROW)])
        item = replace(decision.manifest.items[0], target=target)
        manifest = replace(decision.manifest, items=(item,))
        assert ledger.decide([replace(decision, manifest=manifest)]) == {}
        assert world.slot(claim).published[0].target == target
        assert list(ledger.schemas([target])) == [target]
        (taken,) = ledger.take_over("w2", 1, LEASE_US, ["worker-1"])
        assert taken.manifest == manifest

    def test_places_that_were_published_to(self, world: World, ledger: PublishLedger) -> None:
        """KnownPlaces, promise 1."""
        if not isinstance(ledger, KnownPlaces):
            pytest.skip("this ledger does not tell what it has published to")
        world.record((b"a.csv", "1"))
        target = TARGET._replace(location="/out/\udcfe")
        decision = world.decision(world.claim_one(), schemas=[SchemaChange(target, None, NARROW)])
        assert not ledger.has_published_to("parquet", "/out/\udcfe")
        assert ledger.decide([decision]) == {}
        assert ledger.has_published_to("parquet", "/out/\udcfe")
        assert not ledger.has_published_to("parquet", "/out")
        assert not ledger.has_published_to("sqlite", "/out/\udcfe")

    def test_many_threads_decide(self, world: World, ledger: PublishLedger) -> None:
        """Promises 1 and 3: of ten versions of one file, one at a time holds the lock."""
        for i in range(10):
            world.record((b"a.csv", str(i)))
        claims, start = world.claim(10), threading.Barrier(10)

        def decide(claim: Claim) -> bool:
            decision = world.decision(claim)
            start.wait()
            return ledger.decide([decision]) == {}

        with ThreadPoolExecutor(10) as pool:
            won = [c for c, ok in zip(claims, pool.map(decide, claims), strict=True) if ok]
        (winner,) = won
        assert world.slot(winner).holder == winner.job_id
        assert list(world.statuses().values()).count("PROMOTING") == 1

    # --- complete ---

    def test_completing_lets_go(self, world: World, ledger: PublishLedger, claim: Claim) -> None:
        """Promise 4: once, and by the holder of the token."""
        world.decide(claim)
        stolen = claim._replace(token="0" * 32)
        assert world.complete(stolen) == set()
        assert world.complete(claim) == {claim.job_id}
        assert world.complete(claim) == set()
        assert world.slot(claim).holder is None
        job = world.job(claim.job_id)
        assert (job["status"], job["rows"], job["error"]) == ("COMPLETED", 5, None)
        assert ledger.fates([claim.job_id])[claim.job_id].token is None

    def test_a_running_job_is_not_completed(self, world: World, claim: Claim) -> None:
        """Promise 4: no step leads from RUNNING to COMPLETED."""
        assert world.complete(claim) == set()
        assert world.statuses() == {claim.job_id: "RUNNING"}

    def test_a_promoted_job_cannot_end_failed(
        self, world: World, ledger: PublishLedger, claim: Claim
    ) -> None:
        """Promise 4: a decided commit is rolled forward for ever."""
        world.decide(claim)
        with pytest.raises(IllegalTransitionError, match=f"job {claim.job_id}"):
            ledger.complete([Completion(claim.job_id, claim.token, JobStatus.FAILED, 0)])
        assert world.statuses() == {claim.job_id: "PROMOTING"}

    def test_emptied_slots_are_forgotten(
        self, world: World, ledger: PublishLedger, claim: Claim
    ) -> None:
        """Promise 4: at the completion, not before, and no others."""
        world.publish(claim, ("rows", "more"))
        world.record((b"a.csv", "2"))
        newer = world.claim_one()
        gone = published(claim, "more")
        assert ledger.decide([world.decision(newer, emptied=[gone])]) == {}
        assert gone in world.slot(newer).published
        assert world.complete(newer, emptied=[gone]) == {newer.job_id}
        assert world.slot(newer).published == (published(newer),)

    def test_append_slots_are_kept_by_version(
        self, world: World, ledger: PublishLedger, claim: Claim
    ) -> None:
        """Promise 3: each version of the file has its own."""
        assert ledger.decide([world.decision(claim, mode=Mode.APPEND)]) == {}
        world.complete(claim)
        world.record((b"a.csv", "2"))
        newer = world.claim_one()
        assert ledger.decide([world.decision(newer, mode=Mode.APPEND)]) == {}
        assert world.slot(newer).published == (
            published(claim, mode=Mode.APPEND),
            published(newer, mode=Mode.APPEND),
        )

    # --- block ---

    def test_a_blocked_job_lets_go_and_keeps_its_manifest(
        self, world: World, ledger: PublishLedger, claim: Claim
    ) -> None:
        """Promise 6."""
        world.decide(claim)
        assert not ledger.block(claim.job_id, "0" * 32, "No room.")
        assert ledger.block(claim.job_id, claim.token, "No room.")
        assert not ledger.block(claim.job_id, claim.token, "No room.")
        assert world.slot(claim).holder is None
        (failure,) = world.stores.reports.current_failures()
        assert failure["error"] is not None
        assert failure["error"]["message"] == "No room."
        (story,) = world.stores.reports.why(b"a.csv")
        assert [o["topic"] for o in story["versions"][0]["jobs"][0]["outputs"]] == ["rows"]

    def test_a_newer_completion_ends_blocked_jobs(
        self, world: World, ledger: PublishLedger, claim: Claim
    ) -> None:
        """Promise 4: of the same plugin and location; and never a newer one."""
        world.record((b"b.csv", "1"), (b"a.csv", "2"), (b"a.csv", "3"))
        other, second, third = world.claim(3)
        for blocked in (claim, other, third):
            world.decide(blocked)
            assert ledger.block(blocked.job_id, blocked.token, "No room.")
        world.publish(second, topics=())
        statuses = world.statuses()
        assert statuses[claim.job_id] == "SUPERSEDED"
        assert statuses[second.job_id] == "COMPLETED"
        assert (statuses[other.job_id], statuses[third.job_id]) == ("BLOCKED", "BLOCKED")

    # --- take over ---

    def test_decided_jobs_are_taken_over(
        self, world: World, ledger: PublishLedger, claim: Claim, clock: VirtualClock
    ) -> None:
        """Promise 5: when the lease is over, with a fresh token, at the same attempt."""
        world.decide(claim)
        clock.advance(29)
        assert ledger.take_over("w2", 5, LEASE_US) == []
        clock.advance(1)
        assert ledger.take_over("w2", 0, LEASE_US) == []
        (taken,) = ledger.take_over("w2", 5, LEASE_US)
        assert taken.manifest == world.manifest(claim)
        assert (taken.attempt, taken.token != claim.token) == (1, True)
        assert ledger.take_over("w3", 5, LEASE_US) == []
        assert world.complete(claim) == set()
        assert not ledger.block(claim.job_id, claim.token, "Too late.")
        assert world.complete(claim._replace(token=taken.token)) == {claim.job_id}
        assert world.history(b"a.csv") == ["TAKEN_OVER"]

    def test_the_decided_jobs_of_the_dead_are_taken_at_once(
        self, world: World, ledger: PublishLedger
    ) -> None:
        """Promise 5: up to the limit, oldest first; running jobs are no concern of it."""
        world.record_many(4)
        claims = world.claim(4)
        for claim in claims[:3]:
            world.decide(claim)
        first = ledger.take_over("w2", 2, LEASE_US, ["worker-1", "w9"])
        rest = ledger.take_over("w2", 2, LEASE_US, ["worker-1", "w9"])
        assert [p.job_id for p in (*first, *rest)] == [c.job_id for c in claims[:3]]
        assert world.statuses()[claims[3].job_id] == "RUNNING"

    # --- the installation ---

    def test_the_installation_stays(self, world: World, ledger: PublishLedger) -> None:
        """Promise 7."""
        installation = ledger.installation
        assert len(installation) == 32
        assert int(installation, 16) >= 0
        world.record_many(3)
        assert ledger.installation == installation

    def test_the_highest_job_id(self, world: World, ledger: PublishLedger) -> None:
        assert ledger.highest_job_id() == 0
        world.record_many(3)
        assert ledger.highest_job_id() == 3
