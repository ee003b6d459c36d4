"""ScoutLeases: the contract over every queue database."""

from __future__ import annotations

from casparian.testing.scout_leases import ScoutLeasesContract
from tests.support.queue_stores import Memory, Mssql, Postgresql, Sqlite


class TestMemory(Memory, ScoutLeasesContract):
    pass


class TestSqlite(Sqlite, ScoutLeasesContract):
    pass


class TestPostgresql(Postgresql, ScoutLeasesContract):
    pass


class TestMssql(Mssql, ScoutLeasesContract):
    pass
