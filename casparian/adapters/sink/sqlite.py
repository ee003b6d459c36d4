"""Sink `sqlite://FILE/TABLE`: rows staged in side files, copied in by one transaction.

A side file is attached as a source only: under WAL a transaction over two files written to
would not be one step. Marker and generation are read inside the transaction that writes.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence

import pyarrow as pa

from casparian.adapters.sink import _sql_audit
from casparian.adapters.sink import _sqlite_target as tables
from casparian.adapters.sink._durable import fsync_all
from casparian.adapters.sink._errors import (
    disk_error,
    failed,
)
from casparian.adapters.sink._places import Places, beside
from casparian.adapters.sink._plain import stored_rows
from casparian.adapters.sink._readback import TableRows
from casparian.adapters.sink._sqlite_audit import SqliteForms, SqliteTables, standing_rows
from casparian.adapters.sink._sqlite_promotion import SqlitePromotion, file_uri, passes
from casparian.adapters.sink._sqlite_staging import SqliteStaging
from casparian.adapters.sink._uri import absolute, after_scheme, topic_target_name
from casparian.domain.adoption import Renewal, StandingSlot
from casparian.domain.audit import Holding
from casparian.domain.errors import ConfigurationError, UnavailableError
from casparian.domain.plugins import REJECTS_TOPIC
from casparian.domain.ports import PromoteItem, Sink, StageRequest, Staging
from casparian.domain.publish import (
    Manifest,
    ManifestItem,
    Marker,
    PublishedSlot,
    Receipt,
    StagingKey,
    Target,
)
from casparian.domain.schemas import TargetSchema

SCHEME = "sqlite"
_FORM = "sqlite://FILE/TABLE"
BUSY_S = 5.0


class SqliteSink:
    """Port `Sink`."""

    scheme = SCHEME

    def __init__(self, location: str, busy_s: float = BUSY_S) -> None:
        self.location = location
        self._file = os.path.realpath(location)
        self._places = Places(beside(self._file), self._file)
        self._promotion = SqlitePromotion(self._file, self._places)
        self._busy_s = busy_s
        self._lock = threading.Lock()
        self._known_ours: set[str] = set()

    def missing(self) -> str:
        """Port `LastingSink`."""
        return self._places.missing(f"{SCHEME}://{self.location}", self.markers)

    def check(self) -> None:
        name = f"{SCHEME}://{self.location}"
        if self._places.kept.kept and (missing := self.missing()):
            raise UnavailableError(missing)
        try:
            fresh = not os.path.exists(self._file)
            self._places.make()
            with self._transaction() as db:
                tables.make_own_tables(db)
            if fresh:
                fsync_all([os.path.dirname(self._file)])
            self._places.kept.keep()
        except (OSError, sqlite3.Error) as error:
            if isinstance(error, sqlite3.Error) and passes(error):
                raise UnavailableError(
                    f"The sink {name} is held by somebody else: {error}. Try again later."
                ) from error
            raise ConfigurationError(
                f"The sink {name} cannot be opened: {error}. It needs a file that is an SQLite "
                f"database or does not exist yet, and the right to write beside it, into "
                f"{self._places.working}."
            ) from error

    def _connect(self) -> contextlib.closing[sqlite3.Connection]:
        return contextlib.closing(
            sqlite3.connect(
                file_uri(self._file, "rwc"), uri=True, timeout=self._busy_s, isolation_level=None
            )
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A durable transaction that holds the write lock from its start."""
        with self._connect() as db:
            _prepare(db)
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    # --- staging ------------------------------------------------------------------------

    def stage(self, request: StageRequest, known: TargetSchema | None) -> Staging:
        self._refuse_stranger(request.target)
        try:
            path = self._new_side_file(self._places.open(request.key))
        except OSError as error:
            raise disk_error(f"Opening a staging in {self._places.staging}", error) from error
        return SqliteStaging(path, request, known)

    def _new_side_file(self, directory: str) -> str:
        for n in range(1_000_000):
            path = os.path.join(directory, f"{n}.db")
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
                return path
        raise OSError(f"{directory} is full of side files")

    def _refuse_stranger(self, target: Target) -> None:
        """Fail before the plugin's work rather than after it, where the table is a stranger's."""
        with self._lock:
            if target.name in self._known_ours or not os.path.exists(self._file):
                return
        try:
            with self._connect() as db:
                tables.refuse_stranger(db, target.name, str(target))
                ours = tables.has_own_tables(db) and tables.standing_schema(db, target.name)
        except sqlite3.Error as error:
            raise disk_error(f"Reading {self._file}", OSError(str(error))) from error
        if ours:
            with self._lock:
                self._known_ours.add(target.name)

    def stage_empty(self, manifest: Manifest, item: ManifestItem, key: StagingKey) -> None:
        """Emptying needs no rows, only the holder's directory: it is the promoter's fence."""
        try:
            self._places.open(key)
        except OSError as error:
            raise disk_error(f"Opening a staging in {self._places.staging}", error) from error

    def stage_marker(self, manifest: Manifest, item: ManifestItem, key: StagingKey) -> None:
        """The manifest's own marker is written with the rows."""

    def sync(self, keys: Sequence[StagingKey]) -> None:
        self._places.sync(keys)

    # --- promoting ----------------------------------------------------------------------

    def promote(self, items: Sequence[PromoteItem]) -> list[Receipt]:
        receipts: list[Receipt] = []
        self._places.look()
        try:
            with self._connect() as db:
                _prepare(db)
                # Side files cannot be attached within a transaction, and only so many at once.
                most = max(1, db.getlimit(sqlite3.SQLITE_LIMIT_ATTACHED))
                for start in range(0, len(items), most):
                    some = self._promotion.together(db, items[start : start + most])
                    receipts += some
                    if all(receipt.transient for receipt in some):
                        break  # Nobody waits for a locked file once for each part of a group.
            said = receipts[-1].error if receipts else None
            receipts += [
                failed(job.item, str(said), transient=True) for job in items[len(receipts) :]
            ]
        except sqlite3.Error as error:
            done = len(receipts)
            receipts += [self._promotion.failure(job.item, error) for job in items[done:]]
        return receipts

    # --- upkeep -------------------------------------------------------------------------

    def rekey(self, key: StagingKey) -> None:
        self._places.rekey(key)

    def stagings(self) -> list[StagingKey]:
        return self._places.keys()

    def discard(self, key: StagingKey) -> None:
        self._places.discard(key)

    def clean(self, now_us: int) -> None:
        """Replaced rows are gone with the transaction that replaced them."""

    def markers(self) -> Iterator[tuple[Target, Marker]]:
        if not os.path.exists(self._file):
            return
        with self._reading() as db:
            found = list(tables.all_markers(db)) if tables.has_own_tables(db) else []
        for table, marker in found:
            yield Target(SCHEME, self.location, table), marker

    def holdings(self) -> Iterator[Holding]:
        if not os.path.exists(self._file):
            return
        with self._reading() as db:
            db.execute("BEGIN")
            if tables.has_own_tables(db):
                yield from _sql_audit.holdings(SqliteTables(db), SCHEME, self.location)

    @contextlib.contextmanager
    def reading(self, place: PublishedSlot) -> Iterator[TableRows | None]:
        if not os.path.exists(self._file):
            yield None
            return
        with self._reading() as db:
            db.execute("BEGIN")
            yield standing_rows(db, place) if tables.has_own_tables(db) else None

    def plain(self, rows: pa.RecordBatch, where: str) -> pa.RecordBatch:
        return stored_rows(rows, SqliteForms(), where)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._connect() as db:
                yield db
        except sqlite3.Error as error:
            raise UnavailableError(f"The sink {SCHEME}://{self.location}: {error}.") from error

    # --- taking over --------------------------------------------------------------------

    def standing(self) -> Iterator[StandingSlot]:
        for target, marker in self.markers():
            yield StandingSlot(target, marker)

    def schema_of(self, target: Target) -> TargetSchema | None:
        if not os.path.exists(self._file):
            return None
        with self._reading() as db:
            return tables.standing_schema(db, target.name) if tables.has_own_tables(db) else None

    def renew(self, renewals: Sequence[Renewal]) -> None:
        try:
            with self._transaction() as db:
                tables.renew_markers(db, [(r.target.name, r.before, r.after) for r in renewals])
        except sqlite3.Error as error:
            doing = f"Writing the new markers into {self._file}"
            raise disk_error(doing, OSError(str(error))) from error


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA synchronous=FULL")
    if db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        db.execute("PRAGMA journal_mode=WAL")


def _split(uri: str) -> tuple[str, str]:
    """File and table of a sink's URI."""
    file, _, table = after_scheme(uri, SCHEME, _FORM).rpartition("/")
    if not file or not table:
        raise ConfigurationError(
            f"{uri!r} is not a sink of the form {_FORM}: it needs a file and, after the last "
            "'/', a table, for example sqlite://output.db/orders."
        )
    return file, table


class SqliteSinkFactory:
    """Port `SinkFactory` for `sqlite://FILE/TABLE`; `{topic}` in TABLE is the topic's name."""

    scheme = SCHEME

    def __init__(self, busy_s: float = BUSY_S) -> None:
        self._busy_s = busy_s

    def absolute(self, uri: str, base: str) -> str:
        file, table = _split(uri)
        return f"{SCHEME}://{absolute(file, base)}/{table}"

    def parse(self, uri: str, base: str, plugin: str, topic: str) -> Target:
        file, table = _split(uri)
        name = topic_target_name(plugin, topic)
        if topic != REJECTS_TOPIC:
            name = table.replace("{topic}", name)
        if name.lower().startswith(("sqlite_", "_casparian")):
            raise ConfigurationError(
                f"{uri!r} names the table {name!r}, but SQLite and Casparian keep names that "
                "start with 'sqlite_' or '_casparian' to themselves. Choose another."
            )
        return Target(SCHEME, absolute(file, base), name)

    def open(self, location: str) -> Sink:
        return SqliteSink(location, self._busy_s)
