"""PublishLedger: the contract over every queue database."""

from __future__ import annotations

from casparian.testing.ledger import PublishLedgerContract
from tests.support.queue_stores import Memory, Mssql, Postgresql, Sqlite


class TestMemory(Memory, PublishLedgerContract):
    pass


class TestSqlite(Sqlite, PublishLedgerContract):
    pass


class TestPostgresql(Postgresql, PublishLedgerContract):
    pass


class TestMssql(Mssql, PublishLedgerContract):
    pass
