"""The stores that the queue's contracts are run over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from casparian.adapters.queue import QueueStores, open_memory, open_sqlite, open_url
from casparian.testing.world import VirtualClock
from tests.support import tsql


class Memory:
    @pytest.fixture
    def stores(self, clock: VirtualClock) -> QueueStores:
        return open_memory(clock)


class Sqlite:
    @pytest.fixture
    def stores(self, clock: VirtualClock, tmp_path: Path) -> Iterator[QueueStores]:
        with tsql.noted():
            stores = open_sqlite(str(tmp_path / "queue.sqlite3"), clock)
            yield stores
            stores.close()


class Postgresql:
    @pytest.fixture
    def stores(self, clock: VirtualClock, postgresql_queue: str) -> Iterator[QueueStores]:
        stores = open_url(postgresql_queue, clock)
        yield stores
        stores.close()


class Mssql:
    @pytest.fixture
    def stores(self, clock: VirtualClock, mssql_schema: str) -> Iterator[QueueStores]:
        stores = open_url(mssql_schema, clock)
        yield stores
        stores.close()
