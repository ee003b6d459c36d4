"""The queue in a SQLite file: WAL, every commit synced, one writer at a time.

Several threads and processes of one host may use the file at once. Nothing is written to a
file, not even its journal mode, before its schema was found to be known.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Engine,
    ExceptionContext,
    Executable,
    Table,
    bindparam,
    event,
    func,
    select,
    text,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DBAPIError

from casparian.adapters.queue.claims import claim_parts, with_file
from casparian.adapters.queue.common import QueueStores, wall_clock_us
from casparian.adapters.queue.database import Claimer, ClaimParts, Database
from casparian.adapters.queue.schema import SchemaState, ensure_schema, schema_state, upgrade_known
from casparian.adapters.queue.sqlite_engine import (
    is_of_the_disk,
    sqlite_engine,
    unusable,
    use_wal,
)
from casparian.adapters.queue.statements import RowInsert, text_of
from casparian.adapters.queue.stores import stores_of
from casparian.adapters.queue.tables.files import file_version
from casparian.adapters.queue.tables.jobs import processing_job
from casparian.domain.errors import BusyError, ConfigurationError, UnavailableError
from casparian.domain.ports import Clock

_IDS_IN_A_TOKEN = 1 << 32
_OWN = {"casparian_only": "sqlite"}
TRIAL_S = 2.0
LEAST_ROOM = 64 << 10


class SqliteDialect:
    """What only SQLite does this way."""

    files_together = 60_000
    longest_path = None

    fresh_token: ColumnElement[Any] = func.lower(func.hex(func.randomblob(16)))

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._watcher: Any = None
        self._data_version: int | None = None
        self._file: tuple[int, int] | None = None
        event.listen(engine, "do_connect", self._before_connect)
        event.listen(engine, "handle_error", self._on_error)

    def hold_to_the_file(self) -> None:
        """From now on nothing is done but in the file that stands at the path at this moment."""
        self._file = _file_at(self._engine.url.database)

    def _must_stand(self) -> None:
        """Raises UnavailableError where the file was removed or replaced: SQLite would go on in
        the one that it has open, which nobody finds again once this process has ended."""
        path = self._engine.url.database
        if self._file is None:
            return
        try:
            now = _file_at(path)
        except OSError as error:
            raise UnavailableError(unusable(path, error)) from error
        if now != self._file:
            how = (
                "was removed or renamed since it was opened: put it back, and all goes on"
                if now is None
                else "is another file than the one that was opened: start this program again"
            )
            raise UnavailableError(
                f"The queue database {path!r} {how}. Nothing is recorded or published until then."
            )

    def _before_connect(self, *_: object) -> None:
        # A connection would make the file anew, empty.
        self._must_stand()

    def begin_write(self, connection: Connection, shared: bool) -> None:
        self._must_stand()
        connection.execution_options(casparian_write=True)
        connection.begin()

    def begin_read(self, connection: Connection) -> None:
        """A transaction sees one state anyhow."""
        self._must_stand()

    def begin_single(self, connection: Connection, writes: bool) -> None:
        if writes:
            self.begin_write(connection, shared=True)

    def begin_trial(self, connection: Connection) -> None:
        path = self._engine.url.database or ""
        try:
            room = os.statvfs(path)
        except OSError as error:
            raise UnavailableError(unusable(path, error)) from error
        if room.f_bavail * room.f_frsize < LEAST_ROOM:
            raise UnavailableError(unusable(path, "the disk is full"))
        connection.execution_options(casparian_patience_s=TRIAL_S)
        try:
            self.begin_write(connection, shared=False)
        except DBAPIError as error:
            raise UnavailableError(unusable(path, error.orig)) from error

    def claim(self, claim: ClaimParts) -> Executable:
        # One writer at a time: whoever selects also wins.
        candidates = claim.candidates.limit(claim.limit).scalar_subquery()
        won = claim.update.table.c.id.in_(candidates)
        return claim.update.where(won).returning(*claim.returning)

    def claimer(self, plugins: int) -> Claimer:
        # Who reads first also wins, and knows what will be written: telling it takes SQLite as
        # long as writing it.
        batch: BindParameter[str] = bindparam("batch")
        token = batch.concat(func.printf("%08x", processing_job.c.id % _IDS_IN_A_TOKEN))
        claim = claim_parts(token, plugins)
        due = claim.candidates.limit(claim.limit)
        told = [claim.changes.get(c.name, c).label(c.name) for c in claim.returning]
        first = due.with_only_columns(*told).subquery("due")
        reading = with_file(select(first), file_version.c.id == first.c.file_version_id)
        reading = reading.execution_options(**_OWN)
        writing = claim.update.where(
            processing_job.c.id.in_(due.scalar_subquery())
        ).execution_options(**_OWN)

        def claimed(connection: Connection, values: Mapping[str, Any]) -> list[Any]:
            values = {**values, "batch": secrets.token_hex(12)}
            read, write = text_of(reading, connection), text_of(writing, connection)
            rows = connection.exec_driver_sql(read.sql, read.ordered(values)).all()
            if rows:
                connection.exec_driver_sql(write.sql, write.ordered(values))
            return list(rows)

        return claimed

    def given_ids(self, connection: Connection, table: Table) -> AbstractContextManager[None]:
        return nullcontext()

    def insert_missing(self, table: Table, *names: str) -> RowInsert:
        return _insert_missing(table, names)

    def new_ids(self, connection: Connection, table: Table, count: int) -> Sequence[int]:
        # One writer at a time: nobody else draws any before these are inserted.
        first = self.highest_id(connection, table) + 1
        return range(first, first + count)

    def highest_id(self, connection: Connection, table: Table) -> int:
        statement = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        return connection.execute(statement, {"name": table.name}).scalar() or 0

    def raise_ids(self, connection: Connection, table: Table, past: int) -> None:
        values = {"name": table.name, "past": past}
        raised = text("UPDATE sqlite_sequence SET seq = max(seq, :past) WHERE name = :name")
        if connection.execute(raised, values).rowcount == 0:
            first = text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :past)")
            connection.execute(first, values)

    def translate(self, error: DBAPIError, engine: Engine) -> Exception | None:
        if isinstance(error.orig, sqlite3.OperationalError):
            if "locked" in str(error.orig):
                return BusyError(unusable(engine.url.database, error.orig))
            known = ("unable to open", "disk", "full", "readonly", "I/O")
            if any(word in str(error.orig) for word in known):
                return UnavailableError(unusable(engine.url.database, error.orig))
        elif isinstance(error.orig, sqlite3.DatabaseError):
            if "not a database" in str(error.orig):
                return ConfigurationError(
                    f"The file {engine.url.database!r} is no SQLite database: "
                    "correct [database] url."
                )
            if "malformed" in str(error.orig):
                return UnavailableError(unusable(engine.url.database, error.orig))
        return None

    def changed(self) -> bool:
        with self._lock:
            try:
                if self._watcher is None:
                    self._watcher = self._engine.raw_connection()
                row = self._watcher.cursor().execute("PRAGMA data_version").fetchone()
            except sqlite3.DatabaseError:
                # Whoever looks for work meets the same error, and says so.
                self._drop_watcher()
                return True
            before, self._data_version = self._data_version, row[0]
            # The first look has nothing to compare with, and says yes.
            return before != self._data_version

    def _on_error(self, context: ExceptionContext) -> None:
        """No connection outlives an error of the disk, see `sqlite_engine`."""
        if is_of_the_disk(context.original_exception):
            self.close()

    def _drop_watcher(self) -> None:
        if self._watcher is not None:
            self._watcher.invalidate()
        self._watcher = self._data_version = None

    def announce(self) -> None:
        """Every commit is seen by `changed`."""

    def close(self) -> None:
        with self._lock:
            self._drop_watcher()


@lru_cache(maxsize=64)
def _insert_missing(table: Table, names: tuple[str, ...]) -> RowInsert:
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    return RowInsert(insert(table).values(values).on_conflict_do_nothing(), names)


def _file_at(path: str | None) -> tuple[int, int] | None:
    """Which file stands at a path, whatever becomes of its content."""
    try:
        found = os.stat(path or "")
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _must_exist(path: str) -> None:
    if not os.path.exists(path):
        raise UnavailableError(
            f"There is no queue database at {path!r}: run `casparian-engine run` or "
            "`casparian scan` first, which make it, or correct [database] url."
        )


def open_database(
    path: str, clock: Clock = wall_clock_us, create: bool = True, **options: Any
) -> Database:
    """The file at `path` with its schema checked, or made where `create` allows it."""
    if not create:
        _must_exist(path)
    engine = sqlite_engine(path)
    dialect = SqliteDialect(engine)
    database = Database(engine, dialect, clock, **options)
    try:
        with database.translated():
            ensure_schema(engine, create)
            use_wal(engine)
        dialect.hold_to_the_file()
    except BaseException:
        database.close()
        raise
    return database


def open_stores(
    path: str, clock: Clock = wall_clock_us, create: bool = True, **options: Any
) -> QueueStores:
    return stores_of(open_database(path, clock, create, **options))


def file_schema(path: str) -> SchemaState:
    """What schema the file at `path` has, known or not. Raises UnavailableError without one."""
    with _unchecked(path) as database:
        return schema_state(database.engine)


def upgrade_file(path: str) -> tuple[str, str]:
    """Migrate the file at `path`; the revision before and after."""
    with _unchecked(path) as database:
        return upgrade_known(database.engine)


@contextmanager
def _unchecked(path: str) -> Iterator[Database]:
    """The file at `path`, whatever its schema."""
    _must_exist(path)
    engine = sqlite_engine(path)
    database = Database(engine, SqliteDialect(engine), wall_clock_us)
    try:
        with database.translated():
            yield database
    finally:
        database.close()
