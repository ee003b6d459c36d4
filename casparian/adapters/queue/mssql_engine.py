"""Connections to SQL Server: the driver, the session's settings, typed text and parameters.

Text is compared by code points, never by the server's idea of a language, and every parameter
goes with its type: what a driver or a server guesses differs from one to the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any

import pyodbc
from pyodbc import SQL_BIGINT, SQL_BIT, SQL_DOUBLE, SQL_VARBINARY, SQL_WVARCHAR
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    LargeBinary,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.dialects.mssql.base import MSTypeCompiler
from sqlalchemy.engine import URL
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy
from sqlalchemy.exc import ArgumentError
from sqlalchemy.types import TypeEngine

from casparian.adapters.odbc import find_driver
from casparian.adapters.queue.mssql_errors import mark_lost
from casparian.adapters.queue.mssql_statements import COLLATION
from casparian.adapters.queue.pings import ping_after
from casparian.adapters.queue.statements import LONGEST
from casparian.domain.errors import ConfigurationError

CONNECT_S = 10
STATEMENT_S = 60
PING_AFTER_S = 10.0
LOCK_MS = 10_000
"""How long a statement waits for a lock before it gives up, and is tried again."""
LONGEST_STATEMENT = 3900
"""Characters: every T-SQL server takes 4,000."""
ROWS_A_STATEMENT = 30
EXAMPLE = "mssql+pyodbc://user@host:1433/database?schema=casparian"


def mssql_engine(url: str) -> Engine:
    """An engine for the database at `url`; connects to nothing yet.

    `schema` in the url's query names the schema of the tables; without it they are in the
    default one of the login.
    """
    parsed, schema = _parsed(url)
    engine = create_engine(
        parsed,
        connect_args={"timeout": CONNECT_S},
        deprecate_large_types=True,
        # Parameters are typed here, those of plain text as well.
        use_setinputsizes=False,
        insertmanyvalues_page_size=ROWS_A_STATEMENT,
        pool_size=10,
        max_overflow=50,
        execution_options={LONGEST: LONGEST_STATEMENT, "schema_translate_map": {None: schema}},
    )
    # As messages tell it: what else is in the query may hold a password.
    engine.url = parsed.set(query={"schema": schema} if schema else {})
    types: Any = BinaryText(engine.dialect)
    engine.dialect.type_compiler_instance = types
    event.listen(engine, "connect", _on_connect)
    ping_after(PING_AFTER_S, engine, pyodbc.Error)
    event.listen(engine, "handle_error", mark_lost)
    event.listen(engine, "before_cursor_execute", _with_types, retval=True)
    event.listen(engine, "after_cursor_execute", _read_all)
    return engine


def schema_of(engine: Engine) -> str | None:
    """The schema that the url names."""
    schemas: Mapping[None, str | None] = engine.get_execution_options()["schema_translate_map"]
    return schemas[None]


def _parsed(url: str) -> tuple[URL, str | None]:
    try:
        parsed = make_url(url)
        if "@" in (parsed.host or ""):
            raise ValueError("the password holds an @, and the rest of it would be the host")
    except (ArgumentError, ValueError) as error:
        # Not the url itself, which may hold a password.
        raise ConfigurationError(
            f"The database url cannot be read: write {EXAMPLE}. Quote special characters of a "
            "password as in %40 for @."
        ) from error
    parsed = parsed.set(drivername="mssql+pyodbc")
    query = dict(parsed.query)
    schema = query.pop("schema", None)
    if isinstance(schema, tuple):
        raise ConfigurationError(f"The database url names several schemas: write {EXAMPLE}.")
    if "odbc_connect" not in query:
        if not parsed.database:
            raise ConfigurationError(f"The database url names no database: write {EXAMPLE}.")
        query.setdefault("driver", find_driver(pyodbc.drivers(), "[database] url"))
    return parsed.set(query=query), schema


def _on_connect(connection: Any, _record: object) -> None:
    connection.timeout = STATEMENT_S
    cursor = connection.cursor()
    # Rows that a statement met are counted, whatever the server's default is.
    for statement in ("SET NOCOUNT OFF", f"SET LOCK_TIMEOUT {LOCK_MS}"):
        cursor.execute(statement)
    cursor.close()
    connection.commit()


def _read_all(
    _connection: Connection,
    cursor: Any,
    _statement: str,
    _parameters: Any,
    context: Any,
    _executemany: bool,
) -> None:
    # A connection has one result at a time: the next statement may come before its end.
    # SQLAlchemy itself reads what a statement that writes returns.
    if cursor.description and not (context.compiled and context.compiled.effective_returning):
        found = FullyBufferedCursorFetchStrategy(cursor, cursor.description, cursor.fetchall())
        context.cursor_fetch_strategy = found


# --- text -------------------------------------------------------------------------------


class BinaryText(MSTypeCompiler):
    """Columns of text as Unicode that is compared by its code points."""

    def visit_VARCHAR(self, type_: Any, **kw: Any) -> str:
        return self.visit_NVARCHAR(type_, **kw)

    def visit_NVARCHAR(self, type_: Any, **kw: Any) -> str:
        said = f"NVARCHAR({type_.length or 'max'})"
        declared = isinstance(kw.get("type_expression"), Column)
        return f"{said} COLLATE {COLLATION}" if declared else said


# --- parameters -------------------------------------------------------------------------

_BIGINT, _BIT, _DOUBLE = ((kind, 0, 0) for kind in (SQL_BIGINT, SQL_BIT, SQL_DOUBLE))
_TEXT, _LONG_TEXT = (SQL_WVARCHAR, 4000, 0), (SQL_WVARCHAR, 0, 0)
_BYTES, _LONG_BYTES = (SQL_VARBINARY, 8000, 0), (SQL_VARBINARY, 0, 0)
_OF_PYTHON: tuple[tuple[type[Any] | UnionType, tuple[int, int, int]], ...] = (
    (bool, _BIT),
    (int, _BIGINT),
    (float, _DOUBLE),
    (bytes | bytearray, _BYTES),
    (str, _TEXT),
)
_OF_COLUMN = ((Boolean, _BIT), (Integer, _BIGINT), (Float, _DOUBLE), (LargeBinary, _BYTES))


def _with_types(
    _connection: Connection,
    cursor: Any,
    statement: str,
    parameters: Any,
    context: Any,
    executemany: bool,
) -> tuple[str, Any]:
    if executemany and parameters and isinstance(parameters[0], tuple | list):
        columns = _columns(context, len(parameters[0]))
        values = zip(*parameters, strict=True)
        cursor.setinputsizes([_size(v, kind) for v, kind in zip(values, columns, strict=True)])
        return statement, parameters
    # Once, be it for several rows.
    statement, parameters = _without_nulls(statement, parameters)
    cursor.setinputsizes([_size([value], None) for value in parameters])
    return statement, parameters


def _without_nulls(statement: str, parameters: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    """With NULL in place of the parameters that are: a driver asks the server what type they have,
    each time, and not every server can tell."""
    given = tuple(parameters)
    pieces = statement.split("?")
    if None not in given or len(pieces) != len(given) + 1:
        return statement, given
    text = "".join(
        piece + ("NULL" if value is None else "?")
        for piece, value in zip(pieces, given, strict=False)
    )
    return text + pieces[-1], tuple([value for value in given if value is not None])


def _columns(context: Any, count: int) -> Sequence[TypeEngine[Any] | None]:
    """The types of the columns that the parameters are for, where they are known."""
    compiled = context.compiled
    names = compiled.positiontup or () if compiled is not None else ()
    types = [compiled.binds[name].type if name in compiled.binds else None for name in names]
    return types if len(types) == count else [None] * count


def _size(values: Sequence[Any], column: TypeEngine[Any] | None) -> tuple[int, int, int]:
    """What the driver is to send the values of one parameter as; the column's type tells what a
    NULL is."""
    given = [value for value in values if value is not None]
    if not given:
        return next((size for kind, size in _OF_COLUMN if isinstance(column, kind)), _TEXT)
    size = next(size for kind, size in _OF_PYTHON if isinstance(given[0], kind))
    # A character may take two units.
    if size is _TEXT and max(map(len, given)) > 2000:
        return _LONG_TEXT
    if size is _BYTES and max(map(len, given)) > 8000:
        return _LONG_BYTES
    return size
