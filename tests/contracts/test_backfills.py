"""Backfills: the contract over every queue database."""

from __future__ import annotations

from casparian.testing.backfills import BackfillsContract
from tests.support.queue_stores import Memory, Mssql, Postgresql, Sqlite


class TestMemory(Memory, BackfillsContract):
    pass


class TestSqlite(Sqlite, BackfillsContract):
    pass


class TestPostgresql(Postgresql, BackfillsContract):
    pass


class TestMssql(Mssql, BackfillsContract):
    pass
