"""A database as the SQL adapters use it: transactions, time, and what differs per dialect."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol, TypeAlias

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Engine,
    Executable,
    Select,
    Table,
    Update,
    update,
)
from sqlalchemy.exc import DBAPIError

from casparian.adapters.queue.common import WakeUp
from casparian.adapters.queue.statements import RowInsert
from casparian.domain.ports import Clock

WITHOUT_PING: ContextVar[bool] = ContextVar("WITHOUT_PING", default=False)
"""Set where a lost connection is found by the statement itself."""


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
