"""Departures: the contract over every queue database."""

from __future__ import annotations

from casparian.testing.departures import DeparturesContract
from tests.support.queue_stores import Memory, Mssql, Postgresql, Sqlite


class TestMemory(Memory, DeparturesContract):
    pass


class TestSqlite(Sqlite, DeparturesContract):
    pass


class TestPostgresql(Postgresql, DeparturesContract):
    pass


class TestMssql(Mssql, DeparturesContract):
    pass
