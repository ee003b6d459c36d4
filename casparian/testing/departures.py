"""The contract of Departures: files that the engine takes away, as a catalog keeps them.

For catalogs that have it. A subclass gives the fixture `stores`; numbers are the port's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from casparian.domain.departures import Action, Departure, Departures, Outcome
from casparian.domain.errors import ErrorClass
from casparian.domain.files import FileLocation, Sighting
from casparian.domain.jobs import Failure, RetryPolicy
from casparian.testing.world import Stores, VirtualClock, World, content, stat

AGAIN_S = 600


def _place(path: bytes, ordinal: int) -> bytes:
    return b"/archive/%b.%d" % (path, ordinal)


class DeparturesContract:
    """Hold a catalog to the promises of Departures."""

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

    @staticmethod
    def _departures(world: World) -> Departures:
        return cast(Departures, world.stores.catalog)

    def _plan(self, world: World, limit: int = 10, unpacks: bool = False) -> Sequence[Departure]:
        since = world.clock.now_us - AGAIN_S * 1_000_000
        return self._departures(world).plan_departures(
            world.root.id, Action.ARCHIVE, _place, since, limit, unpacks
        )

    @staticmethod
    def _archive(world: World, text: str = "1") -> None:
        """An archive of two members that a plugin wants and one that none does."""
        met = stat()
        names = (b"", b"!/a.csv", b"!/b.csv", b"!/note.txt")
        seen = [Sighting(b"drop.zip" + n, met, content(f"{text}{n!r}")) for n in names]
        world.stores.catalog.record(world.root.id, seen, world.stores.store.routing())

    @staticmethod
    def _location(world: World, path: bytes) -> FileLocation:
        found = world.stores.catalog.find(world.root.id, path)
        assert found is not None
        return found

    @staticmethod
    def _complete(world: World) -> None:
        for claim in world.claim(100):
            world.publish(claim)

    def test_1_planned_when_every_job_is_completed(self, world: World) -> None:
        world.record((b"a.csv", "one"), (b"b.csv", "two"), (b"note.txt", "three"))
        assert not self._plan(world)
        first, second = world.claim(2)
        world.publish(first)
        (planned,) = self._plan(world)
        assert planned.path == first.path
        assert planned.place == _place(first.path, 1)
        assert planned.content_hash == first.content_hash
        assert planned.identity == self._location(world, first.path).identity
        assert planned.outcome is None
        assert list(self._departures(world).open_departures(world.root.id)) == [planned]
        world.stores.queue.fail(
            [Failure(second.job_id, second.attempt, second.token, ErrorClass.DATA, "bad")],
            RetryPolicy(),
        )
        assert not self._plan(world)

    def test_1_no_more_than_asked_for(self, world: World) -> None:
        world.record_many(3)
        self._complete(world)
        assert [len(self._plan(world, limit=2)) for _ in range(3)] == [2, 1, 0]

    def test_1_a_forgotten_or_deleted_file_is_not_planned(self, world: World) -> None:
        world.record((b"a.csv", "one"), (b"b.csv", "two"))
        self._complete(world)
        world.stores.catalog.forget(self._location(world, b"a.csv").id, "me")
        for _ in range(2):
            world.stores.catalog.missed([self._location(world, b"b.csv").id])
        assert not self._plan(world)

    def test_1_what_was_kept_is_planned_again_later(self, world: World) -> None:
        world.record((b"a.csv", "one"))
        self._complete(world)
        (planned,) = self._plan(world)
        departures = self._departures(world)
        departures.end_departure(planned.version_id, Outcome.KEPT, "it is open")
        (kept,) = departures.departures_of(planned.location_id)
        assert (kept.outcome, kept.message) == (Outcome.KEPT, "it is open")
        assert not self._location(world, b"a.csv").deleted
        world.clock.advance(AGAIN_S - 1)
        assert not self._plan(world)
        world.clock.advance(2)
        (again,) = self._plan(world)
        assert again.outcome is None

    def test_2_gone_ends_the_location(self, world: World) -> None:
        world.record((b"a.csv", "one"))
        self._complete(world)
        (planned,) = self._plan(world)
        departures = self._departures(world)
        departures.end_departure(planned.version_id, Outcome.GONE)
        assert self._location(world, b"a.csv").deleted
        assert not departures.open_departures(world.root.id)
        assert not self._plan(world)
        departures.end_departure(planned.version_id, Outcome.KEPT, "too late")
        (ended,) = departures.departures_of(planned.location_id)
        assert ended.outcome is Outcome.GONE

    def test_2_a_newer_or_forgotten_version_stays(self, world: World) -> None:
        def newer() -> None:
            world.record((b"a.csv", "two"))

        def forgotten() -> None:
            world.stores.catalog.forget(self._location(world, b"b.csv").id, "me")

        cases: dict[bytes, Callable[[], None]] = {b"a.csv": newer, b"b.csv": forgotten}
        for path, change in cases.items():
            world.record((path, "one"))
            self._complete(world)
            planned = next(p for p in self._plan(world) if p.path == path)
            change()
            self._departures(world).end_departure(planned.version_id, Outcome.GONE)
            assert not self._location(world, path).deleted

    def test_3_a_sighting_of_before_adds_no_version(self, world: World) -> None:
        met: dict[str, Any] = {"path": b"a.csv", "content_hash": content("one")}
        before = Sighting(identity=stat(), **met)
        catalog, routing = world.stores.catalog, world.stores.store.routing()
        catalog.record(world.root.id, [before], routing)
        self._complete(world)
        (planned,) = self._plan(world)
        self._departures(world).end_departure(planned.version_id, Outcome.GONE)
        other = Sighting(b"b.csv", stat(), content("other"))
        outcome = catalog.record(world.root.id, [before, other], routing)
        assert (outcome.new, outcome.changed, outcome.touched, outcome.jobs) == (1, 0, 0, 1)
        assert self._location(world, b"a.csv").deleted
        # What comes later is another file, whatever its content.
        outcome = catalog.record(world.root.id, [Sighting(identity=stat(), **met)], routing)
        assert (outcome.new, outcome.jobs) == (1, 1)
        assert self._location(world, b"a.csv").versions == 2

    # --- archives that take their members along ---

    def test_1_an_archive_is_planned_when_all_jobs_of_its_members_are_completed(
        self, world: World
    ) -> None:
        self._archive(world)
        world.record((b"plain.csv", "x"), (b"empty.zip", "y"))
        first, second, plain = world.claim(5)
        world.publish(first)
        world.publish(plain)
        assert [p.path for p in self._plan(world, unpacks=True)] == [b"plain.csv"]
        world.publish(second)
        (planned,) = self._plan(world, unpacks=True)
        assert planned.path == b"drop.zip"
        assert not self._plan(world, unpacks=True)

    @pytest.mark.parametrize("how", ["fail", "forget", "purge", "newer"])
    def test_1_one_member_keeps_its_archive(self, world: World, how: str) -> None:
        self._archive(world)
        first, second = world.claim(5)
        world.publish(first)
        if how == "fail":
            failure = Failure(
                second.job_id, second.attempt, second.token, ErrorClass.DATA, "It broke."
            )
            world.stores.queue.fail([failure], RetryPolicy())
        else:
            world.publish(second)
        if how == "forget":
            world.stores.catalog.forget(first.location_id, "me")
        elif how == "purge":
            key = (first.plugin, first.location_id)
            world.stores.queue.begin_purges("p", [key], 1_000_000, "me")
        elif how == "newer":
            self._archive(world, "2")
        assert not self._plan(world, unpacks=True)

    def test_1_a_member_that_is_gone_from_its_archive_does_not_keep_it(self, world: World) -> None:
        self._archive(world)
        first, second = world.claim(5)
        world.publish(first)
        for _ in range(2):
            world.stores.catalog.missed([second.location_id])
        assert [p.path for p in self._plan(world, unpacks=True)] == [b"drop.zip"]

    def test_2_members_end_with_their_archive(self, world: World) -> None:
        self._archive(world)
        # A file in a directory of such a name, from before the root was to unpack.
        world.record((b"drop.zip!/c.csv", "c"))
        self._complete(world)
        (planned,) = self._plan(world, unpacks=True)
        self._departures(world).end_departure(planned.version_id, Outcome.GONE)
        for name in (b"", b"!/a.csv", b"!/b.csv", b"!/note.txt"):
            known = self._location(world, b"drop.zip" + name)
            assert known.deleted
            (left,) = self._departures(world).departures_of(known.id)
            assert (left.outcome, left.place) == (Outcome.GONE, b"/archive/drop.zip.1" + name)
        assert not self._location(world, b"drop.zip!/c.csv").deleted

    def test_2_members_of_an_archive_that_is_another_by_now_stay(self, world: World) -> None:
        self._archive(world)
        self._complete(world)
        (planned,) = self._plan(world, unpacks=True)
        self._archive(world, "2")
        self._departures(world).end_departure(planned.version_id, Outcome.GONE)
        assert not self._location(world, b"drop.zip").deleted
        assert not self._location(world, b"drop.zip!/a.csv").deleted
