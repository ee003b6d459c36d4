"""The contract of Backfills. A subclass gives the fixture `stores`; numbers are the port's."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import pytest

from casparian.domain.backfill import Backfills, InTheWay, Outdated
from casparian.domain.errors import ErrorClass
from casparian.domain.jobs import Claim, Failure, JobStatus, RetryPolicy
from casparian.domain.plugins import Duplicates, Mode, PluginConfig, TopicConfig, code_hash
from casparian.domain.publish import EMPTY_DIGEST, ManifestItem
from casparian.domain.routing import RoutingRule
from casparian.testing.world import (
    CODE,
    HASH,
    LEASE_US,
    PLUGIN,
    Stores,
    VirtualClock,
    World,
    applied,
    code,
    plugin,
)

NEW_CODE = b"class Handler: 'better'\n"
NEW_HASH = code_hash(NEW_CODE)
APPENDED = plugin(topics=[TopicConfig("rows", "parquet:///out", Mode.APPEND)])
SKIPPING = plugin(topics=[TopicConfig("rows", "parquet:///out", duplicates=Duplicates.SKIP)])


class BackfillStores(Stores, Protocol):
    """The stores, of which this suite needs one more."""

    @property
    def backfills(self) -> Backfills | None: ...


class BackfillsContract:
    """Hold an adapter to the promises of Backfills."""

    @pytest.fixture
    def clock(self) -> VirtualClock:
        return VirtualClock()

    @pytest.fixture
    def stores(self, clock: VirtualClock) -> BackfillStores:
        raise NotImplementedError("give the adapter under test")

    @pytest.fixture
    def backfills(self, stores: BackfillStores) -> Backfills:
        assert stores.backfills is not None
        return stores.backfills

    @pytest.fixture
    def world(self, stores: BackfillStores, clock: VirtualClock) -> World:
        world = World(stores, clock)
        world.apply()
        return world

    def deploy(
        self, world: World, source: bytes = NEW_CODE, config: PluginConfig | None = None
    ) -> None:
        world.apply(applied(plugins=[config or plugin()], manifests=[code(PLUGIN, source)]))

    def claim(self, world: World, limit: int = 10, content_hash: str = NEW_HASH) -> list[Claim]:
        return world.claim(limit, plugins={PLUGIN: content_hash})

    def outdated(self, backfills: Backfills) -> list[Outdated]:
        return list(backfills.outdated(PLUGIN))

    def enqueue(self, backfills: Backfills, actor: str = "me@here") -> dict[int, int]:
        ids = [old.version_id for old in backfills.outdated(PLUGIN)]
        return dict(backfills.enqueue_backfills(PLUGIN, ids, actor))

    # --- what is outdated ---

    def test_1_what_other_code_has_made(self, world: World, backfills: Backfills) -> None:
        world.record((b"a.csv", "1"), (b"b.csv", "2"))
        first, second = world.claim(2)
        world.publish(first)
        world.publish(second)
        assert self.outdated(backfills) == []
        self.deploy(world)
        old, other = self.outdated(backfills)
        assert (old.version_id, other.version_id) == (first.file_version_id, second.file_version_id)
        assert (old.plugin, old.job_id, old.plugin_hash) == (PLUGIN, first.job_id, HASH)
        assert (old.root_path, old.path, old.ordinal) == (first.root_path, b"a.csv", 1)
        assert (old.content_hash, old.identity) == (first.content_hash, first.identity)
        assert (old.rows, old.current, old.in_the_way) == (5, True, None)
        self.deploy(world, CODE)
        assert self.outdated(backfills) == []

    def test_1_a_job_that_published_nothing_made_its_rows_too(
        self, world: World, backfills: Backfills
    ) -> None:
        world.record((b"a.csv", "1"))
        world.publish(world.claim_one(), topics=())
        self.deploy(world)
        assert [old.path for old in self.outdated(backfills)] == [b"a.csv"]

    def test_1_only_what_is_completed(self, world: World, backfills: Backfills) -> None:
        world.record_many(4)
        failed, cancelled, decided, _ = world.claim(4)
        failure = Failure(failed.job_id, 1, failed.token, ErrorClass.DATA, "It broke.")
        world.stores.queue.fail([failure], RetryPolicy())
        world.stores.queue.cancel([cancelled.job_id], "me")
        world.decide(decided)
        self.deploy(world)
        assert self.outdated(backfills) == []
        world.complete(decided)
        assert [old.job_id for old in self.outdated(backfills)] == [decided.job_id]

    def test_1_none_of_a_plugin_that_does_not_run(self, world: World, backfills: Backfills) -> None:
        world.record((b"a.csv", "1"))
        world.publish(world.claim_one())
        assert list(backfills.outdated("unknown")) == []
        self.deploy(world)
        (old,) = self.outdated(backfills)
        world.apply(applied(plugins=[plugin("other")]))
        assert self.outdated(backfills) == []
        assert backfills.enqueue_backfills(PLUGIN, [old.version_id], "me") == {}

    def test_1_many_versions_each_once(self, world: World, backfills: Backfills) -> None:
        world.record_many(260)
        for claim in world.claim(260):
            world.publish(claim)
        self.deploy(world)
        ids = [old.version_id for old in backfills.outdated(PLUGIN)]
        assert (len(ids), ids) == (260, sorted(set(ids)))
        assert sorted(self.enqueue(backfills)) == ids

    # --- what could still be installed ---

    def versions(self, world: World, mode: Mode) -> list[Claim]:
        """Three versions of one file, all published."""
        claims = []
        for text in "123":
            world.record((b"a.csv", text))
            claims.append(claim := world.claim_one())
            assert world.stores.ledger.decide([world.decision(claim, mode=mode)]) == {}
            world.complete(claim)
        return claims

    def test_2_of_replaced_rows_those_that_stand(self, world: World, backfills: Backfills) -> None:
        claims = self.versions(world, Mode.REPLACE)
        self.deploy(world)
        assert [old.job_id for old in self.outdated(backfills)] == [claims[2].job_id]

    def test_2_of_appended_rows_all(self, world: World, backfills: Backfills) -> None:
        world.apply(applied(plugins=[APPENDED]))
        claims = self.versions(world, Mode.APPEND)
        self.deploy(world, config=APPENDED)
        found = self.outdated(backfills)
        assert [(old.job_id, old.current) for old in found] == [
            (claim.job_id, claim is claims[2]) for claim in claims
        ]

    def test_2_none_behind_a_newer_version_that_is_decided(
        self, world: World, backfills: Backfills
    ) -> None:
        world.record((b"a.csv", "1"))
        world.publish(first := world.claim_one())
        world.record((b"a.csv", "2"))
        newer = world.claim_one()
        self.deploy(world)
        (old,) = self.outdated(backfills)
        assert (old.job_id, old.current) == (first.job_id, False)
        world.decide(newer)
        assert self.outdated(backfills) == []
        assert backfills.enqueue_backfills(PLUGIN, [old.version_id], "me") == {}

    # --- what is gone ---

    @pytest.mark.parametrize("mode", [Mode.REPLACE, Mode.APPEND])
    def test_3_purged_rows_stay_away(self, world: World, backfills: Backfills, mode: Mode) -> None:
        config = APPENDED if mode is Mode.APPEND else plugin()
        world.apply(applied(plugins=[config]))
        *_, last = self.versions(world, mode)
        key = (PLUGIN, last.location_id)
        (purge,) = world.stores.queue.begin_purges("purger", [key], LEASE_US, "me").claims
        state = world.slot(purge)
        empty = world.decision(purge, topics=(), emptied=state.published)
        items = [
            ManifestItem(p.target, p.mode, p.slot, False, 0, EMPTY_DIGEST) for p in state.published
        ]
        assert world.stores.ledger.decide([world.with_items(empty, items)]) == {}
        world.complete(purge, emptied=state.published)
        self.deploy(world, config=config)
        assert self.outdated(backfills) == []
        # What came since then is of somebody's code again.
        world.record((b"a.csv", "4"))
        (newest,) = self.claim(world, content_hash=HASH)
        world.publish(newest)
        assert [old.job_id for old in self.outdated(backfills)] == [newest.job_id]

    def test_3_skipped_copies_are_left_to_their_doer(
        self, world: World, backfills: Backfills
    ) -> None:
        world.apply(applied(plugins=[SKIPPING]))
        world.record((b"a.csv", "same"))
        world.publish(doer := world.claim_one())
        world.record((b"b.csv", "same"))
        self.deploy(world, config=SKIPPING)
        assert [old.job_id for old in self.outdated(backfills)] == [doer.job_id]
        ((_, job_id),) = self.enqueue(backfills).items()
        (claim,) = self.claim(world)
        world.publish(claim)
        assert (claim.job_id, claim.path) == (job_id, b"a.csv")
        assert sorted(world.statuses().values()) == ["COMPLETED", "COMPLETED", "SKIPPED"]
        # It is the doer now: when its rows go, the copy takes its place.
        world.record((b"a.csv", "other"))
        (other,) = self.claim(world)
        world.publish(other)
        assert [(c.path, c.content_hash) for c in self.claim(world)] == [
            (b"b.csv", doer.content_hash)
        ]

    def test_3_rows_that_were_withdrawn_stay_away(self, world: World, backfills: Backfills) -> None:
        world.apply(applied(plugins=[SKIPPING]))
        world.record((b"a.csv", "one"), (b"b.csv", "two"))
        for claim in world.claim(2):
            world.publish(claim)
        world.record((b"b.csv", "one"))
        withdraw = world.claim_one()
        world.publish(withdraw, topics=())
        self.deploy(world, config=SKIPPING)
        assert [old.path for old in self.outdated(backfills)] == [b"a.csv"]

    # --- what is in the way ---

    def test_4_a_newer_run_of_the_version_is_told(self, world: World, backfills: Backfills) -> None:
        world.record((b"a.csv", "1"))
        world.publish(world.claim_one())
        self.deploy(world)
        ((version_id, job_id),) = self.enqueue(backfills).items()

        def told(status: JobStatus | None) -> None:
            (old,) = self.outdated(backfills)
            assert old.in_the_way == (status and InTheWay(job_id, status))
            if status is not None:
                assert backfills.enqueue_backfills(PLUGIN, [version_id], "me") == {}

        told(JobStatus.QUEUED)
        (claim,) = self.claim(world)
        told(JobStatus.RUNNING)
        failure = Failure(job_id, claim.attempt, claim.token, ErrorClass.DATA, "It broke.")
        world.stores.queue.fail([failure], RetryPolicy())
        told(JobStatus.FAILED)
        assert world.stores.queue.retry([job_id], "me") == [job_id]
        (claim,) = self.claim(world)
        world.decide(claim)
        told(JobStatus.PROMOTING)
        assert world.stores.ledger.block(job_id, claim.token, "The disk is gone.")
        told(JobStatus.BLOCKED)
        world.stores.queue.retry([job_id], "me")
        (again,) = world.stores.ledger.take_over("worker-2", 1, LEASE_US, ["worker-1"])
        world.complete(claim._replace(token=again.token))
        assert self.outdated(backfills) == []

    def test_4_what_was_cancelled_may_be_asked_for_again(
        self, world: World, backfills: Backfills
    ) -> None:
        world.record((b"a.csv", "1"))
        world.publish(world.claim_one())
        self.deploy(world)
        ((_, first),) = self.enqueue(backfills).items()
        world.stores.queue.cancel([first], "me")
        ((_, second),) = self.enqueue(backfills).items()
        assert second > first

    # --- jobs ---

    def test_5_a_job_replaces_the_rows_and_its_history_says_why(
        self, world: World, backfills: Backfills
    ) -> None:
        world.record((b"a.csv", "1"))
        world.publish(first := world.claim_one())
        self.deploy(world)
        ((version_id, job_id),) = self.enqueue(backfills, "eve@desk").items()
        assert version_id == first.file_version_id
        (claim,) = self.claim(world)
        assert (claim.job_id, claim.plugin_hash, claim.ordinal) == (job_id, NEW_HASH, 1)
        world.publish(claim)
        state = world.slot(claim)
        assert state.generation is not None
        assert (state.generation.enqueue, len(state.published)) == (job_id, 1)
        assert self.outdated(backfills) == []
        (story,) = world.stores.reports.why(b"a.csv")
        (event, *_) = story["versions"][0]["jobs"][1]["events"]
        assert (event["event"], event["actor"]) == ("BACKFILLED", "eve@desk")
        assert event["message"] == (
            f"Job {first.job_id} made its rows with code {HASH[:12]}; {NEW_HASH[:12]} is live."
        )

    def test_5_two_at_once_make_no_job_twice(self, world: World, backfills: Backfills) -> None:
        world.record_many(40)
        for claim in world.claim(40):
            world.publish(claim)
        self.deploy(world)
        ids = [old.version_id for old in self.outdated(backfills)]

        def ask(who: str) -> dict[int, int]:
            return dict(backfills.enqueue_backfills(PLUGIN, ids, who))

        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(ask, ["a", "b", "c", "d"]))
        made = [version_id for answer in answers for version_id in answer]
        assert sorted(made) == ids
        assert len(self.claim(world, 100)) == 40

    def test_5_only_those_that_were_asked_for(self, world: World, backfills: Backfills) -> None:
        world.record_many(3)
        for claim in world.claim(3):
            world.publish(claim)
        self.deploy(world)
        first, *_, last = self.outdated(backfills)
        asked: Sequence[int] = [first.version_id, last.version_id, last.version_id, 10**6]
        assert sorted(backfills.enqueue_backfills(PLUGIN, asked, "me")) == [
            first.version_id,
            last.version_id,
        ]
        assert len(self.claim(world)) == 2

    @pytest.mark.parametrize("ageing_us", [0, 60_000_000])
    def test_6_fresh_files_come_first_however_long_it_waits(
        self, world: World, backfills: Backfills, clock: VirtualClock, ageing_us: int
    ) -> None:
        rules = (RoutingRule("**/*.csv", "csv", -1000),)

        def configured(ageing: int) -> None:
            manifests = [code(PLUGIN, NEW_CODE)]
            world.apply(applied(rules, manifests=manifests, ageing_us=ageing))

        world.record((b"a.csv", "1"), (b"b.csv", "2"))
        for claim in world.claim(2):
            world.publish(claim)
        configured(ageing_us)
        backfilled = sorted(self.enqueue(backfills).values())
        clock.advance(400 * 24 * 3600)
        world.record((b"c.csv", "3"))
        # Also where the order of all jobs is made anew.
        configured(1_000_000)
        fresh, *rest = self.claim(world)
        assert (fresh.path, [c.job_id for c in rest]) == (b"c.csv", backfilled)
