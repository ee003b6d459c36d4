"""Statements as drivers take them, made once and run for many rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Insert, Select, Table, Update, bindparam, insert
from sqlalchemy.engine import Dialect as SqlDialect

from casparian.adapters.queue.arrays import write_at_once
from casparian.domain.errors import StaleTokenError

CHUNK = 250
"""Ids or paths in one statement: every database takes that many parameters."""
ROWS_TOGETHER = 1000
"""Rows in one insert, where the database takes so many parameters."""
MARKER = len("@P2000")
"""The most characters that a parameter is in the text that a driver sends."""
LONGEST = "casparian_longest"
"""Execution option: the length below which statements stay, where a server wants it."""

T = TypeVar("T")


class RowInsert(NamedTuple):
    """An insert of plain tuples, for `insert_rows`."""

    statement: Insert
    names: tuple[str, ...]


def chunks(items: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """The items in pieces of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


class Text(NamedTuple):
    """A statement as the driver takes it: its parameters' names in order, None where they go by
    name, what picks their values, and the constants among them."""

    sql: str
    order: tuple[str, ...] | None
    pick: Callable[[Mapping[str, Any]], Any]
    constants: dict[str, Any]

    def ordered(self, row: Mapping[str, Any]) -> Any:
        """The parameters for the values of one row."""
        return self.pick({**self.constants, **row})


def text_of(statement: Update | Insert | Select[Any], connection: Connection) -> Text:
    schema = connection.get_execution_options().get("schema_translate_map", {}).get(None)
    return _text_of(statement, connection.dialect, schema)


@lru_cache(maxsize=512)
def _text_of(
    statement: Update | Insert | Select[Any], dialect: SqlDialect, schema: str | None
) -> Text:
    where: dict[str, Any] = {"schema_translate_map": {None: schema}}
    where |= {"render_schema_translate": True}
    compiled: Any = statement.compile(dialect=dialect, **(where if schema else {}))
    order = tuple(compiled.positiontup) if compiled.positiontup else None
    # What every row must bring is left out here, so that a row without it is an error.
    required = {name for parameter, name in compiled.bind_names.items() if parameter.required}
    constants = {name: v for name, v in compiled.params.items() if name not in required}
    pick: Callable[[Mapping[str, Any]], Any] = _in_order(order) if order else dict
    return Text(str(compiled), order, pick, constants)


def _in_order(names: tuple[str, ...]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    if len(names) == 1:
        return lambda row: (row[names[0]],)
    return itemgetter(*names)


def insert_of(table: Table, *names: str) -> Insert:
    """An insert of these columns, for `execute_many`."""
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    return insert(table).values(values).inline()


def row_insert(table: Table, *names: str) -> RowInsert:
    return RowInsert(insert_of(table, *names), names)


def insert_rows(connection: Connection, into: RowInsert, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows whose values stand in the order of `into.names`.

    As with `execute_many`, the values must be what the driver takes.
    """
    if not rows:
        return
    text = text_of(into.statement, connection)
    if text.order is None:
        named = [dict(zip(into.names, row, strict=True)) for row in rows]
        connection.exec_driver_sql(text.sql, named)
        return
    if text.order != into.names:
        ordered = itemgetter(*map(into.names.index, text.order))
        rows = [ordered(row) for row in rows]
    for together, count in _together(text, len(rows), connection):
        whole = len(rows) // count * count
        for part in chunks(rows[:whole], count):
            connection.exec_driver_sql(together, tuple(chain.from_iterable(part)))
        rows = rows[whole:]
    if rows:
        connection.exec_driver_sql(text.sql, list(rows))


def _together(text: Text, rows: int, connection: Connection) -> Iterator[tuple[str, int]]:
    """Inserts of several rows at once, and of how many; none where a row is not of values alone.

    SQLite takes half as long for them, and gives the interpreter's lock away once for all. Where
    each statement is a way to a server and back, what is left over goes together, too.
    """
    longest = connection.get_execution_options().get(LONGEST, 0)
    columns = len(text.order or ())
    most = min(ROWS_TOGETHER, connection.dialect.insertmanyvalues_max_parameters // columns)
    if longest:
        most = min(most, (longest - len(text.sql)) // (columns * (MARKER + 2) + 4))
    for count in (most, rows % most) if longest else (most,):
        if count > 1 and (sql := _of_many(text.sql, columns, count)):
            yield sql, count


@lru_cache(maxsize=256)
def _of_many(sql: str, columns: int, count: int) -> str:
    """The text with so many rows in place of one; "" where it has none of values alone."""
    row = f"({', '.join('?' * columns)})"
    into, found, rest = sql.partition(f"VALUES {row}")
    return f"{into}VALUES {', '.join([row] * count)}{rest}" if found else ""


def execute_many(
    connection: Connection, statement: Update | Insert, values: Sequence[Mapping[str, Any]]
) -> int:
    """Run a statement once for each row of values and return the rows it met.

    The text is made once and the driver is given plain tuples, which halves the cost of a row.
    So the values must be what the driver takes: numbers, text, bytes, NULL.
    """
    if not values:
        return 0
    text = text_of(statement, connection)
    if connection.dialect.name == "postgresql" and len(values) > 1:
        met = write_at_once(connection, text.sql, text.constants, values)
        if met is not None:
            return met
    rows = [text.ordered(row) for row in values]
    if connection.dialect.supports_sane_multi_rowcount:
        return connection.exec_driver_sql(text.sql, rows).rowcount
    # A driver that does not tell how many rows several runs met in all.
    return sum(connection.exec_driver_sql(text.sql, row).rowcount for row in rows)


def write_all(
    connection: Connection, statement: Update, values: Sequence[Mapping[str, Any]]
) -> None:
    """Run a guarded update for rows that this transaction has locked and found to fit.

    Raises StaleTokenError, and so rolls back, where a guard did not hold after all.
    """
    changed = execute_many(connection, statement, values)
    if changed != len(values):
        raise StaleTokenError(
            f"{len(values)} rows of {statement.table} were to be changed, but {changed} still "
            "had the expected status and token."
        )


def storable(text: str | None) -> str | None:
    """Text as every database takes it: lone surrogates and NUL are written as escapes."""
    if text is None:
        return None
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
