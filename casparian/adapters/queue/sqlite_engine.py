"""Connections to the queue in a SQLite file: how each is set up, and how one becomes the writer.

WAL, every commit synced, one writer at a time.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from contextlib import suppress
from typing import Any

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event

from casparian.domain.errors import UnavailableError

_OF_THE_DISK = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})
BUSY_S = 30.0
"""How long a writer waits for another process's transaction."""
SHORTEST_WAIT_S, LONGEST_WAIT_S = 0.001, 0.02
"""Between two looks whether it has ended at most: the second time twice as long, and so on."""
# Waited for where nothing tells when to go on. Not a sleep: libfaketime lets each of Python's fail,
# and a clock that jumps is tested by it.
_nothing = threading.Event()


def sqlite_engine(path: str) -> Engine:
    """An engine on the file at `path`; connects to nothing yet."""
    engine = create_engine(
        URL.create("sqlite", database=path),
        connect_args={"timeout": BUSY_S, "check_same_thread": False},
        pool_size=10,
        max_overflow=50,
        # The one that was used last has the pages in its cache.
        pool_use_lifo=True,
    )
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    event.listen(engine, "handle_error", _on_error)
    return engine


def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
    # Transactions are begun here and not by the driver, which would begin none for reads.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    # 16 MB, of 2 by default: the index of hashes is met in no order. And 16 MB of log before its
    # pages are put into the file, of 4: a page that many transactions write is put there once.
    connection.execute("PRAGMA cache_size = -16384")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")


def _on_begin(connection: Connection) -> None:
    options, info = connection.get_execution_options(), connection.info
    checked = not options.get("casparian_vouched", False)
    if info.setdefault("casparian_checked", True) != checked:
        # Between transactions only: within one it would change nothing.
        connection.exec_driver_sql(f"PRAGMA foreign_keys = {'ON' if checked else 'OFF'}")
        info["casparian_checked"] = checked
    if options.get("casparian_write"):
        _begin_writing(connection, options.get("casparian_patience_s", BUSY_S))
    else:
        connection.exec_driver_sql("BEGIN DEFERRED")


def _begin_writing(connection: Connection, at_most_s: float) -> None:
    """Become the one writer. SQLite's own wait looks every 100 ms whether another one has ended:
    where many come and go, one could look in vain for ever, and time passes without a writer."""
    driver: Any = connection.connection.dbapi_connection
    deadline = time.monotonic() + at_most_s
    longest_s = SHORTEST_WAIT_S
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        while _is_held(driver) and time.monotonic() < deadline:
            _nothing.wait(random.uniform(0, longest_s))
            longest_s = min(2 * longest_s, LONGEST_WAIT_S)
        if not driver.in_transaction:
            # Once more, and what is in the way is raised as of any statement.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        # An error of the disk has closed the connection.
        with suppress(sqlite3.ProgrammingError):
            driver.execute(f"PRAGMA busy_timeout = {BUSY_S * 1000:.0f}")


def _is_held(driver: sqlite3.Connection) -> bool:
    """Whether another one writes. Where nobody does, and nothing else is in the way, a transaction
    has begun."""
    try:
        driver.execute("BEGIN IMMEDIATE")
    except sqlite3.DatabaseError as error:
        return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
    return False


def _on_error(context: ExceptionContext) -> None:
    """A connection that met an error of the disk is not used again, and none of the pool: one
    whose file could not be opened for writing would stay without the right to, for good. Those
    that nobody uses are closed at once: all connections of a process have one `-shm` file between
    them, and what it was opened for, it is until the last of them is closed."""
    if is_of_the_disk(context.original_exception):
        context.is_disconnect = True
        if context.execution_context is not None:
            # SQLite closes no connection that has a statement left, as this one would have for as
            # long as the error is remembered.
            context.execution_context.cursor.close()
        if context.engine is not None:
            context.engine.pool.dispose()


def is_of_the_disk(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _OF_THE_DISK


def use_wal(engine: Engine) -> None:
    """Readers then see one state while a writer writes. Stays with the file."""
    deadline = time.monotonic() + BUSY_S
    raw = engine.raw_connection()
    try:
        while True:
            try:
                raw.cursor().execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                # Changing the mode does not wait for others, as all else does.
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise UnavailableError(unusable(engine.url.database, error)) from error
                _nothing.wait(0.01)
    finally:
        raw.close()


def unusable(path: str | None, error: object) -> str:
    return (
        f"The queue database {path!r} cannot be used: {error}. See that its directory exists and "
        "may be written, that the disk has room, and that no other program keeps it locked."
    )
