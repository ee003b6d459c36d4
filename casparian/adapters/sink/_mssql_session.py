"""One connection to SQL Server by pyodbc, and what its errors mean to the one who works with it.

Every parameter goes with its type: what a driver guesses of None differs from one to another.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from casparian.adapters.odbc import find_driver
from casparian.adapters.sink import _mssql_statements as sql
from casparian.adapters.sink._sql_errors import PassingError, StatementError
from casparian.domain.errors import ConfigurationError

CONNECT_S = 10
STATEMENT_S = 60
LOCK_MS = 30_000
LOAD_ROWS = 1_000
MOST_BYTES, MOST_UNITS = 8_000, 4_000
"""What a column that is not long can have."""
EXAMPLE = "mssql+pyodbc://user@host:1433/database"
# Connection lost or refused, timeouts, deadlock, an attempt at a dead connection, one that the
# driver could not bring back by itself.
_PASSING_STATES = ("08", "HYT", "40001", "HY117", "IMC0")
# By the server's own numbers: deadlock, lock timeout, snapshot conflicts, out of memory or space,
# shutdown, a session that was killed, a database that starts or moves.
_PASSING_NUMBERS = frozenset(
    {596, 701, 1105, 1204, 1205, 1222, 3960, 3961, 4060, 6005, 9002, 10053, 10054, 10060, 10928,
     10929, 40197, 40501, 40613, 49918, 49919, 49920}
)  # fmt: skip
_LOST_LOGIN = "28000"
_SAME_KEY = frozenset({2601, 2627})
_RIGHTS = frozenset({229, 230, 262, 297, 300, 916, 1088, 2760})
_NUMBER = re.compile(r"\((\d+)\) \(SQL")


class DatabaseError(StatementError):
    """A statement failed, and would fail again; `number` is the server's (0: unknown)."""

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text)
        self.number = number

    @property
    def same_key(self) -> bool:
        return self.number in _SAME_KEY

    @property
    def lacks_right(self) -> bool:
        return self.number in _RIGHTS


def _pyodbc() -> Any:
    try:
        import pyodbc
    except ImportError as error:
        raise ConfigurationError(
            f"An mssql:// sink needs pyodbc and the ODBC manager of the system ({error}): run "
            "`pip install casparian-flow[mssql]`, and `apt-get install unixodbc` on Debian."
        ) from error
    return pyodbc


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    pyodbc = _pyodbc()
    try:
        yield
    except pyodbc.Error as error:
        state = str(error.args[0]) if error.args else ""
        text = str(error.args[1]) if len(error.args) > 1 else str(error)
        found = _NUMBER.search(text)
        number = int(found[1]) if found else 0
        said = _sentence(text)
        if state.startswith(_PASSING_STATES) or number in _PASSING_NUMBERS:
            raise PassingError(said) from error
        raise DatabaseError(said, number) from error


def _sentence(text: str) -> str:
    """The server's own words: without the names of the drivers, and the statement's."""
    said = re.sub(r"^(\[[^\]]*\]\s*)+", "", text)
    return said.partition(" (SQL")[0].strip().rstrip(".")


class MssqlSession:
    """One connection, in a transaction from its first statement on."""

    def __init__(self, connection_string: str) -> None:
        pyodbc = _pyodbc()
        self._types = pyodbc
        with _translated():
            self._connection = pyodbc.connect(
                connection_string, autocommit=False, timeout=CONNECT_S
            )
            driver = str(self._connection.getinfo(pyodbc.SQL_DRIVER_NAME)).lower()
        # FreeTDS was seen to crash at arrays of parameters.
        self._arrays = "msodbcsql" in driver
        for statement in (*sql.SESSION, sql.lock_timeout(LOCK_MS)):
            self.run(statement)
        self.commit()
        self.limit(STATEMENT_S)

    def limit(self, seconds: int) -> None:
        """How long a statement may take; 0: as long as it takes."""
        with _translated():
            self._connection.timeout = seconds

    def run(self, statement: str, *values: Any) -> int:
        """How many rows the statement changed."""
        with _translated(), contextlib.closing(self._connection.cursor()) as cursor:
            self._execute(cursor, statement, values)
            return int(cursor.rowcount)

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with _translated(), contextlib.closing(self._connection.cursor()) as cursor:
            self._execute(cursor, statement, values)
            return [tuple(row) for row in cursor.fetchall()]

    def _execute(self, cursor: Any, statement: str, values: Sequence[Any]) -> None:
        if values:
            cursor.setinputsizes([self._type_of(type(value), [value]) for value in values])
            cursor.execute(statement, *values)
        else:
            cursor.execute(statement)

    def load(self, statement: str, columns: Sequence[Sequence[Any]], kinds: Sequence[type]) -> None:
        """Run a statement for each row of these columns, whose values are of `kinds` or None.

        Commits what came before each portion: to send many rows at once, the driver first asks for
        the types of the parameters, which no server can tell where a table of the session is
        meant. That error rolls the transaction back, as all do here.
        """
        rows = list(zip(*columns, strict=True))
        with _translated(), contextlib.closing(self._connection.cursor()) as cursor:
            cursor.fast_executemany = self._arrays
            for start in range(0, len(rows), LOAD_ROWS):
                some = rows[start : start + LOAD_ROWS]
                self._connection.commit()
                cursor.setinputsizes(
                    [
                        self._type_of(kind, values)
                        for kind, values in zip(kinds, zip(*some, strict=True), strict=True)
                    ]
                )
                cursor.executemany(statement, some)

    def _type_of(self, kind: type, values: Sequence[Any]) -> tuple[int, int, int]:
        """The type of a parameter that takes all of these values; the size of long ones is 0."""
        types = self._types
        if kind is int or kind is bool:
            return types.SQL_BIGINT, 0, 0
        if kind is float:
            return types.SQL_DOUBLE, 0, 0
        if kind is bytes:
            longest = max((len(value) for value in values if value is not None), default=0)
            return types.SQL_VARBINARY, max(longest, 1) if longest <= MOST_BYTES else 0, 0
        units = max((len(v.encode("utf-16-le")) // 2 for v in values if v is not None), default=0)
        return types.SQL_WVARCHAR, max(units, 1) if units <= MOST_UNITS else 0, 0

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


# --- the url ----------------------------------------------------------------------------


def connection_string(url: str) -> str:
    """`[sinks.mssql] url` as ODBC takes it. Raises ConfigurationError, without the url in it."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    # With an @ that is not quoted, the rest of the password would be the host, which is told.
    whole = parsed is not None and "@" not in (parsed.host or "")
    if parsed is None or not whole or parsed.get_backend_name() != "mssql":
        raise ConfigurationError(
            f"[sinks.mssql] url cannot be read: write {EXAMPLE}. Quote special characters of a "
            "password as in %40 for @."
        ) from None
    query = {name: value for name, value in parsed.query.items() if name != "schema"}
    if "odbc_connect" not in query:
        if not parsed.database:
            raise ConfigurationError(f"[sinks.mssql] url names no database: write {EXAMPLE}.")
        query.setdefault("driver", find_driver(_pyodbc().drivers(), "[sinks.mssql] url"))
    parsed = parsed.set(drivername="mssql+pyodbc", query=query)
    arguments, _ = parsed.get_dialect()().create_connect_args(parsed)
    return str(arguments[0])


def connect(odbc: str) -> MssqlSession:
    return MssqlSession(odbc)
