"""Jobs per second through the queue in a file: claim, decide, complete, in batches.

Every commit is synced (`synchronous = FULL`). `jobs_per_s` is in the extra info of each result;
`--benchmark-json` keeps it. Compare with other queues at equal durability only.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from casparian.adapters.queue import open_sqlite
from casparian.domain.files import Sighting
from casparian.domain.jobs import Claim, JobStatus
from casparian.domain.publish import Completion, Decision
from casparian.testing.world import VirtualClock, World, content, stat

BATCHES = (1, 10, 100)
ROUNDS = {1: 200, 10: 100, 100: 100}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with 20,000 jobs queued."""
    path = tmp_path_factory.mktemp("queue") / "filled.sqlite3"
    stores = open_sqlite(str(path), VirtualClock())
    world = World(stores, VirtualClock())
    world.apply()
    routing, root = stores.store.routing(), world.root.id
    for first in range(0, 20_000, 5_000):
        numbers = range(first, first + 5_000)
        files = [Sighting(b"in/%06d.csv" % i, stat(), content(str(i))) for i in numbers]
        stores.catalog.record(root, files, routing)
    stores.close()
    return path


@pytest.fixture
def world(filled: Path, tmp_path: Path) -> Iterator[World]:
    copy = tmp_path / "queue.sqlite3"
    shutil.copy(filled, copy)
    clock = VirtualClock()
    stores = open_sqlite(str(copy), clock)
    yield World(stores, clock)
    stores.close()


def prepared(world: World, claims: list[Claim]) -> list[Decision]:
    """Decisions planned on the slot states of now, read in one go."""
    states = world.stores.ledger.slots([(c.plugin, c.location_id) for c in claims])
    return [world.decision(c, state=states[c.plugin, c.location_id]) for c in claims]


def completions(claims: list[Claim]) -> list[Completion]:
    return [Completion(c.job_id, c.token, JobStatus.COMPLETED, 5) for c in claims]


def measure(
    benchmark: Any, batch: int, step: Callable[..., Any], setup: Callable[[], tuple[Any, ...]]
) -> None:
    benchmark.pedantic(
        step, setup=lambda: (setup(), {}), rounds=ROUNDS[batch], warmup_rounds=3, iterations=1
    )
    if benchmark.stats is not None:
        benchmark.extra_info["jobs_per_s"] = round(batch / benchmark.stats.stats.median)


@pytest.mark.parametrize("batch", BATCHES)
def test_claim(benchmark: Any, world: World, batch: int) -> None:
    def claim() -> None:
        assert len(world.claim(batch)) == batch

    measure(benchmark, batch, claim, lambda: ())


@pytest.mark.parametrize("batch", BATCHES)
def test_decide(benchmark: Any, world: World, batch: int) -> None:
    def decide(decisions: list[Decision]) -> None:
        assert world.stores.ledger.decide(decisions) == {}

    measure(benchmark, batch, decide, lambda: (prepared(world, world.claim(batch)),))


@pytest.mark.parametrize("batch", BATCHES)
def test_complete(benchmark: Any, world: World, batch: int) -> None:
    def setup() -> tuple[list[Completion]]:
        claims = world.claim(batch)
        assert world.stores.ledger.decide(prepared(world, claims)) == {}
        return (completions(claims),)

    def complete(done: list[Completion]) -> None:
        assert len(world.stores.ledger.complete(done)) == batch

    measure(benchmark, batch, complete, setup)


@pytest.mark.parametrize("batch", BATCHES)
def test_claim_decide_complete(benchmark: Any, world: World, batch: int) -> None:
    """The whole way of a job through the queue, with the look at its slots."""

    def run() -> None:
        claims = world.claim(batch)
        assert world.stores.ledger.decide(prepared(world, claims)) == {}
        assert len(world.stores.ledger.complete(completions(claims))) == batch

    measure(benchmark, batch, run, lambda: ())
