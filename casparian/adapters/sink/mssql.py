"""Sink `mssql://SCHEMA.TABLE`: rows staged in the target, copied in by one transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

from pydantic import BaseModel, ConfigDict, Field

from casparian.adapters.sink import _mssql_audit
from casparian.adapters.sink import _mssql_statements as sql
from casparian.adapters.sink import _mssql_tables as tables
from casparian.adapters.sink import _mssql_values as forms
from casparian.adapters.sink._mssql_promotion import promoting
from casparian.adapters.sink._mssql_session import (
    DatabaseError,
    MssqlSession,
    connect,
    connection_string,
)
from casparian.adapters.sink._mssql_values import MOST_NAME
from casparian.adapters.sink._readback import TableRows
from casparian.adapters.sink._sql_errors import PassingError, reading, staging
from casparian.adapters.sink._sql_names import table_target
from casparian.adapters.sink._sql_pool import Pool
from casparian.adapters.sink._sql_sink import SqlSink
from casparian.adapters.sink._sql_staging import Rows
from casparian.domain.audit import Holding
from casparian.domain.errors import ConfigurationError, UnavailableError
from casparian.domain.ports import Sink, StageRequest
from casparian.domain.publish import PublishedSlot, Target

SCHEME = "mssql"


class MssqlChunks:
    """`ChunkStore`. Every commit is durable."""

    def __init__(self, pool: Pool[MssqlSession], schema: str) -> None:
        self._pool = pool
        self._schema = schema

    def begin(self, request: StageRequest) -> None:
        self.drop(request)

    def add(self, request: StageRequest, rows: Rows) -> None:
        table, content = request.target.name, (rows.rows, rows.body)
        doing = f"Staging rows for {request.target}"
        with staging(doing), self._pool.session() as session:
            tables.insert_chunk(session, self._schema, request.key, table, *content)
            session.commit()

    def end(self, request: StageRequest, rows: Rows) -> None:
        self.add(request, rows)

    def drop(self, request: StageRequest) -> None:
        doing = f"Removing a staging of {request.target}"
        with reading(doing), self._pool.session() as session:
            tables.delete_chunks(session, self._schema, request.key, request.target.name)
            session.commit()


class MssqlSink(SqlSink[MssqlSession]):
    """Port `Sink`, `RenewingSink`, `AuditedSink` and `ReadableSink`. `location` is the schema."""

    scheme = SCHEME

    def __init__(self, location: str, open_session: Callable[[], MssqlSession]) -> None:
        pool = Pool(open_session)
        chunks, begin = MssqlChunks(pool, location), partial(promoting, pool, location)
        super().__init__(location, pool, tables, tables, forms, chunks, begin)

    def check(self) -> None:
        try:
            with self._pool.session() as session:
                tables.make_own_tables(session, self.location)
        except PassingError as error:
            raise UnavailableError(
                f"The sink {self._name} cannot be reached: {error}. See that the server runs, "
                "can be reached from this host, and that [sinks.mssql] url is right."
            ) from error
        except DatabaseError as error:
            raise ConfigurationError(
                f"The sink {self._name} cannot be used: {error}. The login needs the right to "
                "connect, to make tables in the database (GRANT CREATE TABLE), and GRANT ALTER, "
                f"SELECT, INSERT, UPDATE, DELETE ON SCHEMA::{sql.quote(self.location)}."
            ) from error

    def holdings(self) -> Iterator[Holding]:
        with self._looking() as session:
            if tables.has_own_tables(session, self.location):
                yield from _mssql_audit.holdings(session, SCHEME, self.location)

    @contextlib.contextmanager
    def reading(self, place: PublishedSlot) -> Iterator[TableRows | None]:
        with self._looking() as session:
            if tables.has_own_tables(session, self.location):
                with _mssql_audit.reading(session, place) as found:
                    yield found
            else:
                yield None
            session.commit()


class MssqlSinkSettings(BaseModel):
    """Where `mssql://SCHEMA.TABLE` is."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    url: str = Field(default="", repr=False)
    """mssql+pyodbc://user@host:1433/database; the password comes from `${NAME}`. Default:
    `[database] url`, where that is SQL Server too."""


class MssqlSinkFactory:
    """Port `SinkFactory` for `mssql://SCHEMA.TABLE`; `{topic}` in TABLE is the topic's name."""

    scheme = SCHEME
    settings_model = MssqlSinkSettings

    def __init__(self, own_settings: MssqlSinkSettings) -> None:
        self._url = own_settings.url

    def absolute(self, uri: str, base: str) -> str:
        return uri

    def parse(self, uri: str, base: str, plugin: str, topic: str) -> Target:
        return table_target(uri, SCHEME, plugin, topic, MOST_NAME)

    def open(self, location: str) -> Sink:
        if not self._url:
            raise ConfigurationError(
                f"The sink {SCHEME}://{location} has no server: set [sinks.{SCHEME}] url, such as "
                "mssql+pyodbc://user@host:1433/database."
            )
        return MssqlSink(location, partial(connect, connection_string(self._url)))
