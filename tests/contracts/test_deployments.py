"""The versions of PluginStore: the contract over every queue database."""

from __future__ import annotations

from casparian.testing.deployments import DeploymentsContract
from tests.support.queue_stores import Memory, Mssql, Postgresql, Sqlite


class TestMemory(Memory, DeploymentsContract):
    pass


class TestSqlite(Sqlite, DeploymentsContract):
    pass


class TestPostgresql(Postgresql, DeploymentsContract):
    pass


class TestMssql(Mssql, DeploymentsContract):
    pass
