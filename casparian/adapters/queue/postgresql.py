"""The queue in PostgreSQL: many engines, on many hosts, on one database.

Every transaction that writes holds an advisory lock of the queue's schema: those which take no
more than rows that nobody else wants hold it shared, all others alone, so that they see no
other's work begin or end meanwhile. The server ends what a host leaves open that was cut off.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import errors
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Table,
    Text,
    bindparam,
    cast,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import ReturningUpdate

from casparian.adapters.queue.claims import claim_parts, with_file
from casparian.adapters.queue.database import Claimer, ClaimParts
from casparian.adapters.queue.postgresql_engine import ALONE, SHARED, postgresql_engine
from casparian.adapters.queue.postgresql_notices import Notices
from casparian.adapters.queue.schema import ensure_schema
from casparian.adapters.queue.server_clock import ServerClock
from casparian.adapters.queue.servers import Servers
from casparian.adapters.queue.statements import RowInsert
from casparian.adapters.queue.tables.files import file_version
from casparian.domain.errors import BusyError, ConfigurationError, UnavailableError


class PostgresqlDialect:
    """What only PostgreSQL does this way. `clock`, where given, is told the server's time."""

    files_together = 12_000
    longest_path = 2_600

    fresh_token: ColumnElement[Any] = func.replace(cast(func.gen_random_uuid(), Text), "-", "")

    def __init__(self, engine: Engine, clock: ServerClock | None = None) -> None:
        self._clock = clock
        self._notices = Notices(engine)

    def begin_write(self, connection: Connection, shared: bool = False) -> None:
        connection.begin()
        row = connection.exec_driver_sql(SHARED if shared else ALONE).one()
        if self._clock is not None:
            self._clock.take(round(row[1].timestamp() * 1_000_000))

    def begin_read(self, connection: Connection) -> None:
        connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def begin_trial(self, connection: Connection) -> None:
        """What is tried in it tells all."""

    def begin_single(self, connection: Connection, writes: bool) -> None:
        connection.execution_options(isolation_level="AUTOCOMMIT")

    def claim(self, claim: ClaimParts) -> ReturningUpdate[Any]:
        # As a query of its own: within the update, the planner may run it more than once.
        candidates = claim.candidates.limit(claim.limit)
        due = candidates.with_for_update(skip_locked=True).cte("due")
        update = claim.update.where(claim.update.table.c.id == due.c.id)
        return update.returning(*claim.returning)

    def claimer(self, plugins: int) -> Claimer:
        claim = claim_parts(self.fresh_token, plugins)
        won = self.claim(claim).cte("won")
        statement = with_file(select(won), file_version.c.id == won.c.file_version_id)
        return lambda connection, values: list(connection.execute(statement, values))

    def given_ids(self, connection: Connection, table: Table) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def insert_missing(self, table: Table, *names: str) -> RowInsert:
        return _insert_missing(table, names)

    def new_ids(self, connection: Connection, table: Table, count: int) -> Sequence[int]:
        statement = text("SELECT nextval(:sequence) FROM generate_series(1, :count)")
        values = {"sequence": _sequence(table), "count": count}
        return list(connection.execute(statement, values).scalars()) if count else []

    def highest_id(self, connection: Connection, table: Table) -> int:
        statement = text(
            "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM " + _sequence(table)
        )
        return int(connection.execute(statement).scalar_one())

    def raise_ids(self, connection: Connection, table: Table, past: int) -> None:
        if past > self.highest_id(connection, table):
            statement = text("SELECT setval(:sequence, :past)")
            connection.execute(statement, {"sequence": _sequence(table), "past": past})

    def translate(self, error: DBAPIError, engine: Engine) -> Exception | None:
        cause = error.orig
        where = f"The queue database {engine.url!r}"
        if isinstance(cause, errors.InsufficientPrivilege):
            return ConfigurationError(
                f"{where} refuses what the engine needs: {_first_line(cause)}. Grant the user "
                "of [database] url SELECT, INSERT, UPDATE and DELETE on all tables of the "
                "queue, USAGE on their sequences, and CREATE on the schema for the tables "
                "themselves."
            )
        if isinstance(cause, errors.InvalidSchemaName):
            return ConfigurationError(
                f"{where} has no schema to keep the queue in: {_first_line(cause)}. Create the "
                "first one of the user's search_path, or name another in [database] url."
            )
        if isinstance(cause, _LOCKED):
            return BusyError(
                f"{where} is held by another program: {_first_line(cause)}. It is free again when "
                "that one has done its work, such as a migration, or has ended."
            )
        if isinstance(cause, _AWAY) or error.connection_invalidated:
            return UnavailableError(
                f"{where} cannot be used: {_first_line(cause)}. See that the server runs, can "
                "be reached from this host and has room, and that [database] url is right."
            )
        return None

    def changed(self) -> bool:
        return self._notices.any()

    def announce(self) -> None:
        self._notices.send()

    def close(self) -> None:
        self._notices.close()


_LOCKED = (errors.LockNotAvailable, errors.DeadlockDetected)
# What passes by itself or with the server's mending: lost connections, timeouts, deadlocks,
# a server that starts, stops, stands by or is full.
_AWAY = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    errors.IdleInTransactionSessionTimeout,
    errors.ReadOnlySqlTransaction,
)


@lru_cache(maxsize=64)
def _insert_missing(table: Table, names: tuple[str, ...]) -> RowInsert:
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    return RowInsert(insert(table).values(values).on_conflict_do_nothing(), names)


def _sequence(table: Table) -> str:
    return f"{table.name}_id_seq"


def _first_line(cause: BaseException | None) -> str:
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")


def _prepare(engine: Engine, _: PostgresqlDialect, create: bool) -> None:
    ensure_schema(engine, create)


_servers = Servers(postgresql_engine, PostgresqlDialect, _prepare)
open_database, open_stores = _servers.open_database, _servers.open_stores
database_schema, upgrade_database = _servers.database_schema, _servers.upgrade_database
