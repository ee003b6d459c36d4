"""The part of the contract of JobQueue that is about duplicate content (promises 14 and 15)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from casparian.domain.documents.jobs import OriginalDocument
from casparian.domain.files import Sighting, SourceRoot
from casparian.domain.jobs import JobKind, JobStatus
from casparian.domain.routing import RoutingRule
from casparian.testing.duplicate_doers import (
    POLICY,
    DoerContract,
    broken,
    delete,
    empty,
    skipping,
    statuses_of,
)
from casparian.testing.world import (
    PLUGIN,
    ROOT,
    Stores,
    VirtualClock,
    World,
    applied,
    content,
    plugin,
    published,
    stat,
)

OTHER_ROOT = b"/other"


class DuplicateContract(DoerContract):
    """Hold a queue to what it promises of content that several files have."""

    @pytest.fixture
    def once(self, stores: Stores, clock: VirtualClock) -> World:
        """A world whose plugin skips duplicates."""
        world = World(stores, clock)
        world.apply(applied(plugins=(skipping(),)))
        return world

    # --- which files are skipped ---

    def test_of_files_of_one_content_one_is_done(self, once: World) -> None:
        """Promise 14: met in one scan, later, and when its rows stand."""
        assert once.record((b"a.csv", "x"), (b"b.csv", "x"), (b"c.csv", "y")).jobs == 2
        first, other = once.claim(5)
        assert (first.path, other.path) == (b"a.csv", b"c.csv")
        assert once.record((b"d.csv", "x")).jobs == 0
        once.publish(first)
        assert once.record((b"e.csv", "x")).jobs == 0
        assert statuses_of(once, b"b.csv", b"d.csv", b"e.csv") == ["SKIPPED"] * 3
        assert once.claim(5) == []
        known = once.stores.catalog.find(once.root.id, b"b.csv")
        assert known is not None
        assert known.content_hash == content("x")
        assert once.stores.queue.backlog()[JobStatus.SKIPPED] == 3

    def test_reports_name_who_does_the_content(self, once: World) -> None:
        """Promise 14: wherever the skipped job is told."""
        once.record((b"a.csv", "x"), (b"b.csv", "x"))
        claim = once.claim_one()
        reports = once.stores.reports
        (skipped,) = reports.jobs(status="SKIPPED")
        doer: OriginalDocument = {"job_id": claim.job_id, "path": "a.csv", "source_root": "/in"}
        assert skipped["duplicate_of"] == doer
        assert [f["duplicate_of"] for f in reports.files()] == [[], [{**doer, "plugin": PLUGIN}]]
        (story,) = reports.why(b"b.csv")
        assert story["versions"][0]["jobs"][0]["duplicate_of"] == doer
        traced = reports.trace(skipped["id"])
        assert traced is not None
        assert traced["job"] is not None
        assert traced["job"]["duplicate_of"] == doer
        once.stores.queue.fail([broken(claim)], POLICY)
        assert reports.jobs(ids=[skipped["id"]])[0]["duplicate_of"] is None

    def test_it_is_a_matter_of_each_plugin(self, stores: Stores, clock: VirtualClock) -> None:
        """Promise 14: another plugin has the file to itself."""
        world = World(stores, clock)
        world.apply(applied(plugins=(skipping(), plugin("other"))))
        world.record((b"a.csv", "x"), (b"b.csv", "x"))
        jobs = [(j["plugin"], j["path"], j["status"]) for j in stores.reports.jobs()]
        assert sorted(jobs) == [
            (PLUGIN, "a.csv", "QUEUED"),
            (PLUGIN, "b.csv", "SKIPPED"),
            ("other", "a.csv", "QUEUED"),
            ("other", "b.csv", "QUEUED"),
        ]

    def test_scouts_of_two_roots_meet_the_same_content_at_once(
        self, stores: Stores, clock: VirtualClock
    ) -> None:
        """Promise 14: whoever records first."""
        world = World(stores, clock)
        world.apply(applied(plugins=(skipping(),), roots=(ROOT, OTHER_ROOT)))
        start = threading.Barrier(2)

        def record(root: SourceRoot) -> int:
            seen = [Sighting(b"%d.csv" % n, stat(), content(str(n))) for n in range(20)]
            start.wait()
            routing = stores.store.routing()
            return sum(stores.catalog.record(root.id, [one], routing).jobs for one in seen)

        with ThreadPoolExecutor(2) as pool:
            assert sum(pool.map(record, stores.catalog.roots())) == 20
        assert sorted(c.content_hash for c in world.claim(50)) == sorted(
            content(str(n)) for n in range(20)
        )

    def test_versions_that_a_new_rule_matches_are_skipped_alike(self, once: World) -> None:
        """Promise 14."""
        once.record((b"a.txt", "x"), (b"b.txt", "x"), (b"c.csv", "x"))
        rules = (RoutingRule("**/*.csv", "csv"), RoutingRule("**/*.txt", "csv"))
        assert once.apply(applied(rules, plugins=(skipping(),))) == 0
        assert statuses_of(once, b"a.txt", b"b.txt", b"c.csv") == ["SKIPPED", "SKIPPED", "QUEUED"]

    # --- rows of earlier versions ---

    def test_the_rows_that_a_skipped_file_had_are_withdrawn(self, once: World) -> None:
        """Promise 14: by a job that is claimed as others are; what it takes away is passed on."""
        once.record((b"a.csv", "x"), (b"b.csv", "y"), (b"c.csv", "y"))
        one, other = once.claim(2)
        once.publish(one)
        once.publish(other)
        assert once.record((b"b.csv", "x")).jobs == 1
        withdrawal = once.claim_one()
        assert (withdrawal.kind, withdrawal.path) == (JobKind.WITHDRAW, b"b.csv")
        empty(once, withdrawal, [published(other)])
        assert once.claim_one().path == b"c.csv"
        assert statuses_of(once, b"b.csv") == ["COMPLETED", "COMPLETED", "SKIPPED"]

    def test_a_withdrawal_is_tried_again_as_a_run_is(
        self, once: World, clock: VirtualClock
    ) -> None:
        """Promise 15."""
        once.record((b"a.csv", "x"), (b"b.csv", "y"))
        for claim in once.claim(2):
            once.publish(claim)
        once.record((b"b.csv", "x"))
        claim = once.claim_one()
        assert once.stores.queue.release({claim.job_id: claim.token}) == {claim.job_id}
        claim = once.claim_one()
        once.stores.queue.fail([broken(claim)], POLICY)
        assert once.stores.queue.retry([claim.job_id], "me") == [claim.job_id]
        assert once.claim_one().kind is JobKind.WITHDRAW

    # --- operators ---

    def test_a_retry_does_not_double_what_another_file_did_meanwhile(self, once: World) -> None:
        """Promise 15."""
        once.record((b"a.csv", "x"), (b"b.csv", "x"))
        failed = once.claim_one()
        once.stores.queue.fail([broken(failed)], POLICY)
        once.publish(once.claim_one())
        assert once.stores.queue.retry([failed.job_id], "me") == [failed.job_id]
        assert statuses_of(once, b"a.csv") == ["SUPERSEDED", "SKIPPED"]
        assert once.claim(5) == []

    def test_a_retry_makes_a_doer(self, once: World) -> None:
        """Promise 15: the rest of those that failed is skipped for it."""
        once.record((b"a.csv", "x"), (b"b.csv", "x"))
        ids = [once.claim_one()]
        once.stores.queue.fail([broken(ids[0])], POLICY)
        ids.append(once.claim_one())
        once.stores.queue.fail([broken(ids[1])], POLICY)
        once.stores.queue.retry([claim.job_id for claim in ids], "me")
        assert [c.path for c in once.claim(5)] == [b"a.csv"]
        assert statuses_of(once, b"b.csv") == ["SUPERSEDED", "SUPERSEDED", "SKIPPED"]

    def test_a_skipped_job_can_be_cancelled(self, once: World) -> None:
        """Promise 15: then it does nothing for the others."""
        once.record((b"a.csv", "x"), (b"b.csv", "x"))
        claim = once.claim_one()
        (skipped,) = once.stores.reports.jobs(status="SKIPPED")
        assert once.stores.queue.cancel([skipped["id"]], "me") == [skipped["id"]]
        once.stores.queue.fail([broken(claim)], POLICY)
        assert once.claim(5) == []
        assert once.stores.queue.retry([skipped["id"]], "me") == [skipped["id"]]
        assert once.claim_one().path == b"b.csv"

    # --- configuration ---

    def test_who_skips_from_now_on_knows_what_was_done_before(self, world: World) -> None:
        """Promise 14: rows that stand first, then what waits."""
        world.record((b"a.csv", "x"), (b"b.csv", "x"), (b"c.csv", "y"), (b"d.csv", "z"))
        first, second = world.claim(2)
        world.stores.queue.fail([broken(first)], POLICY)
        world.publish(second)
        world.apply(applied(plugins=(skipping(),)))
        assert world.record((b"e.csv", "x"), (b"f.csv", "z")).jobs == 0
        world.record((b"b.csv", "new"))
        newer = next(c for c in world.claim(5) if c.path == b"b.csv")
        world.publish(newer)
        assert [c.path for c in world.claim(5)] == [b"e.csv"]

    def test_who_skips_no_more_does_what_was_skipped(self, once: World) -> None:
        """Promise 14."""
        once.record((b"a.csv", "x"), (b"b.csv", "x"), (b"c.csv", "x"), (b"d.csv", "x"))
        once.publish(once.claim_one())
        delete(once, b"c.csv")
        assert once.apply(applied()) == 2
        assert [c.path for c in once.claim(5)] == [b"b.csv", b"d.csv"]
        assert once.record((b"e.csv", "x")).jobs == 1
