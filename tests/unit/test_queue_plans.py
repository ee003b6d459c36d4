"""The hot queries of the queue read an index: SQLite's own plans say so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from casparian.adapters.queue import QueueStores
from casparian.adapters.queue.sqlite import open_database
from casparian.adapters.queue.stores import stores_of
from casparian.domain.jobs import RetryPolicy
from casparian.testing.world import LEASE_US, PLUGIN, VirtualClock, World

POLICY = RetryPolicy()


class Watched:
    """A queue whose statements are explained as they are run."""

    def __init__(self, stores: QueueStores, engine: Any) -> None:
        self.world = World(stores, VirtualClock())
        self.plans: list[str] = []
        event.listen(engine, "before_cursor_execute", self._explain)

    def _explain(
        self, connection: Any, cursor: Any, statement: str, values: Any, _context: Any, many: bool
    ) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            raw = connection.connection.driver_connection.cursor()
            raw.execute(f"EXPLAIN QUERY PLAN {statement}", values[0] if many else values)
            self.plans += [row[3] for row in raw.fetchall()]

    def read(self) -> str:
        plans, self.plans = "\n".join(self.plans), []
        return plans


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    clock = VirtualClock()
    database = open_database(str(tmp_path / "queue.sqlite3"), clock)
    stores = stores_of(database)
    watched = Watched(stores, database.engine)
    watched.world.clock = clock
    watched.world.apply()
    watched.world.record_many(300)
    claims = watched.world.claim(100)
    for claim in claims[:50]:
        watched.world.publish(claim)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
    watched.read()
    yield watched
    stores.close()


def test_claiming(watched: Watched) -> None:
    assert len(watched.world.claim(10)) == 10
    plans = watched.read()
    assert "COVERING INDEX ix_processing_job_claim" in plans
    assert "TEMP B-TREE" not in plans
    assert "SCAN file" not in plans


def test_reaping_and_taking_over(watched: Watched) -> None:
    watched.world.stores.queue.reap(POLICY)
    assert "ix_processing_job_held (lease_until_us" in watched.read()
    for act in (
        lambda: watched.world.stores.queue.reap(POLICY, ["w1"]),
        lambda: watched.world.stores.ledger.take_over("w1", 5, LEASE_US, ["w2"]),
    ):
        act()
        assert "ix_processing_job_held" in watched.read()


def test_paging_through_locations(watched: Watched) -> None:
    catalog = watched.world.stores.catalog
    for below in (b"", b"dir"):
        assert list(catalog.locations(1, below)) or below
        plans = watched.read()
        assert "INDEX sqlite_autoindex_file_location_1" in plans
        assert "TEMP B-TREE" not in plans


def test_deciding_and_completing(watched: Watched) -> None:
    watched.world.publish(watched.world.claim_one())
    assert all(
        "INDEX" in line
        for line in watched.read().splitlines()
        if "SCAN" in line and line != "SCAN due"
    )


def test_waiting_and_counting(watched: Watched) -> None:
    queue = watched.world.stores.queue
    queue.next_due_us([PLUGIN])
    assert "COVERING INDEX ix_processing_job_claim" in watched.read()
    assert sum(queue.backlog().values()) == 300
    plans = watched.read()
    for name in ("claim", "held", "ended"):
        assert f"ix_processing_job_{name}" in plans


def test_purging(watched: Watched) -> None:
    watched.world.stores.queue.begin_purges("w1", [(PLUGIN, 7), (PLUGIN, 60)], LEASE_US, "me")
    plans = watched.read()
    assert "ix_processing_job_version" in plans
    assert "SCAN" not in plans


def test_recording(watched: Watched) -> None:
    watched.world.record((b"file-0001.csv", "new"), (b"unseen.csv", "new"))
    assert "SCAN file" not in watched.read()
