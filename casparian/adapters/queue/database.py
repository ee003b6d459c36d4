"""A database as the SQL adapters use it: transactions, time, and what differs per dialect."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Engine,
    Executable,
    Insert,
    Select,
    Table,
    Update,
    bindparam,
    insert,
    update,
)
from sqlalchemy.engine import Dialect as SqlDialect
from sqlalchemy.exc import DBAPIError

from casparian.adapters.queue.arrays import write_at_once
from casparian.adapters.queue.common import WakeUp
from casparian.domain.errors import StaleTokenError
from casparian.domain.ports import Clock

CHUNK = 250
"""Ids or paths in one statement: every database takes that many parameters."""
ROWS_TOGETHER = 1000
"""Rows in one insert, where the database takes so many parameters."""
MARKER = len("@P2000")
"""The most characters that a parameter is in the text that a driver sends."""
LONGEST = "casparian_longest"
"""Execution option: the length below which statements stay, where a server wants it."""

WITHOUT_PING: ContextVar[bool] = ContextVar("WITHOUT_PING", default=False)
"""Set where a lost connection is found by the statement itself."""

T = TypeVar("T")


class RowInsert(NamedTuple):
    """An insert of plain tuples, for `insert_rows`."""

    statement: Insert
    names: tuple[str, ...]


class ClaimParts(NamedTuple):
    """What a claim is made of: what it `changes` in its winners, the select of the ids of its
    `candidates` and how many of them it takes, the condition under which one is `still` to be
    had, and the columns that are told of each."""

    changes: Mapping[str, Any]
    candidates: Select[Any]
    limit: int | BindParameter[int]
    still: ColumnElement[bool]
    returning: tuple[ColumnElement[Any], ...]

    @property
    def update(self) -> Update:
        return update(self.candidates.selected_columns[0].table).values(**self.changes)


Claimer: TypeAlias = Callable[[Connection, Mapping[str, Any]], list[Any]]
"""Claims jobs, given the values of its parameters: what is told of each, and the file of each."""


class Dialect(Protocol):
    """What differs between the databases."""

    @property
    def files_together(self) -> int:
        """The most files that one transaction records: each has a page of the index of hashes
        written, or shares one with others of its transaction, and meanwhile others wait."""
        ...

    @property
    def longest_path(self) -> int | None:
        """How many bytes of a path below its root an index takes; None: as many as there are."""
        ...

    @property
    def fresh_token(self) -> ColumnElement[Any]:
        """32 hex digits, others for every row."""
        ...

    def begin_write(self, connection: Connection, shared: bool) -> None:
        """Start a transaction that will write; reads in it see no later writer's rows, but for
        those of other shared ones."""
        ...

    def begin_read(self, connection: Connection) -> None:
        """Let the next transaction see one state of the database."""
        ...

    def begin_single(self, connection: Connection, writes: bool) -> None:
        """Let the next statement be a transaction by itself, where that costs less."""
        ...

    def begin_trial(self, connection: Connection) -> None:
        """Start a transaction that could write, for a moment. Raises UnavailableError where it
        is seen before that nothing could be."""
        ...

    def claim(self, claim: ClaimParts) -> Executable:
        """The statement that writes to those of the candidates that nobody else won."""
        ...

    def claimer(self, plugins: int) -> Claimer:
        """What claims jobs of so many plugins, in as few steps as can be."""
        ...

    def insert_missing(self, table: Table, *names: str) -> RowInsert:
        """As `row_insert`, leaving out the rows whose primary key is there already."""
        ...

    def new_ids(self, connection: Connection, table: Table, count: int) -> Sequence[int]:
        """Ids for rows that this transaction inserts into `table`, ascending, given to nobody
        else."""
        ...

    def given_ids(self, connection: Connection, table: Table) -> AbstractContextManager[None]:
        """Within it, rows may be inserted into `table` whose ids are given."""
        ...

    def highest_id(self, connection: Connection, table: Table) -> int:
        """The highest id that `table` ever gave, rows since removed included; 0 without any."""
        ...

    def raise_ids(self, connection: Connection, table: Table, past: int) -> None:
        """Let the ids that `table` gives from now on be higher than `past`."""
        ...

    def translate(self, error: DBAPIError, engine: Engine) -> Exception | None:
        """The error in the domain's words; None for one that is a bug."""
        ...

    def changed(self) -> bool:
        """True when another process may have written since the last call."""
        ...

    def announce(self) -> None:
        """Tell other processes that there is work, where `changed` does not by itself."""
        ...

    def close(self) -> None: ...


class Database:
    """One engine, shared by the adapters of all ports."""

    def __init__(
        self,
        engine: Engine,
        dialect: Dialect,
        clock: Clock,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.engine, self.dialect, self.clock, self.chance = engine, dialect, clock, chance
        self.waiters = WakeUp(dialect.changed, dialect.announce)
        # Threads queue here in turn; waiting for the database's own lock is by chance.
        self._writing = threading.Lock()

    @contextmanager
    def write(self, shared: bool = False, vouched: bool = False) -> Iterator[Connection]:
        """A transaction that writes; committed at the end, rolled back by an exception.

        `shared` ones may run beside each other: each row that one of them writes it has locked,
        or would write the same whatever the others do. `vouched`: whatever its rows refer to, it
        has made or looked at itself, so that the database need not look at each.
        """
        with self._writing, self.translated(), self.engine.connect() as connection:
            connection.execution_options(casparian_vouched=vouched)
            self.dialect.begin_write(connection, shared)
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads, and sees one state of the database throughout."""
        with self.translated(), self.engine.connect() as connection:
            self.dialect.begin_read(connection)
            yield connection

    def look(self, statement: Select[Any], values: Mapping[str, Any] | None = None) -> list[Any]:
        """The rows of one statement that reads: cheaper than a transaction, where it can be."""
        return self._single(statement, values, writes=False)[0]

    def touch(self, statement: Update, values: Mapping[str, Any] | None = None) -> int:
        """Run one update that may be done twice and needs nobody kept out; the rows it met."""
        return self._single(statement, values, writes=True)[1]

    def _single(
        self, statement: Executable, values: Mapping[str, Any] | None, writes: bool
    ) -> tuple[list[Any], int]:
        # Where the connection was lost since it was used last, it is simply done once more.
        unasked = WITHOUT_PING.set(True)
        try:
            with self.translated():
                for again in (True, False):
                    try:
                        return self._once(statement, values, writes)
                    except DBAPIError as error:
                        if not (error.connection_invalidated and again):
                            raise
        finally:
            WITHOUT_PING.reset(unasked)
        raise AssertionError("unreachable")

    def _once(
        self, statement: Executable, values: Mapping[str, Any] | None, writes: bool
    ) -> tuple[list[Any], int]:
        with self.engine.connect() as connection:
            self.dialect.begin_single(connection, writes)
            result = connection.execute(statement, values)
            found = (list(result), 0) if result.returns_rows else ([], result.rowcount)
            if writes:
                connection.commit()
            return found

    @contextmanager
    def translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            known = self.dialect.translate(error, self.engine)
            if known is None:
                raise
            raise known from error

    def close(self) -> None:
        self.dialect.close()
        self.engine.dispose()


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
