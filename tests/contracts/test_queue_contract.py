"""JobQueue: the contract over every queue database."""

from __future__ import annotations

from casparian.testing.queue import JobQueueContract
from tests.support.queue_stores import Memory, Mssql, Postgresql, Sqlite


class TestMemory(Memory, JobQueueContract):
    pass


class TestSqlite(Sqlite, JobQueueContract):
    pass


class TestPostgresql(Postgresql, JobQueueContract):
    pass


class TestMssql(Mssql, JobQueueContract):
    pass
