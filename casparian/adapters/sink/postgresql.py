"""Sink `postgresql://SCHEMA.TABLE`: rows staged in the target, copied in by one transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec

from pydantic import BaseModel, ConfigDict, Field

from casparian.adapters.sink import _postgresql_staging as stagings
from casparian.adapters.sink import _postgresql_tables as tables
from casparian.adapters.sink import _postgresql_values as forms
from casparian.adapters.sink import _sql_audit
from casparian.adapters.sink._postgresql_audit import (
    ONE_MOMENT,
    PostgresqlTables,
    standing_rows,
)
from casparian.adapters.sink._postgresql_promotion import promoting
from casparian.adapters.sink._postgresql_session import (
    DatabaseError,
    PostgresqlSession,
    connect,
    driver_uri,
)
from casparian.adapters.sink._postgresql_values import MOST_NAME
from casparian.adapters.sink._readback import TableRows
from casparian.adapters.sink._sql_errors import PassingError
from casparian.adapters.sink._sql_names import quote, table_target
from casparian.adapters.sink._sql_pool import Pool
from casparian.adapters.sink._sql_sink import SqlSink
from casparian.domain.audit import Holding
from casparian.domain.errors import ConfigurationError, UnavailableError
from casparian.domain.ports import Sink
from casparian.domain.publish import PublishedSlot, Target

SCHEME = "postgresql"


class PostgresqlSink(SqlSink[PostgresqlSession]):
    """Port `Sink`, `RenewingSink`, `AuditedSink` and `ReadableSink`. `location` is the schema."""

    scheme = SCHEME

    def __init__(self, location: str, open_session: Callable[[], PostgresqlSession]) -> None:
        pool = Pool(open_session)
        chunks = stagings.PostgresqlChunks(pool, location)
        begin = partial(promoting, pool, location)
        super().__init__(location, pool, tables, stagings, forms, chunks, begin)

    def check(self) -> None:
        try:
            with self._pool.session() as session:
                problem = tables.server_problem(session)
                if problem is None:
                    tables.make_own_tables(session, self.location)
                session.commit()
        except PassingError as error:
            raise UnavailableError(
                f"The sink {self._name} cannot be reached: {error}. See that the server runs, "
                "can be reached from this host, and that [sinks.postgresql] url is right."
            ) from error
        except DatabaseError as error:
            problem = str(error)
        if problem is not None:
            raise ConfigurationError(
                f"The sink {self._name} cannot be used: {problem}. The role needs the right to "
                "log in, and to make tables in the schema: GRANT USAGE, CREATE ON SCHEMA "
                f"{quote(self.location)} TO its name."
            )

    def holdings(self) -> Iterator[Holding]:
        with self._looking() as session:
            session.run(ONE_MOMENT)
            if tables.has_own_tables(session, self.location):
                looked = PostgresqlTables(session, self.location)
                yield from _sql_audit.holdings(looked, SCHEME, self.location)
            session.commit()

    @contextlib.contextmanager
    def reading(self, place: PublishedSlot) -> Iterator[TableRows | None]:
        with self._looking() as session:
            session.run(ONE_MOMENT)
            made = tables.has_own_tables(session, self.location)
            yield standing_rows(session, place) if made else None
            session.commit()


class PostgresqlSinkSettings(BaseModel):
    """Where `postgresql://SCHEMA.TABLE` is."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    url: str = Field(default="", repr=False)
    """postgresql://user@host:5432/database; the password comes from `${NAME}`, or from
    `~/.pgpass`. Default: `[database] url`, where that is PostgreSQL too."""


class PostgresqlSinkFactory:
    """Port `SinkFactory` for `postgresql://SCHEMA.TABLE`; `{topic}` in TABLE is the topic."""

    scheme = SCHEME
    settings_model = PostgresqlSinkSettings

    def __init__(self, own_settings: PostgresqlSinkSettings) -> None:
        self._url = own_settings.url

    def absolute(self, uri: str, base: str) -> str:
        return uri

    def parse(self, uri: str, base: str, plugin: str, topic: str) -> Target:
        return table_target(uri, SCHEME, plugin, topic, MOST_NAME)

    def open(self, location: str) -> Sink:
        if not self._url:
            raise ConfigurationError(
                f"The sink {SCHEME}://{location} has no server: set [sinks.{SCHEME}] url, such as "
                "postgresql://user@host:5432/database."
            )
        if find_spec("psycopg") is None:
            raise ConfigurationError(
                f"The sink {SCHEME}://{location} needs the package psycopg: run "
                "`pip install casparian-flow[postgresql]`."
            )
        return PostgresqlSink(location, partial(connect, driver_uri(self._url)))
