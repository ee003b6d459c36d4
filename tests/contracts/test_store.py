"""PluginStore: the contract over every queue database."""

from __future__ import annotations

from casparian.testing.store import PluginStoreContract
from tests.support.queue_stores import Memory, Mssql, Postgresql, Sqlite


class TestMemory(Memory, PluginStoreContract):
    pass


class TestSqlite(Sqlite, PluginStoreContract):
    pass


class TestPostgresql(Postgresql, PluginStoreContract):
    pass


class TestMssql(Mssql, PluginStoreContract):
    pass
