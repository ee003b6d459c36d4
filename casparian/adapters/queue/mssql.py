"""The queue in SQL Server: many engines, on many hosts, on one database.

Every transaction that writes begins by writing the row of the installation, which it then holds
until it ends: they come one after the other, whether or not the server minds hints about locks.
Readers see one state of the database where it allows snapshots, and come in turn with the
writers where it does not.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pyodbc
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Executable,
    Table,
    event,
    literal_column,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError

from casparian.adapters.queue.claims import beside_their_files, claim_parts
from casparian.adapters.queue.database import Claimer, ClaimParts
from casparian.adapters.queue.live_tables import table_names
from casparian.adapters.queue.looks import Looks
from casparian.adapters.queue.mssql_engine import mssql_engine, schema_of
from casparian.adapters.queue.mssql_errors import (
    ALREADY_THERE,
    LOCKED,
    NO_SNAPSHOTS,
    number_of,
    translated,
)
from casparian.adapters.queue.mssql_statements import (
    GIVEN_IDS,
    IDS,
    LEVEL,
    LOCK,
    NAMED,
    NEWS,
    RAISE_IDS,
    TIME,
    claim_text,
    insert_missing,
)
from casparian.adapters.queue.schema import ensure_schema
from casparian.adapters.queue.server_clock import ServerClock
from casparian.adapters.queue.servers import Servers
from casparian.adapters.queue.statements import RowInsert
from casparian.adapters.queue.tables.installation import installation
from casparian.adapters.queue.tables.jobs import job_event, processing_job

EPOCH = datetime(1970, 1, 1)
TELL_TIME_US = 10_000_000
"""How long this host's monotonic clock stands for the server's."""
TRIES = 6
"""How often a lock is waited for, and a new database is made while others make it, too."""
_LEVEL = "casparian_level"


class MssqlDialect:
    """What only SQL Server does this way. `clock`, where given, is told the server's time."""

    files_together = 12_000
    longest_path = 1_600

    fresh_token: ColumnElement[Any] = literal_column(
        "LOWER(REPLACE(CAST(NEWID() AS VARCHAR(36)), '-', ''))"
    )

    def __init__(self, engine: Engine, clock: ServerClock | None = None) -> None:
        self._engine, self._clock = engine, clock
        self._snapshots = True
        self._looks = Looks(self._look, (pyodbc.Error, DBAPIError))
        self._watcher: Any = None

    def begin_write(self, connection: Connection, shared: bool) -> None:
        # Claims are short: that they come in turn with all others costs little.
        for left in reversed(range(TRIES)):
            try:
                self._set_level(connection, "READ COMMITTED")
                connection.execute(LOCK)
                break
            except DBAPIError as error:
                connection.rollback()
                if number_of(error) not in LOCKED or not left:
                    raise
                time.sleep(random.uniform(0.005, 0.05))
        if self._clock is not None and self._clock.older_than(TELL_TIME_US):
            now: datetime = connection.exec_driver_sql(TIME).scalar_one()
            self._clock.take(round((now - EPOCH).total_seconds() * 1_000_000))

    def begin_read(self, connection: Connection) -> None:
        if self._snapshots:
            self._set_level(connection, "SNAPSHOT")
        else:
            self.begin_write(connection, shared=False)

    def begin_trial(self, connection: Connection) -> None:
        """What is tried in it tells all."""

    def begin_single(self, connection: Connection, writes: bool) -> None:
        level = "SNAPSHOT" if self._snapshots and not writes else "READ COMMITTED"
        self._set_level(connection, level)

    def find_snapshots(self) -> None:
        """Find out whether the database lets readers see one state of it."""
        with self._engine.connect() as connection:
            try:
                self._set_level(connection, "SNAPSHOT")
                connection.execute(select(installation.c.id)).all()
            except DBAPIError as error:
                connection.invalidate()
                if number_of(error) not in NO_SNAPSHOTS:
                    raise
                self._snapshots = False

    def _set_level(self, connection: Connection, level: str) -> None:
        # It stays with the session. A driver may have begun a transaction already, whose level
        # cannot be changed any more.
        if connection.info.get(_LEVEL) != level:
            connection.exec_driver_sql(LEVEL.format(level=level))
            connection.commit()
            connection.info[_LEVEL] = level

    def claim(self, claim: ClaimParts) -> Executable:
        sql, given = claim_text(claim, self._name(processing_job))
        return text(sql).bindparams(*given).columns(*claim.returning)

    def claimer(self, plugins: int) -> Claimer:
        statement = self.claim(claim_parts(self.fresh_token, plugins))

        def claimed(connection: Connection, values: Mapping[str, Any]) -> list[Any]:
            won = connection.execute(statement, values).all()
            return beside_their_files(connection, won)

        return claimed

    def insert_missing(self, table: Table, *names: str) -> RowInsert:
        return insert_missing(table, names)

    def new_ids(self, connection: Connection, table: Table, count: int) -> Sequence[int]:
        # One writer at a time: nobody else draws any before these are inserted.
        first = self.highest_id(connection, table) + 1 if count else 0
        return range(first, first + count)

    @contextmanager
    def given_ids(self, connection: Connection, table: Table) -> Iterator[None]:
        name = self._name(table)
        connection.exec_driver_sql(GIVEN_IDS.format(table=name, state="ON"))
        try:
            yield
        except BaseException:
            # It stays with the session, which so ends.
            connection.invalidate()
            raise
        connection.exec_driver_sql(GIVEN_IDS.format(table=name, state="OFF"))

    def highest_id(self, connection: Connection, table: Table) -> int:
        counted, highest = self._ids(connection, table)
        return max(counted, highest or 0)

    def raise_ids(self, connection: Connection, table: Table, past: int) -> None:
        counted, highest = self._ids(connection, table)
        if past > counted:
            # A table without rows gives the number itself next, any other the one after it.
            number = past if highest is not None else past + 1
            name = self._name(table)
            connection.exec_driver_sql(RAISE_IDS.format(table=name, number=number))

    def _ids(self, connection: Connection, table: Table) -> tuple[int, int | None]:
        """What the table has counted up to, and its highest id."""
        name = self._name(table)
        counted, highest = connection.exec_driver_sql(IDS.format(table=name)).one()
        # Before the first row, the counter stands at what that will get.
        return (int(counted) if highest is not None else (counted or 1) - 1), highest

    def _name(self, table: Table) -> str:
        schema = schema_of(self._engine)
        return f"[{schema}].[{table.name}]" if schema else f"[{table.name}]"

    def translate(self, error: DBAPIError, engine: Engine) -> Exception | None:
        return translated(error, engine)

    def changed(self) -> bool:
        return self._looks.changed()

    def announce(self) -> None:
        """Others see what was written when they look next."""

    def _look(self) -> object:
        """What changes whenever there is new work; on a connection of its own."""
        if self._watcher is None:
            watcher = self._watcher = self._engine.raw_connection()
            driver: Any = watcher.driver_connection
            driver.autocommit = True
            level = "SNAPSHOT" if self._snapshots else "READ COMMITTED"
            watcher.cursor().execute(LEVEL.format(level=level))
        try:
            return tuple(self._watcher.cursor().execute(self._news()).fetchone())
        except BaseException:
            self._stop_looking()
            raise

    def _news(self) -> str:
        jobs, events, ours = map(self._name, (processing_job, job_event, installation))
        return NEWS.format(jobs=jobs, events=events, installation=ours)

    def own_statements(self, table: Table) -> list[str]:
        """What is sent beside the statements that all databases share, for one table."""
        name = self._name(table)
        return [
            " ".join(str(LOCK.compile(dialect=NAMED)).split()),
            *(LEVEL.format(level=level) for level in ("READ COMMITTED", "SNAPSHOT")),
            *(GIVEN_IDS.format(table=name, state=state) for state in ("ON", "OFF")),
            IDS.format(table=name),
            RAISE_IDS.format(table=name, number=8),
            TIME,
            self._news(),
        ]

    def _stop_looking(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.invalidate()

    def close(self) -> None:
        self._looks.close(self._stop_looking)


# --- opening ----------------------------------------------------------------------------


def _on_begin(connection: Connection) -> None:
    # Programs that migrate the tables do so one after the other.
    writes = connection.get_execution_options().get("casparian_write")
    if writes and installation.name in table_names(connection):
        connection.execute(LOCK)


def _engine(url: str) -> Engine:
    engine = mssql_engine(url)
    event.listen(engine, "begin", _on_begin)
    return engine


def _prepare(engine: Engine, dialect: MssqlDialect, create: bool) -> None:
    """Programs that start at once make one database: those that are late find it made."""
    for left in reversed(range(TRIES)):
        try:
            ensure_schema(engine, create)
            break
        except DBAPIError as error:
            if number_of(error) not in LOCKED | ALREADY_THERE or not left:
                raise
        time.sleep(random.uniform(0.1, 1.0))
    dialect.find_snapshots()


_servers = Servers(_engine, MssqlDialect, _prepare)
open_database, open_stores = _servers.open_database, _servers.open_stores
database_schema, upgrade_database = _servers.database_schema, _servers.upgrade_database
