"""The contract of FileCatalog. A subclass gives the fixture `stores`; numbers are the port's."""

from __future__ import annotations

import pytest

from casparian.domain.files import Sighting
from casparian.domain.jobs import RetryPolicy
from casparian.domain.ports import FileCatalog
from casparian.domain.routing import RoutingRule, RoutingTable, Subscription
from casparian.testing.world import (
    ROOT,
    Stores,
    VirtualClock,
    World,
    applied,
    content,
    plugin,
    stat,
)


class FileCatalogContract:
    """Hold an adapter to the promises of FileCatalog."""

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
    def catalog(self, world: World) -> FileCatalog:
        return world.stores.catalog

    def test_a_version_comes_with_its_tags_and_jobs(self, world: World) -> None:
        """Promise 1."""
        outcome = world.record((b"a.csv", "one"), (b"b.txt", "two"))
        assert (outcome.new, outcome.changed, outcome.touched, outcome.jobs) == (2, 0, 0, 1)
        first, second = world.stores.reports.files()
        assert (first["tags"], second["tags"]) == (["csv"], [])
        location = world.stores.catalog.find(world.root.id, b"a.csv")
        assert location is not None
        claim = world.claim_one()
        assert claim.file_version_id == location.current_version_id
        assert (claim.root_path, claim.path, claim.ordinal) == (ROOT, b"a.csv", 1)
        assert claim.content_hash == content("one")
        assert claim.identity == location.identity

    def test_a_record_that_fails_leaves_nothing(self, world: World) -> None:
        """Promise 1: the rule that gave the tag is not in the database."""
        unknown = RoutingRule("**", "csv", 0, id=10**6)
        routing = RoutingTable((unknown,), (Subscription("lines", frozenset({"csv"})),))
        sighting = Sighting(b"a.csv", stat(), content("one"))
        with pytest.raises(Exception, match=r".+"):
            world.stores.catalog.record(world.root.id, [sighting], routing)
        assert world.stores.catalog.find(world.root.id, b"a.csv") is None
        assert world.stores.reports.status()["versions"] == 0
        assert world.claim() == []

    def test_versions_stay_and_count_by_location(self, world: World) -> None:
        """Promise 2: A, then B, then A again are three versions."""
        for text in ("one", "two", "one"):
            world.record((b"a.csv", text), (b"b.csv", "other"))
        (story,) = world.stores.reports.why(b"a.csv")
        assert [v["ordinal"] for v in story["versions"]] == [1, 2, 3]
        assert [v["content_hash"] for v in story["versions"]] == [
            content("one"),
            content("two"),
            content("one"),
        ]
        assert [v["current"] for v in story["versions"]] == [False, False, True]

    def test_known_content_refreshes_the_stat_only(
        self, world: World, catalog: FileCatalog, clock: VirtualClock
    ) -> None:
        """Promise 3; a claim then expects the newer stat."""
        world.record((b"a.csv", "one"))
        clock.advance(5)
        outcome = world.record((b"a.csv", "one"))
        assert (outcome.new, outcome.changed, outcome.touched, outcome.jobs) == (0, 0, 1, 0)
        location = catalog.find(world.root.id, b"a.csv")
        assert location is not None
        assert (location.versions, location.hashed_at_us) == (1, clock())
        assert world.claim_one().identity == location.identity

    def test_an_older_version_keeps_its_own_stat(self, world: World) -> None:
        """Promise 2: the bytes of version 1 are no longer what the location's stat describes."""
        world.record((b"a.csv", "one"))
        world.record((b"a.csv", "two"))
        old, new = world.claim(2)
        assert (old.ordinal, new.ordinal) == (1, 2)
        assert old.identity != new.identity

    def test_one_path_twice_in_a_call_is_two_sightings(self, world: World) -> None:
        """Promise 2."""
        outcome = world.record((b"a.csv", "one"), (b"a.csv", "two"), (b"a.csv", "two"))
        assert (outcome.new, outcome.changed, outcome.touched, outcome.jobs) == (1, 1, 1, 2)

    def test_content_is_registered_once(self, world: World) -> None:
        """Promise 4: many locations, one content, and both are processed."""
        outcome = world.record(*((b"copy-%d.csv" % i, "same") for i in range(20)))
        assert (outcome.new, outcome.jobs) == (20, 20)
        assert len({c.content_hash for c in world.claim(20)}) == 1

    def test_locations_come_in_byte_order_in_pages(self, world: World) -> None:
        """Promise 5: names that are no UTF-8, and more than any page holds."""
        odd = [b"a/b.csv", b"a-b.csv", b"a\xff.csv", b"\xff", b"A.csv", b"a/\x01"]
        many = [b"m/%05d" % i for i in range(4500)]
        paths = [*odd, *many]
        world.record(*((path, "x") for path in paths))
        found = [location.path for location in world.stores.catalog.locations(world.root.id)]
        assert found == sorted(paths)

    def test_locations_below_a_directory(self, world: World, catalog: FileCatalog) -> None:
        """Promise 5: neither its neighbours, nor what only begins with its name."""
        for path in (b"a", b"a/b", b"a/c/d", b"a-b", b"a0", b"b/a/b"):
            world.record((path, "x"))
        found = [location.path for location in catalog.locations(world.root.id, b"a")]
        assert found == [b"a", b"a/b", b"a/c/d"]
        assert [x.path for x in catalog.locations(world.root.id, b"a/c")] == [b"a/c/d"]

    def test_locations_from_a_path_on(self, world: World, catalog: FileCatalog) -> None:
        """Promise 5."""
        paths = [b"a", b"a/b", b"a/c/d", b"a-b", b"a0", *(b"b/%04d" % n for n in range(3000))]
        world.record(*((path, "x") for path in paths))
        root = world.root.id
        for begin in (b"a/", b"a/b", b"a/bb", b"a0", b"b/1500", b"b0"):
            found = [location.path for location in catalog.locations(root, begin=begin)]
            assert found == [path for path in sorted(paths) if path >= begin]
        assert [x.path for x in catalog.locations(root, b"a", b"a")] == [b"a", b"a/b", b"a/c/d"]
        assert [x.path for x in catalog.locations(root, b"a", b"a/c")] == [b"a/c/d"]

    def test_forgetting_and_missing_disturb_a_root(
        self, world: World, catalog: FileCatalog
    ) -> None:
        """Promise 8."""
        world.apply(applied(roots=(ROOT, b"/other")))
        (other,) = [root.id for root in catalog.roots() if root.id != world.root.id]
        told = world.record(*((b"%04d" % n, "x") for n in range(1200))).disturbed
        ids = [location.id for location in catalog.locations(world.root.id)]
        assert catalog.disturbances(world.root.id) == told >= 1
        catalog.missed(ids)
        assert catalog.disturbances(world.root.id) == told + 1
        catalog.missed([])
        catalog.seen(ids)
        assert world.record((b"0000", "y")).disturbed == 0
        assert catalog.disturbances(world.root.id) == told + 1
        catalog.forget(ids[0], "ann")
        assert catalog.disturbances(world.root.id) == told + 2
        catalog.missed(ids)
        catalog.missed(ids)
        assert world.record((b"0001", "x")).disturbed == 1
        assert catalog.disturbances(world.root.id) == told + 5
        assert catalog.disturbances(other) == 0

    def test_writing_goes_on_while_locations_are_read(self, world: World) -> None:
        """Promise 5: no transaction is held between pages."""
        world.record(*((b"%05d" % i, "x") for i in range(2100)))
        reading = world.stores.catalog.locations(world.root.id)
        next(reading)
        assert world.record((b"new.csv", "x")).new == 1
        assert sum(1 for _ in reading) >= 2099

    def test_two_misses_in_a_row_delete(self, world: World, catalog: FileCatalog) -> None:
        """Promise 6."""
        world.record((b"a.csv", "one"))
        location = catalog.find(world.root.id, b"a.csv")
        assert location is not None
        assert catalog.missed([location.id]) == 0
        catalog.seen([location.id])
        assert catalog.missed([location.id]) == 0
        assert catalog.missed([location.id]) == 1
        assert catalog.missed([location.id]) == 0
        gone = catalog.find(world.root.id, b"a.csv")
        assert gone is not None
        assert gone.deleted
        assert [x.deleted for x in catalog.locations(world.root.id)] == [True]

    def test_a_deleted_file_that_returns_is_a_new_version(
        self, world: World, catalog: FileCatalog
    ) -> None:
        """Promise 6: even with the content it had."""
        world.record((b"a.csv", "one"))
        location = catalog.find(world.root.id, b"a.csv")
        assert location is not None
        catalog.missed([location.id])
        catalog.missed([location.id])
        outcome = world.record((b"a.csv", "one"))
        assert (outcome.new, outcome.jobs) == (1, 1)
        back = catalog.find(world.root.id, b"a.csv")
        assert back is not None
        assert (back.deleted, back.missed_scans, back.versions) == (False, 0, 2)

    def test_a_sighting_resets_the_count_of_misses(
        self, world: World, catalog: FileCatalog
    ) -> None:
        """Promise 6."""
        world.record((b"a.csv", "one"))
        location = catalog.find(world.root.id, b"a.csv")
        assert location is not None
        catalog.missed([location.id])
        world.record((b"a.csv", "one"))
        assert catalog.missed([location.id]) == 0

    def test_forget_makes_a_new_version(self, world: World, catalog: FileCatalog) -> None:
        """Promise 7."""
        world.record((b"a.csv", "one"))
        location = catalog.find(world.root.id, b"a.csv")
        assert location is not None
        claim = world.claim_one()
        catalog.forget(location.id, "ann")
        forgotten = catalog.find(world.root.id, b"a.csv")
        assert forgotten is not None
        assert forgotten.identity is None
        outcome = world.record((b"a.csv", "one"))
        assert (outcome.new, outcome.jobs) == (1, 1)
        (newer,) = world.claim(5)
        assert (newer.ordinal, newer.content_hash) == (2, claim.content_hash)
        assert world.history(b"a.csv") == ["FORGOTTEN"]
        assert world.complete(claim) == set()
        world.publish(claim)

    def test_stat_numbers_of_64_bits_survive(self, world: World, catalog: FileCatalog) -> None:
        """Promise 3: inodes and devices have no sign."""
        identity = stat(size=2**40)._replace(inode=2**64 - 1, device=2**63)
        sighting = Sighting(b"a.csv", identity, content("one"))
        catalog.record(world.root.id, [sighting], world.stores.store.routing())
        location = catalog.find(world.root.id, b"a.csv")
        assert location is not None
        assert location.identity == identity
        assert world.claim_one().identity == identity

    def test_roots_that_left_the_configuration_are_not_scanned(self, world: World) -> None:
        """What is gone is inactive; what returns has its id again."""
        first = world.root
        world.apply(applied(roots=(b"/other\xff",)))
        assert [root.path for root in world.stores.catalog.roots()] == [b"/other\xff"]
        world.apply(applied(roots=(b"/other\xff", ROOT)))
        assert first in world.stores.catalog.roots()

    def test_a_file_may_have_jobs_of_several_plugins(self, world: World) -> None:
        """Promise 1: tags are rules' answers, plugins those who want one of them."""
        rules = (
            RoutingRule("**/*.csv", "csv", 1),
            RoutingRule("hot/**", "hot", 7),
            RoutingRule("hot/*.csv", "csv", 9),
        )
        plugins = (plugin("lines"), plugin("both", ("csv", "hot")), plugin("none", ("json",)))
        world.apply(applied(rules, plugins))
        world.record((b"hot/a.csv", "one"))
        names = {"lines": "h1", "both": "h2", "none": "h3"}
        claims = world.claim(10, plugins=names)
        assert sorted((c.plugin, c.plugin_hash, c.priority) for c in claims) == [
            ("both", "h2", 9),
            ("lines", "h1", 9),
        ]
        (story,) = world.stores.reports.why(b"hot/a.csv")
        (version,) = story["versions"]
        assert [(r["tag"], r["pattern"]) for r in version["rules"]] == [
            ("csv", "hot/*.csv"),
            ("hot", "hot/**"),
        ]

    def test_reaping_and_recording_meet(self, world: World, clock: VirtualClock) -> None:
        """Promise 1: a version recorded while an older one runs does not disturb its job."""
        world.record((b"a.csv", "one"))
        claim = world.claim_one()
        world.record((b"a.csv", "two"))
        clock.advance(31)
        assert world.stores.queue.reap(RetryPolicy()) == 1
        assert world.statuses() == {claim.job_id: "QUEUED", claim.job_id + 1: "QUEUED"}
