"""Memory and SQLite, driven side by side through any history: they must tell the same story."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from casparian.adapters.queue import QueueStores
from casparian.adapters.queue.memory import MemoryQueue
from casparian.adapters.queue.sqlite import open_stores
from casparian.domain.errors import ErrorClass
from casparian.domain.files import Sighting
from casparian.domain.jobs import TRANSITIONS, Claim, Failure, JobStatus, RetryPolicy
from casparian.domain.routing import RoutingRule
from casparian.testing.queue import node
from casparian.testing.world import (
    LEASE_US,
    ROOT,
    VirtualClock,
    World,
    applied,
    code,
    content,
    plugin,
    published,
    stat,
)
from tests.support.examples import examples

POLICY = RetryPolicy()
PATHS = [b"a.csv", b"b.csv", b"hot/c.csv", b"d.json"]
CSV, HOT, JSON = (
    RoutingRule("**/*.csv", "csv"),
    RoutingRule("hot/**", "csv", 2),
    RoutingRule("**/*.json", "json", 1),
)
CONFIGURATIONS = [
    applied((CSV,), (plugin("one"),)),
    applied((CSV, HOT), (plugin("one"), plugin("two"))),
    applied((JSON, CSV), (plugin("one", ("csv", "json")),), ageing_us=0),
    applied(
        (CSV, JSON), (plugin("two", ("json",)),), (code("two", b"new\n"),), roots=(b"/x", ROOT)
    ),
]
LEGAL = {(str(old), str(new)) for (old, _), ends in TRANSITIONS.items() for new in ends}
workers = st.sampled_from(["w1", "w2"])
paths = st.sampled_from(PATHS)
picks = st.integers(0, 5)


class Queues(RuleBasedStateMachine):
    """`both` does one thing to each, and compares the answers without tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.clock = VirtualClock()
        # The spread of the backoff is chance: the same for both.
        memory = MemoryQueue(self.clock, chance=lambda: 0.5)
        path = str(self.directory / "queue.sqlite3")
        self.stores = (
            QueueStores(memory, memory, memory, memory, memory, lambda: None),
            open_stores(path, self.clock, chance=lambda: 0.5),
        )
        self.worlds = tuple(World(stores, self.clock) for stores in self.stores)
        self.claims: list[tuple[Claim, Claim]] = []
        self.statuses: dict[int, str] = {}
        self.inode = 0

    def teardown(self) -> None:
        for stores in self.stores:
            stores.close()
        shutil.rmtree(self.directory)

    def both(self, act: Callable[[World], Any]) -> Any:
        answers = [act(world) for world in self.worlds]
        assert answers[0] == answers[1]
        return answers[0]

    def pair(self, act: Callable[[World, Claim], Any], claims: tuple[Claim, Claim]) -> Any:
        answers = [act(world, claim) for world, claim in zip(self.worlds, claims, strict=True)]
        assert answers[0] == answers[1]
        return answers[0]

    def pick(self, number: int) -> tuple[Claim, Claim] | None:
        """A claim of the past, its token valid or not."""
        return self.claims[-1 - number % len(self.claims)] if self.claims else None

    @initialize(configuration=st.sampled_from(CONFIGURATIONS))
    def start(self, configuration: Any) -> None:
        self.both(lambda world: world.apply(configuration))

    @rule(configuration=st.sampled_from(CONFIGURATIONS))
    def apply(self, configuration: Any) -> None:
        self.both(lambda world: world.apply(configuration))
        self.both(lambda world: (world.stores.store.revision(), world.stores.store.routing()))

    @rule(path=paths, text=st.sampled_from("xyz"))
    def record(self, path: bytes, text: str) -> None:
        self.inode += 1
        sighting = Sighting(path, stat(inode=self.inode), content(text))

        def act(world: World) -> Any:
            root = next(root for root in world.stores.catalog.roots() if root.path == ROOT)
            routing = world.stores.store.routing()
            return world.stores.catalog.record(root.id, [sighting], routing)

        self.both(act)

    @rule(path=paths, what=st.sampled_from(["missed", "missed", "seen", "forget"]))
    def scan(self, path: bytes, what: str) -> None:
        def act(world: World) -> Any:
            location = world.stores.catalog.find(1, path)
            if location is None:
                return None
            argument = location.id if what == "forget" else [location.id]
            return getattr(world.stores.catalog, what)(argument)

        self.both(act)

    @rule(seconds=st.sampled_from([0, 1, 10, 31, 700]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(worker=workers, limit=st.integers(1, 3))
    def claim(self, worker: str, limit: int) -> None:
        hashes = {"one": "h1", "two": "h2"}
        won = [world.claim(limit, worker, hashes) for world in self.worlds]
        for pair in zip(*won, strict=True):
            assert len({_without_token(claim) for claim in pair}) == 1
            self.claims.append(pair)

    @rule(number=picks, worker=workers)
    def renew(self, number: int, worker: str) -> None:
        if claims := self.pick(number):
            self.pair(
                lambda world, c: world.stores.queue.renew(worker, {c.job_id: c.token}, LEASE_US),
                claims,
            )

    @rule(number=picks, delay=st.sampled_from([0, 5_000_000]))
    def release(self, number: int, delay: int) -> None:
        if claims := self.pick(number):
            self.pair(
                lambda world, c: world.stores.queue.release({c.job_id: c.token}, delay), claims
            )

    @rule(number=picks, error=st.sampled_from(list(ErrorClass)), newer=st.booleans())
    def fail(self, number: int, error: ErrorClass, newer: bool) -> None:
        if claims := self.pick(number):
            self.pair(
                lambda world, c: world.stores.queue.fail(
                    [Failure(c.job_id, c.attempt, c.token, error, "It broke.", "", newer)], POLICY
                ),
                claims,
            )

    @rule(number=picks, topics=st.sampled_from([(), ("rows",), ("rows", "more")]))
    def decide(self, number: int, topics: tuple[str, ...]) -> None:
        if claims := self.pick(number):
            self.pair(
                lambda world, c: world.stores.ledger.decide([world.decision(c, topics)]), claims
            )

    @rule(
        number=picks,
        status=st.sampled_from([JobStatus.COMPLETED, JobStatus.COMPLETED, JobStatus.SUPERSEDED]),
        emptied=st.booleans(),
    )
    def complete(self, number: int, status: JobStatus, emptied: bool) -> None:
        if claims := self.pick(number):
            gone = [published(claims[0], "more")] if emptied else []
            self.pair(lambda world, c: world.complete(c, status, gone), claims)

    @rule(number=picks)
    def block(self, number: int) -> None:
        if claims := self.pick(number):
            self.pair(
                lambda world, c: world.stores.ledger.block(c.job_id, c.token, "No room."), claims
            )

    @rule(dead=st.sets(workers))
    def reap(self, dead: set[str]) -> None:
        self.both(lambda world: world.stores.queue.reap(POLICY, dead))

    @rule(worker=workers, dead=st.sets(workers))
    def take_over(self, worker: str, dead: set[str]) -> None:
        taken = [world.stores.ledger.take_over(worker, 2, LEASE_US, dead) for world in self.worlds]
        for one, other in zip(*taken, strict=True):
            assert (one.job_id, one.attempt) == (other.job_id, other.attempt)
            known = [c for c in self.claims if c[0].job_id == one.job_id]
            tokens = (one.token, other.token)
            self.claims.append(
                tuple(_with_token(c, t) for c, t in zip(known[-1], tokens, strict=True))  # type: ignore[arg-type]
            )

    @rule(number=st.integers(1, 12), what=st.sampled_from(["retry", "cancel"]))
    def operate(self, number: int, what: str) -> None:
        self.both(lambda world: getattr(world.stores.queue, what)([number], "ann"))

    @rule(name=st.sampled_from(["one", "two"]))
    def quarantine(self, name: str) -> None:
        self.both(lambda world: world.stores.queue.fail_queued(name, "It kills its host."))

    @rule(worker=workers)
    def beat(self, worker: str) -> None:
        self.both(lambda world: world.stores.queue.beat(node(worker, pid=int(worker[1]))))

    @invariant()
    def same_story(self) -> None:
        self.both(lambda world: world.stores.reports.jobs())
        self.both(lambda world: world.stores.reports.status())
        self.both(lambda world: dict(world.stores.queue.backlog()))
        self.both(lambda world: world.stores.queue.next_due_us(["one", "two"]))
        self.both(lambda world: world.stores.queue.next_due_us(["two"]))

    @invariant()
    def only_legal_steps(self) -> None:
        """Whatever was tried, valid or not, a job moved along the table or not at all."""
        now = self.worlds[1].statuses()
        for job_id, status in now.items():
            before = self.statuses.get(job_id, "QUEUED")
            assert before == status or (before, status) in LEGAL
        self.statuses = now

    @invariant()
    def same_slots(self) -> None:
        keys = {(c.plugin, c.location_id) for c, _ in self.claims}
        self.both(lambda world: world.stores.ledger.slots(sorted(keys)))

    @invariant()
    def generations_hold(self) -> None:
        """A lock is held by a PROMOTING job, and each PROMOTING job holds its lock."""
        keys = {(c.plugin, c.location_id) for c, _ in self.claims}
        for world in self.worlds:
            promoting = {i for i, s in world.statuses().items() if s == "PROMOTING"}
            slots = world.stores.ledger.slots(sorted(keys)).values()
            assert {s.holder for s in slots if s.holder is not None} == promoting

    @rule(path=paths)
    def tell(self, path: bytes) -> None:
        self.both(lambda world: world.stores.reports.why(path))
        self.both(lambda world: world.stores.reports.files())
        self.both(lambda world: world.stores.reports.current_failures())
        self.both(lambda world: list(world.stores.catalog.locations(1)))


def _without_token(claim: Claim) -> Claim:
    return _with_token(claim, "")


def _with_token(claim: Claim, token: str) -> Claim:
    return claim._replace(token=token)


TestQueues = Queues.TestCase
TestQueues.settings = settings(
    max_examples=examples(8), stateful_step_count=30, deadline=None, derandomize=examples(1) == 1
)
