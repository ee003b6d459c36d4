"""The contract of ScoutLeases. A subclass gives the fixture `stores`; numbers are the port's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import pytest

from casparian.domain.departures import Action, Outcome
from casparian.domain.errors import StaleScoutError
from casparian.domain.files import Sighting
from casparian.domain.scouting import Fence, Scanner, ScoutLease, ScoutLeases
from casparian.testing.world import LEASE_US, Stores, VirtualClock, World, content, stat

ONE = Scanner("one:1:a", "one", "one|boot|pid", 1, 10)
OTHER = Scanner("two:2:b", "two", "two|boot|pid", 2, 20)


class LeasedStores(Stores, Protocol):
    """A queue that keeps scouts apart."""

    @property
    def scout_leases(self) -> ScoutLeases | None: ...


class ScoutLeasesContract:
    """Hold an adapter to the promises of ScoutLeases."""

    @pytest.fixture
    def clock(self) -> VirtualClock:
        return VirtualClock()

    @pytest.fixture
    def stores(self, clock: VirtualClock) -> LeasedStores:
        raise NotImplementedError("give the adapter under test")

    @pytest.fixture
    def world(self, stores: LeasedStores, clock: VirtualClock) -> World:
        world = World(stores, clock)
        world.apply()
        return world

    @pytest.fixture
    def leases(self, world: World, stores: LeasedStores) -> ScoutLeases:
        assert stores.scout_leases is not None
        return stores.scout_leases

    @pytest.fixture
    def take(self, world: World, leases: ScoutLeases) -> Callable[..., ScoutLease]:
        def take(scanner: Scanner, dead: tuple[str, ...] = (), lasting: bool = True) -> ScoutLease:
            return leases.take(world.root.id, scanner, lasting, LEASE_US, dead)

        return take

    def test_one_holds_a_root_until_the_lease_is_over(
        self, take: Callable[..., ScoutLease], clock: VirtualClock
    ) -> None:
        """Promises 1 and 5."""
        first = take(ONE)
        assert first.scanner == ONE
        assert take(OTHER) == first
        clock.advance(29)
        assert take(OTHER).scanner == ONE
        clock.advance(1)
        second = take(OTHER)
        assert (second.scanner, second.until_us) == (OTHER, clock() + LEASE_US)
        assert second.fence.number > first.fence.number
        assert take(ONE) == second

    def test_the_holder_gets_it_for_longer(
        self, take: Callable[..., ScoutLease], clock: VirtualClock
    ) -> None:
        """Promise 1: with the fence that it has."""
        first = take(ONE, lasting=False)
        clock.advance(20)
        again = take(ONE)
        assert again == first._replace(until_us=clock() + LEASE_US, lasting=True)

    def test_a_dead_holder_keeps_nobody_out(self, take: Callable[..., ScoutLease]) -> None:
        """Promise 1."""
        first = take(ONE)
        assert take(OTHER, ("somebody else",)).scanner == ONE
        second = take(OTHER, (ONE.id,))
        assert second.scanner == OTHER
        assert second.fence.number > first.fence.number

    def test_of_many_at_once_one_gets_it(self, world: World, leases: ScoutLeases) -> None:
        """Promise 1."""
        begin, got = threading.Barrier(8), list[ScoutLease]()

        def take(n: int) -> None:
            scanner = ONE._replace(id=f"one:{n}:x")
            begin.wait()
            got.append(leases.take(world.root.id, scanner, True, LEASE_US))

        threads = [threading.Thread(target=take, args=[n]) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 8
        assert len({lease.scanner.id for lease in got}) == 1

    def test_renewing_says_what_is_still_held(
        self, take: Callable[..., ScoutLease], leases: ScoutLeases, clock: VirtualClock
    ) -> None:
        """Promise 2."""
        first = take(ONE)
        clock.advance(31)
        # Over, but nobody else has taken it.
        assert list(leases.renew(ONE.id, LEASE_US)) == [first.fence]
        clock.advance(29)
        assert take(OTHER).scanner == ONE
        clock.advance(1)
        second = take(OTHER)
        assert list(leases.renew(ONE.id, LEASE_US)) == []
        assert list(leases.renew(OTHER.id, LEASE_US)) == [second.fence]

    def test_what_was_released_is_free_at_once(
        self, take: Callable[..., ScoutLease], leases: ScoutLeases
    ) -> None:
        """Promises 3 and 6; the fence is not forgotten."""
        first = take(ONE)
        leases.release(OTHER.id)
        assert list(leases.standing()) == [first]
        leases.release(ONE.id)
        assert list(leases.standing()) == []
        second = take(OTHER)
        assert second.fence.number > first.fence.number
        assert list(leases.standing()) == [second]

    def test_a_lease_that_is_over_is_told_of(
        self, take: Callable[..., ScoutLease], leases: ScoutLeases, clock: VirtualClock
    ) -> None:
        """Promise 6."""
        first = take(ONE)
        clock.advance(300)
        assert list(leases.standing()) == [first]

    def test_the_holder_writes(
        self, take: Callable[..., ScoutLease], leases: ScoutLeases, world: World
    ) -> None:
        """Promise 4; also when its lease is over, as long as nobody took it."""
        catalog = leases.catalog(take(ONE).fence)
        routing, root = world.stores.store.routing(), world.root.id
        assert catalog.record(root, [Sighting(b"a.csv", stat(), content("a"))], routing).new == 1
        found = catalog.find(root, b"a.csv")
        assert found is not None
        assert [location.id for location in catalog.locations(root)] == [found.id]
        catalog.missed([found.id])
        catalog.seen([found.id])
        before = catalog.disturbances(root)
        assert catalog.missed([found.id]) == 0
        assert catalog.disturbances(root) == before + 1

    def test_a_stale_scout_changes_nothing(
        self,
        take: Callable[..., ScoutLease],
        leases: ScoutLeases,
        world: World,
        clock: VirtualClock,
    ) -> None:
        """Promise 4, for every way in which a scan writes."""
        world.record((b"done.csv", "done"), (b"leaving.csv", "x"), (b"there.csv", "y"))
        for claim in world.claim(2):
            world.publish(claim)
        stale = leases.catalog(take(ONE).fence)
        root = world.root.id
        (leaving,) = stale.plan_departures(root, Action.DELETE, _nowhere, 0, 1)
        clock.advance(31)
        take(OTHER)
        before = self._all(world)
        there = stale.find(root, b"there.csv")
        assert there is not None
        routing = world.stores.store.routing()
        writes: list[Callable[[], object]] = [
            lambda: stale.record(root, [Sighting(b"new.csv", stat(), content("n"))], routing),
            lambda: stale.record(root, [Sighting(b"there.csv", stat(), content("z"))], routing),
            lambda: stale.missed([there.id]),
            lambda: stale.seen([there.id]),
            lambda: stale.forget(there.id, "nobody"),
            lambda: stale.plan_departures(root, Action.DELETE, _nowhere, 0, 9),
            lambda: stale.end_departure(leaving.version_id, Outcome.GONE),
        ]
        for write in writes:
            with pytest.raises(StaleScoutError, match="taken over"):
                write()
        assert self._all(world) == before
        assert [d.version_id for d in stale.open_departures(root)] == [leaving.version_id]

    def _all(self, world: World) -> object:
        catalog, root = world.stores.catalog, world.root.id
        return (
            list(catalog.locations(root)),
            catalog.disturbances(root),
            world.stores.reports.jobs(),
        )

    def test_a_fence_that_never_was_is_refused(
        self, take: Callable[..., ScoutLease], leases: ScoutLeases, world: World
    ) -> None:
        """Promise 4."""
        fence = take(ONE).fence
        ahead = leases.catalog(Fence(fence.root_id, fence.number + 1))
        with pytest.raises(StaleScoutError):
            ahead.missed([1])

    def test_status_says_who_scans(
        self, take: Callable[..., ScoutLease], leases: ScoutLeases, world: World
    ) -> None:
        """Promise 6."""

        def scouts() -> list[str | None]:
            return [r["scout"] for r in world.stores.reports.status()["source_roots"]]

        assert scouts() == [None]
        take(ONE)
        assert scouts() == [ONE.id]
        leases.release(ONE.id)
        assert scouts() == [None]


def _nowhere(path: bytes, ordinal: int) -> bytes:
    return b""
