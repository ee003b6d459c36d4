"""FileCatalog: the contract over every queue database."""

from __future__ import annotations

from casparian.testing.catalog import FileCatalogContract
from tests.support.queue_stores import Memory, Mssql, Postgresql, Sqlite


class TestMemory(Memory, FileCatalogContract):
    pass


class TestSqlite(Sqlite, FileCatalogContract):
    pass


class TestPostgresql(Postgresql, FileCatalogContract):
    pass


class TestMssql(Mssql, FileCatalogContract):
    pass
