"""NOTIFY and LISTEN: engines that share a PostgreSQL queue tell one another of work."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

RETRY_S = 1.0
"""How long a lost connection for notices is left alone before it is made again."""


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
