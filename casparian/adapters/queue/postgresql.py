"""The queue in PostgreSQL: many engines, on many hosts, on one database.

Every transaction that writes holds an advisory lock of the queue's schema: those which take no
more than rows that nobody else wants hold it shared, all others alone, so that they see no
other's work begin or end meanwhile. The server ends what a host leaves open that was cut off.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache, partial
from typing import Any

import psycopg
from psycopg import errors, sql
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Table,
    Text,
    bindparam,
    cast,
    create_engine,
    event,
    func,
    make_url,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import ArgumentError, DBAPIError, InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.dml import ReturningUpdate

from casparian.adapters.queue.claims import claim_parts, with_file
from casparian.adapters.queue.common import QueueStores
from casparian.adapters.queue.database import (
    WITHOUT_PING,
    Claimer,
    ClaimParts,
    Database,
    RowInsert,
)
from casparian.adapters.queue.schema import SchemaState, ensure_schema, schema_state, upgrade_known
from casparian.adapters.queue.server_clock import ServerClock
from casparian.adapters.queue.stores import stores_of
from casparian.adapters.queue.tables import file_version
from casparian.domain.errors import BusyError, ConfigurationError, UnavailableError
from casparian.domain.ports import Clock

SESSION = {
    # A statement that takes longer is stuck; a transaction that pauses longer is nobody's.
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "30s",
    # A host that was cut off is noticed within ten seconds.
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
}
# Also while a statement of it waits for a lock: else all that it had sent before it was cut off
# would get the lock in turn, and be waited for each by itself.
_CHECK_CLIENT = "SET client_connection_check_interval = '2s'"
CONNECT_S = 10
PING_AFTER_S = 1.0
RETRY_S = 1.0
"""How long a lost connection for notices is left alone before it is made again."""
_LOCK = "SELECT {lock}(hashtext('casparian'), hashtext(current_schema())), clock_timestamp()"
_ALONE = _LOCK.format(lock="pg_advisory_xact_lock")
_SHARED = _LOCK.format(lock="pg_advisory_xact_lock_shared")


def postgresql_engine(url: str) -> Engine:
    """An engine for the database at `url`; connects to nothing yet."""
    try:
        parsed = make_url(url)
        if "@" in (parsed.host or ""):
            raise ValueError("the password holds an @, and the rest of it would be the host")
    except (ArgumentError, ValueError) as error:
        # Not the url itself, which may hold a password.
        raise ConfigurationError(
            "The database url cannot be read: write "
            "postgresql+psycopg://user@host:5432/database. Quote special characters of a "
            "password as in %40 for @."
        ) from error
    options = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
    given = parsed.query.get("options", "")
    engine = create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        connect_args={
            "connect_timeout": CONNECT_S,
            "application_name": "casparian",
            "options": f"{options} {given}".strip(),
        },
        pool_size=10,
        max_overflow=50,
    )
    event.listen(engine, "begin", _on_begin)
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "after_cursor_execute", _after_execute)
    event.listen(engine, "checkin", _on_checkin)
    event.listen(engine, "checkout", partial(_on_checkout, engine))
    return engine


def _on_connect(connection: Any, _record: object) -> None:
    if connection.info.server_version < 140_000:
        return
    connection.autocommit = True
    # Not every system that a server runs on can look.
    with contextlib.suppress(errors.InvalidParameterValue):
        connection.execute(_CHECK_CLIENT)
    connection.autocommit = False


def _after_execute(
    connection: Connection, _cursor: object, _text: str, _rows: object, _context: object, many: bool
) -> None:
    # Many rows go through a pipeline, after which the server does not count for how long a
    # transaction is left open: a host that is stopped right then would hold its locks for good.
    if many:
        driver: Any = connection.connection.driver_connection
        driver.execute("SELECT 1")


def _on_checkin(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info["used_at"] = time.monotonic()


def _on_checkout(
    engine: Engine, connection: Any, record: ConnectionPoolEntry, _proxy: object
) -> None:
    """What `pool_pre_ping` does, but for connections that were in use a moment ago."""
    resting_s = time.monotonic() - record.info.get("used_at", time.monotonic())
    if resting_s < PING_AFTER_S or WITHOUT_PING.get():
        return
    try:
        engine.dialect.do_ping(connection)
    except psycopg.Error as error:
        # The pool lets go of all that it has, and tries a new one.
        raise InvalidatePoolError from error


def _on_begin(connection: Connection) -> None:
    # Programs that make or migrate the tables do so one after the other.
    if connection.get_execution_options().get("casparian_write"):
        connection.exec_driver_sql(_ALONE)


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
        row = connection.exec_driver_sql(_SHARED if shared else _ALONE).one()
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


class Notices:
    """Tells other engines that there is work, and hears it from them: LISTEN and NOTIFY on a
    connection of its own, where looking costs the server nothing."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._connection: Any = None
        self._channel = sql.Identifier("casparian")
        self._not_before = 0.0
        self._owed = False

    def any(self) -> bool:
        """True when another engine has told of work since the last call, or may have."""
        with self._lock:
            try:
                connection, fresh = self._connected()
                if connection is None:
                    return False
                if self._owed:
                    self._notify(connection)
                own = connection.info.backend_pid
                heard = [n for n in connection.notifies(timeout=0) if n.pid != own]
                return fresh or bool(heard)
            except (psycopg.Error, DBAPIError):
                self._drop()
                return False

    def send(self) -> None:
        """Tell the others, later where that is not possible now. Whoever does not hear it finds
        the work when it looks next."""
        with self._lock:
            self._owed = True
            try:
                connection, _ = self._connected()
                if connection is not None:
                    self._notify(connection)
            except (psycopg.Error, DBAPIError):
                self._drop()

    def _notify(self, connection: Any) -> None:
        connection.execute(sql.SQL("NOTIFY {}").format(self._channel))
        self._owed = False

    def _connected(self) -> tuple[Any, bool]:
        """The connection, and whether it is a new one: what was said before it is unknown."""
        if self._connection is not None:
            return self._connection.driver_connection, False
        now = time.monotonic()
        if now < self._not_before:
            return None, False
        self._not_before = now + RETRY_S
        self._connection = self._engine.raw_connection()
        connection: Any = self._connection.driver_connection
        connection.rollback()
        connection.set_autocommit(True)
        schema = connection.execute("SELECT current_schema()").fetchone()[0]
        # As the server cuts a name: a longer schema's name would not be heard.
        self._channel = sql.Identifier(f"casparian {schema}"[:60])
        connection.execute(sql.SQL("LISTEN {}").format(self._channel))
        return connection, True

    def _drop(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error, DBAPIError):
                self._connection.invalidate()
            self._connection = None

    def close(self) -> None:
        with self._lock:
            self._drop()


@lru_cache(maxsize=64)
def _insert_missing(table: Table, names: tuple[str, ...]) -> RowInsert:
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    return RowInsert(insert(table).values(values).on_conflict_do_nothing(), names)


def _sequence(table: Table) -> str:
    return f"{table.name}_id_seq"


def _first_line(cause: BaseException | None) -> str:
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")


def open_database(
    url: str, clock: Clock | None = None, create: bool = True, **options: Any
) -> Database:
    """The database at `url` with its schema checked, or made where `create` allows it. Its own
    clock is used where none is given."""
    engine = postgresql_engine(url)
    own = ServerClock()
    dialect = PostgresqlDialect(engine, own if clock is None else None)
    database = Database(engine, dialect, clock or own, **options)
    try:
        with database.translated():
            ensure_schema(engine, create)
        with database.write(shared=True):
            pass  # Tells the time.
    except BaseException:
        database.close()
        raise
    return database


def open_stores(
    url: str, clock: Clock | None = None, create: bool = True, **options: Any
) -> QueueStores:
    database = open_database(url, clock, create, **options)
    stores = stores_of(database)
    return stores._replace(database_clock=database.clock) if clock is None else stores


def database_schema(url: str) -> SchemaState:
    """What schema the database at `url` has, known or not."""
    with _unchecked(url) as database:
        return schema_state(database.engine)


def upgrade_database(url: str) -> tuple[str, str]:
    """Migrate the database at `url`; the revision before and after."""
    with _unchecked(url) as database:
        return upgrade_known(database.engine)


@contextlib.contextmanager
def _unchecked(url: str) -> Iterator[Database]:
    """The database at `url`, whatever its schema."""
    engine = postgresql_engine(url)
    database = Database(engine, PostgresqlDialect(engine), ServerClock())
    try:
        with database.translated():
            yield database
    finally:
        database.close()
