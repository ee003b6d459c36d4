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
from urllib.parse import quote as quote_path

from casparian.adapters.sink import _sqlite_audit
from casparian.adapters.sink import _sqlite_target as tables
from casparian.adapters.sink._durable import fsync_all
from casparian.adapters.sink._errors import (
    disk_error,
    failed,
    foreign,
    is_passing,
    taken_over,
    withheld,
)
from casparian.adapters.sink._places import Places, beside
from casparian.adapters.sink._sqlite_staging import SqliteStaging
from casparian.adapters.sink._uri import absolute, after_scheme, topic_target_name
from casparian.domain.adoption import Renewal, StandingSlot
from casparian.domain.audit import Holding
from casparian.domain.errors import ConfigurationError, JobError, UnavailableError
from casparian.domain.plugins import REJECTS_TOPIC
from casparian.domain.ports import PromoteItem, Sink, StageRequest, Staging
from casparian.domain.publish import (
    InstallCase,
    Manifest,
    ManifestItem,
    Marker,
    MarkerCase,
    Receipt,
    StagingKey,
    Target,
    compare_marker,
)
from casparian.domain.schemas import TargetSchema

SCHEME = "sqlite"
_FORM = "sqlite://FILE/TABLE"
BUSY_S = 5.0
_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_IOERR,  # Whatever the system said: a disk that fails, a limit of size.
    }
)


class SqliteSink:
    """Port `Sink`."""

    scheme = SCHEME

    def __init__(self, location: str, busy_s: float = BUSY_S) -> None:
        self.location = location
        self._file = os.path.realpath(location)
        self._places = Places(beside(self._file))
        self._busy_s = busy_s
        self._lock = threading.Lock()
        self._known_ours: set[str] = set()

    def check(self) -> None:
        name = f"{SCHEME}://{self.location}"
        try:
            fresh = not os.path.exists(self._file)
            self._places.make()
            with self._transaction() as db:
                tables.make_own_tables(db)
            if fresh:
                fsync_all([os.path.dirname(self._file)])
        except (OSError, sqlite3.Error) as error:
            if isinstance(error, sqlite3.Error) and _is_passing(error):
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
                _uri(self._file, "rwc"), uri=True, timeout=self._busy_s, isolation_level=None
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
        try:
            with self._connect() as db:
                _prepare(db)
                # Side files cannot be attached within a transaction, and only so many at once.
                most = max(1, db.getlimit(sqlite3.SQLITE_LIMIT_ATTACHED))
                for start in range(0, len(items), most):
                    some = self._promote_some(db, items[start : start + most])
                    receipts += some
                    if all(receipt.transient for receipt in some):
                        break  # Nobody waits for a locked file once for each part of a group.
            said = receipts[-1].error if receipts else None
            receipts += [
                failed(job.item, str(said), transient=True) for job in items[len(receipts) :]
            ]
        except sqlite3.Error as error:
            done = len(receipts)
            receipts += [self._failed(job.item, error) for job in items[done:]]
        return receipts

    def _promote_some(self, db: sqlite3.Connection, items: Sequence[PromoteItem]) -> list[Receipt]:
        """Promote by one transaction, in which each item stands alone."""
        attached: list[str] = []
        receipts: list[Receipt] = []
        try:
            sources = [self._attach(db, n, job, attached) for n, job in enumerate(items)]
            db.execute("BEGIN IMMEDIATE")
            tables.make_own_tables(db)
            for job, source in zip(items, sources, strict=True):
                receipts.append(self._alone(db, job, source))
            db.execute("COMMIT")
        except sqlite3.Error as error:
            receipts = [self._failed(job.item, error) for job in items]
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
            for name in attached:
                db.execute(f"DETACH {name}")
        return receipts

    def _attach(
        self, db: sqlite3.Connection, n: int, job: PromoteItem, attached: list[str]
    ) -> str | None:
        """Attach an item's side file; None where it has none, or it is not there any more."""
        if not job.item.staged:
            return None
        path = self._side_path(job)
        if not os.path.exists(path):
            return None
        name = f"side{n}"
        try:
            # Nobody writes to it any more, so it needs no locks.
            db.execute(f"ATTACH ? AS {name}", (_uri(path, "ro") + "&immutable=1",))
        except sqlite3.Error:
            if os.path.exists(path):
                raise
            return None
        attached.append(name)
        return name

    def _side_path(self, job: PromoteItem) -> str:
        name = job.item.files[0] if job.item.files else "0.db"
        return os.path.join(self._places.of(job.key), os.path.basename(name))

    def _alone(self, db: sqlite3.Connection, job: PromoteItem, source: str | None) -> Receipt:
        """One item; what it changed is undone where it fails, and the others go on."""
        db.execute("SAVEPOINT item")
        try:
            receipt = self._install(db, job, source)
        except JobError as error:
            receipt = failed(job.item, error.message)
        except sqlite3.Error as error:
            if not db.in_transaction:
                raise  # SQLite gave the whole transaction up.
            receipt = self._failed(job.item, error)
        if receipt.error is not None:
            db.execute("ROLLBACK TO item")
        db.execute("RELEASE item")
        return receipt

    def _install(self, db: sqlite3.Connection, job: PromoteItem, source: str | None) -> Receipt:
        item, mine = job.item, Marker.of(job.manifest, job.item)
        table = item.target.name
        stranger = tables.other_installation(db, table, mine.installation)
        if stranger is not None:
            return failed(item, foreign(item, stranger))
        standing = tables.standing_marker(db, table, item.slot)
        case = compare_marker(standing, mine)
        if standing is not None and case is not MarkerCase.INSTALL:
            return withheld(item, standing, case)
        # Looked at under the write lock: whoever takes over renames first, promotes then.
        held = os.path.exists(self._side_path(job) if item.staged else self._places.of(job.key))
        if not held or (item.staged and source is None):
            return taken_over(item, self._places.of(job.key))
        if standing is not None and standing.rows:
            tables.delete_rows(db, table, standing.job_id)
        if source is not None:
            staged = TargetSchema.from_json(item.schema_json)
            tables.fit_table(db, table, staged, str(item.target))
            copied = tables.copy_rows(db, table, source, [c.name for c in staged.columns])
            if copied != item.rows:
                return failed(
                    item,
                    f"The staging of {item.target} holds {copied} rows, the manifest says "
                    f"{item.rows}. Nothing was changed.",
                )
        tables.write_marker(db, table, mine)
        return Receipt(item, InstallCase.INSTALLED)

    def _failed(self, item: ManifestItem, error: sqlite3.Error) -> Receipt:
        text = f"Publishing to {item.target} failed: {error}."
        return failed(item, text, transient=_is_passing(error) or self._is_out_of_reach())

    def _is_out_of_reach(self) -> bool:
        """SQLite says no more than that it cannot open a file, or write: the system knows why."""
        try:
            os.close(os.open(self._file, os.O_RDWR))
        except OSError as error:
            return is_passing(error)
        return False

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
                yield from _sqlite_audit.holdings(db, SCHEME, self.location)

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


def _uri(path: str, mode: str) -> str:
    return f"file:{quote_path(os.fsencode(path))}?mode={mode}"


def _is_passing(error: sqlite3.Error) -> bool:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in _PASSING


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
