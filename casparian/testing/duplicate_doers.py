"""The contract of JobQueue about the job that does a content: which one follows when it ends."""

from __future__ import annotations

import pytest

from casparian.domain.errors import ErrorClass
from casparian.domain.jobs import Claim, Failure, RetryPolicy
from casparian.domain.plugins import Duplicates, Mode, PluginConfig, TopicConfig
from casparian.domain.publish import PublishedSlot
from casparian.testing.world import (
    LEASE_US,
    PLUGIN,
    Stores,
    VirtualClock,
    World,
    applied,
    content,
    plugin,
    published,
)

POLICY = RetryPolicy()


def skipping(mode: Mode = Mode.REPLACE) -> PluginConfig:
    return plugin(topics=(TopicConfig("rows", "parquet:///out", mode, Duplicates.SKIP),))


class DoerContract:
    """Hold a queue to what it promises when the job that does a content ends (promise 14)."""

    @pytest.mark.parametrize("how", ["fail", "supersede", "cancel", "reap"])
    def test_when_the_doer_ends_otherwise_a_skipped_file_is_done(
        self, once: World, clock: VirtualClock, how: str
    ) -> None:
        """Promise 14: one of them, and the others are skipped for it."""
        once.record((b"a.csv", "x"), (b"b.csv", "x"), (b"c.csv", "x"))
        queue = once.stores.queue
        claim = once.claim_one()
        if how == "fail":
            queue.fail([broken(claim)], POLICY)
        elif how == "supersede":
            once.record((b"a.csv", "other"))
            queue.fail([broken(claim, newer=True)], POLICY)
            assert once.statuses()[claim.job_id] == "SUPERSEDED"
        elif how == "cancel":
            assert queue.cancel([claim.job_id], "me") == [claim.job_id]
        else:
            clock.advance(31)
            queue.reap(RetryPolicy(max_attempts=1))
        second = next(c for c in once.claim(5) if c.content_hash == content("x"))
        assert second.path == b"b.csv"
        assert statuses_of(once, b"c.csv") == ["SKIPPED"]
        queue.fail([broken(second)], POLICY)
        assert once.claim_one().path == b"c.csv"

    def test_a_quarantined_plugin_has_no_file_done(self, once: World) -> None:
        """Promise 14: the jobs of all of its files fail."""
        once.record((b"a.csv", "x"), (b"b.csv", "x"), (b"c.csv", "x"))
        assert once.stores.queue.fail_queued(PLUGIN, "It crashes.") == 3
        assert once.claim(5) == []
        failed = [job["id"] for job in once.stores.reports.jobs(status="FAILED")]
        assert once.stores.queue.retry(failed, "me") == failed
        assert [c.path for c in once.claim(5)] == [b"a.csv"]

    def test_a_failure_that_is_tried_again_is_no_end(
        self, once: World, clock: VirtualClock
    ) -> None:
        """Promise 14."""
        once.record((b"a.csv", "x"), (b"b.csv", "x"))
        claim = once.claim_one()
        once.stores.queue.fail([broken(claim, ErrorClass.CRASH)], POLICY)
        clock.advance(700)
        assert [c.path for c in once.claim(5)] == [b"a.csv"]

    def test_a_skipped_file_that_is_gone_or_another_is_not_chosen(self, once: World) -> None:
        """Promise 14."""
        once.record((b"a.csv", "x"), (b"b.csv", "x"), (b"c.csv", "x"), (b"d.csv", "x"))
        claim = once.claim_one()
        delete(once, b"b.csv")
        once.record((b"c.csv", "y"))
        once.stores.queue.fail([broken(claim)], POLICY)
        assert [c.path for c in once.claim(5)] == [b"c.csv", b"d.csv"]

    def test_a_corrected_file_passes_its_former_content_on_when_its_rows_go(
        self, once: World
    ) -> None:
        """Promise 14: and not before, nor where the corrected file fails."""
        once.record((b"a.csv", "x"), (b"b.csv", "x"))
        once.publish(once.claim_one())
        once.record((b"a.csv", "bad"))
        once.stores.queue.fail([broken(once.claim_one())], POLICY)
        assert once.claim(5) == []
        once.record((b"a.csv", "y"))
        newer = once.claim_one()
        assert once.claim(5) == []
        once.publish(newer)
        again = once.claim_one()
        assert (again.path, again.content_hash) == (b"b.csv", content("x"))

    def test_in_mode_append_a_corrected_files_rows_stay(
        self, stores: Stores, clock: VirtualClock
    ) -> None:
        """Promise 14: so nobody else does them."""
        world = World(stores, clock)
        world.apply(applied(plugins=(skipping(Mode.APPEND),)))
        world.record((b"a.csv", "x"), (b"b.csv", "x"))
        for text in ("x", "y"):
            world.record((b"a.csv", text))
            claim = world.claim_one()
            assert stores.ledger.decide([world.decision(claim, mode=Mode.APPEND)]) == {}
            world.complete(claim)
        assert world.claim(5) == []
        assert world.record((b"a.csv", "x")).jobs == 0

    def test_a_deleted_doers_rows_stand(self, once: World) -> None:
        """Promise 14: a file that is put back is skipped for its own job of before."""
        once.record((b"a.csv", "x"), (b"b.csv", "x"))
        once.publish(once.claim_one())
        delete(once, b"a.csv")
        assert once.claim(5) == []
        assert once.record((b"a.csv", "x")).jobs == 0
        assert once.claim(5) == []

    def test_a_renamed_file_is_skipped_for_its_former_name(self, once: World) -> None:
        """Promise 14: until that has other content, which is published in place of the rows."""
        once.record((b"a.csv", "x"))
        once.publish(once.claim_one())
        assert once.record((b"renamed.csv", "x")).jobs == 0
        delete(once, b"a.csv")
        assert once.claim(5) == []
        once.record((b"a.csv", "y"))
        once.publish(once.claim_one())
        assert once.claim_one().path == b"renamed.csv"

    def test_purged_rows_are_done_by_another_file(self, once: World) -> None:
        """Promise 14: not by the purged file itself."""
        once.record((b"a.csv", "x"))
        claim = once.claim_one()
        once.publish(claim)
        delete(once, b"a.csv")
        once.record((b"a.csv", "x"), (b"b.csv", "x"))
        purge(once, claim)
        assert [c.path for c in once.claim(5)] == [b"b.csv"]

    def test_a_forgotten_doer_is_done_again_in_its_place(self, once: World) -> None:
        """Promise 14: and whoever was skipped for it stays so, whatever becomes of it."""
        once.record((b"a.csv", "x"), (b"b.csv", "x"))
        once.publish(once.claim_one())
        known = once.stores.catalog.find(once.root.id, b"a.csv")
        assert known is not None
        once.stores.catalog.forget(known.id, "me")
        assert once.record((b"a.csv", "x")).jobs == 1
        once.stores.queue.fail([broken(once.claim_one())], POLICY)
        assert once.claim(5) == []
        once.stores.catalog.forget(known.id, "me")
        once.record((b"a.csv", "x"))
        once.publish(once.claim_one())
        assert once.claim(5) == []

    def test_content_that_comes_back_is_done_again(self, once: World) -> None:
        """Promise 14: A, then B, then A."""
        for text in ("a", "b", "a"):
            assert once.record((b"a.csv", text)).jobs == 1
            once.publish(once.claim_one())
        once.record((b"b.csv", "b"))
        assert once.claim_one().path == b"b.csv"

    def test_a_file_that_has_its_content_back_replaces_what_was_published_meanwhile(
        self, once: World
    ) -> None:
        """Promise 14: by itself, though others have the content too."""
        once.record((b"b.csv", "x"), (b"a.csv", "y"))
        once.publish(once.claim_one())
        once.record((b"c.csv", "x"), (b"b.csv", "other"))
        between = next(c for c in once.claim(5) if c.path == b"b.csv")
        assert once.record((b"b.csv", "x")).jobs == 0
        once.publish(between)
        again = once.claim_one()
        assert (again.path, again.ordinal) == (b"b.csv", 3)


def statuses_of(world: World, *paths: bytes) -> list[str]:
    """Of the jobs of these files, in their order."""
    jobs = world.stores.reports.jobs()
    return [j["status"] for path in paths for j in jobs if j["path"] == path.decode()]


def broken(claim: Claim, error_class: ErrorClass = ErrorClass.DATA, newer: bool = False) -> Failure:
    what = (claim.job_id, claim.attempt, claim.token)
    return Failure(*what, error_class, "It broke.", supersede_if_newer=newer)


def delete(world: World, path: bytes) -> None:
    known = world.stores.catalog.find(world.root.id, path)
    assert known is not None
    for _ in range(2):
        world.stores.catalog.missed([known.id])


def empty(world: World, claim: Claim, slots: list[PublishedSlot]) -> None:
    """S2 to S4 of a job that stages nothing."""
    decision = world.decision(claim, (), emptied=slots)
    items = []
    for slot in slots:
        (item,) = world.manifest(claim).items
        items.append(type(item)(slot.target, slot.mode, slot.slot, False, 0, item.digest))
    assert world.stores.ledger.decide([world.with_items(decision, items)]) == {}
    assert world.complete(claim, emptied=slots) == {claim.job_id}


def purge(world: World, claim: Claim) -> None:
    key = (claim.plugin, claim.location_id)
    (begun,) = world.stores.queue.begin_purges("p", [key], LEASE_US, "me").claims
    empty(world, begun, [published(claim)])
