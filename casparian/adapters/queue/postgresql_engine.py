"""Connections to PostgreSQL: what each session is told, and when one is tried before its use."""

from __future__ import annotations

import contextlib
from typing import Any

import psycopg
from psycopg import errors
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from casparian.adapters.queue.pings import ping_after
from casparian.domain.errors import ConfigurationError

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
_LOCK = "SELECT {lock}(hashtext('casparian'), hashtext(current_schema())), clock_timestamp()"
ALONE = _LOCK.format(lock="pg_advisory_xact_lock")
SHARED = _LOCK.format(lock="pg_advisory_xact_lock_shared")


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
    ping_after(PING_AFTER_S, engine, psycopg.Error)
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


def _on_begin(connection: Connection) -> None:
    # Programs that make or migrate the tables do so one after the other.
    if connection.get_execution_options().get("casparian_write"):
        connection.exec_driver_sql(ALONE)
