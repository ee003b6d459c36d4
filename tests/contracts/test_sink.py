"""The built-in sinks, held to the contract of the port."""

from __future__ import annotations

import contextlib
import glob
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from casparian import Settings
from casparian.adapters.sink import _sqlite_target
from casparian.adapters.sink.memory import MemorySinkFactory, MemoryStore
from casparian.adapters.sink.mssql import MssqlSinkFactory, MssqlSinkSettings
from casparian.adapters.sink.parquet import ParquetSinkFactory
from casparian.adapters.sink.postgresql import PostgresqlSinkFactory, PostgresqlSinkSettings
from casparian.adapters.sink.sqlite import SqliteSinkFactory
from casparian.app.registry import Registry
from casparian.domain.ports import SinkFactory
from casparian.domain.publish import Target
from casparian.testing.sink_audit import AuditedSinkContract
from casparian.testing.sink_readback import ReadableSinkContract
from casparian.testing.sink_renewal import RenewingSinkContract
from tests.support import mssql_sink, postgresql_sink


@dataclass
class ParquetPlace:
    factory: SinkFactory
    uri: str
    base: str

    def read(self, target: Target) -> pa.Table | None:
        """As any reader: list, then open; and list again when a file is gone by then."""
        while True:
            pattern = os.path.join(target.location, target.name, "**", "*.parquet")
            files = glob.glob(pattern, recursive=True, include_hidden=True)
            try:
                tables = [pq.ParquetFile(file).read() for file in files]
            except FileNotFoundError:
                continue
            return pa.concat_tables(tables, promote_options="permissive") if tables else None


@dataclass
class SqlitePlace:
    factory: SinkFactory
    uri: str
    base: str

    def read(self, target: Target) -> pa.Table | None:
        with contextlib.closing(sqlite3.connect(target.location)) as db:
            db.execute("BEGIN")
            schema = _sqlite_target.standing_schema(db, target.name)
            if schema is None:
                return None
            return pa.Table.from_batches(
                _sqlite_target.read_rows(db, target.name),
                schema=_sqlite_target.full_schema(db, target.name),
            )


@dataclass
class MemoryPlace:
    store: MemoryStore
    factory: SinkFactory
    uri: str
    base: str

    def read(self, target: Target) -> pa.Table | None:
        return self.store.read(target)


@dataclass
class PostgresqlPlace:
    url: str
    factory: SinkFactory
    uri: str
    base: str

    def read(self, target: Target) -> pa.Table | None:
        return postgresql_sink.read(self.url, target)


@dataclass
class MssqlPlace:
    url: str
    factory: SinkFactory
    uri: str
    base: str

    def read(self, target: Target) -> pa.Table | None:
        return mssql_sink.read(self.url, target)


class TestParquet(RenewingSinkContract, AuditedSinkContract, ReadableSinkContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Any:
        return ParquetPlace(ParquetSinkFactory(), "parquet://./out", str(tmp_path))


class TestSqlite(RenewingSinkContract, AuditedSinkContract, ReadableSinkContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Any:
        return SqlitePlace(SqliteSinkFactory(), "sqlite://out.db/{topic}", str(tmp_path))


class TestMemory(RenewingSinkContract, AuditedSinkContract, ReadableSinkContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Any:
        store = MemoryStore()
        return MemoryPlace(store, MemorySinkFactory(store), "memory://out", str(tmp_path))


class TestPostgresql(RenewingSinkContract, AuditedSinkContract, ReadableSinkContract):
    @pytest.fixture
    def place(self, postgresql_url: str) -> Any:
        factory = PostgresqlSinkFactory(PostgresqlSinkSettings(url=postgresql_url))
        with postgresql_sink.random_schema(postgresql_url) as schema:
            uri = f"postgresql://{schema}.{{topic}}"
            yield PostgresqlPlace(postgresql_url, factory, uri, "/")


class TestMssql(RenewingSinkContract, AuditedSinkContract, ReadableSinkContract):
    """Run by `make test-mssql` against the server that CASPARIAN_TEST_MSSQL_URL names."""

    @pytest.fixture
    def place(self, mssql_url: str) -> Any:
        factory = MssqlSinkFactory(MssqlSinkSettings(url=mssql_url))
        with mssql_sink.random_schema(mssql_url) as schema:
            yield MssqlPlace(mssql_url, factory, f"mssql://{schema}.{{topic}}", "/")


def test_the_built_in_sinks_are_found_by_their_scheme(tmp_path: Path) -> None:
    """By their names in the registry, which must be the schemes that they take."""
    factories = Registry.default().sink_factories(Settings.of({}, tmp_path))
    assert sorted(factories) == ["mssql", "parquet", "postgresql", "sqlite"]
    for scheme, factory in factories.items():
        uri = (
            f"{scheme}://out.rows"
            if scheme in ("mssql", "postgresql")
            else f"{scheme}://out.db/rows"
        )
        assert factory.parse(uri, str(tmp_path), "plug", "rows").scheme == scheme
