"""One connection to PostgreSQL by psycopg, and what its errors mean to who works with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from casparian.adapters.sink._postgresql_copy import SIGNATURE, TRAILER, copied
from casparian.adapters.sink._sql_errors import PassingError, StatementError
from casparian.adapters.sink._sql_names import quote, quoted
from casparian.domain.errors import ConfigurationError

SETTINGS = {
    # A statement that takes longer is stuck; those that move rows lift it for themselves.
    "statement_timeout": "60s",
    "lock_timeout": "30s",
    # A transaction that pauses longer is nobody's any more: its host was stopped or cut off.
    "idle_in_transaction_session_timeout": "10s",
    # A host that was cut off, in the middle of a COPY say, is noticed within ten seconds.
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
    "synchronous_commit": "on",
    "client_min_messages": "warning",
}
CONNECT_S = 10
# Classes of SQLSTATE that pass by themselves or with the server's mending: connection, rollback
# for the sake of others, resources, shutdown, a system error.
_PASSING_CLASSES = frozenset({"08", "40", "53", "58"})
# Timeouts and locks; a server that starts, stops or stands by.
_PASSING = frozenset({"25006", "25P03", "55P03", "57014", "57P01", "57P02", "57P03", "57P05"})
_LOGIN_CLASS = "28"
_NO_DATABASE = "3D000"
_NO_RIGHT = "42501"


class DatabaseError(StatementError):
    """A statement failed, and would fail again; `code` is its SQLSTATE."""

    def __init__(self, text: str, code: str | None) -> None:
        super().__init__(text)
        self.code = code

    @property
    def lacks_right(self) -> bool:
        return self.code == _NO_RIGHT


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        code = error.sqlstate
        text = _sentence(error.diag.message_primary or str(error))
        # What the client itself has to say has no code: it lost the server, or did not find it.
        lost = code is None and isinstance(error, psycopg.OperationalError)
        if lost or (code is not None and (code in _PASSING or code[:2] in _PASSING_CLASSES)):
            raise PassingError(text) from error
        raise DatabaseError(text, code) from error


def _sentence(text: str) -> str:
    """The server's own words, without what a client says before them."""
    said = text.partition("ERROR:  ")[2] or text.partition("FATAL:  ")[2] or text
    return (said.strip().splitlines() or [text])[0].rstrip(".")


class PostgresqlSession:
    """One connection, in a transaction from its first statement on."""

    def __init__(self, uri: str) -> None:
        # Imported here: loading the driver takes longer than the rest of this package.
        import psycopg

        with _translated():
            # Statements are not kept prepared: a table that was widened would make them fail.
            self._connection = psycopg.connect(
                uri, cursor_factory=psycopg.RawCursor, prepare_threshold=None
            )

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query, or of RETURNING; `$1` stands for the first value."""
        with _translated(), self._connection.cursor(binary=True) as cursor:
            return cursor.execute(statement.encode(), values or None).fetchall()

    def run(self, statement: str, *values: Any) -> None:
        with _translated(), self._connection.cursor() as cursor:
            cursor.execute(statement.encode(), values or None)

    def load(self, place: str, columns: Sequence[str], batches: Iterable[pa.RecordBatch]) -> int:
        """COPY batches, whose columns have these names, into the table at `place`; how many rows
        went in."""
        statement = f"COPY {place} ({quoted(columns)}) FROM STDIN (FORMAT binary)"
        with _translated(), self._connection.cursor() as cursor:
            with cursor.copy(statement.encode()) as copy:
                copy.write(SIGNATURE)
                for batch in batches:
                    for piece in copied(batch.columns, batch.num_rows):
                        copy.write(piece)
                copy.write(TRAILER)
            return cursor.rowcount

    def commit(self) -> None:
        with _translated():
            self._connection.commit()

    def rollback(self) -> None:
        with _translated():
            self._connection.rollback()

    def is_alive(self) -> bool:
        try:
            self.rows("SELECT 1")
            self.commit()
        except (PassingError, DatabaseError):
            return False
        return True

    def close(self) -> None:
        with contextlib.suppress(PassingError, DatabaseError), _translated():
            self._connection.close()


def driver_uri(url: str) -> str:
    """`[sinks.postgresql] url` as the driver takes it, with the session's settings.

    Raises ConfigurationError, without the url in it, for one that cannot be read.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    # With an @ that is not quoted, the rest of the password would be the host, which is told.
    whole = parsed is not None and "@" not in (parsed.host or "")
    if parsed is None or not whole or parsed.get_backend_name() != "postgresql":
        raise ConfigurationError(
            "[sinks.postgresql] url cannot be read: write postgresql://user@host:5432/database. "
            "Quote special characters of a password as in %40 for @."
        ) from None
    settings = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    given = parsed.query.get("options", "")
    query = {
        "application_name": "casparian sink",
        "connect_timeout": str(CONNECT_S),
        **parsed.query,
        "options": f"{settings} {given}".strip(),
    }
    # libpq reads %20 as a space, and + as itself.
    rendered = parsed.set(drivername="postgresql", query=query).render_as_string(
        hide_password=False
    )
    head, mark, tail = rendered.partition("?")
    return head + mark + tail.replace("+", "%20")


def connect(uri: str) -> PostgresqlSession:
    """Raises PassingError, or DatabaseError for a login that is refused."""
    return PostgresqlSession(uri)


def in_(numbers: Sequence[int]) -> str:
    return ", ".join(f"{number:d}" for number in numbers)


def qualified(schema: str, table: str) -> str:
    return f"{quote(schema)}.{quote(table)}"
