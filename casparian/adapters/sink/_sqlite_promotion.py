"""The transaction that publishes a group of items to an SQLite file.

Side files are attached as sources only; marker and generation are read inside the transaction that
writes. Each item stands alone in it: what one of them changed is undone where it fails.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from urllib.parse import quote as quote_path

from casparian.adapters.sink import _sqlite_target as tables
from casparian.adapters.sink._errors import failed, foreign, is_passing, taken_over, withheld
from casparian.adapters.sink._places import Places
from casparian.domain.errors import JobError
from casparian.domain.ports import PromoteItem
from casparian.domain.publish import (
    InstallCase,
    ManifestItem,
    Marker,
    MarkerCase,
    Receipt,
    compare_marker,
)
from casparian.domain.schemas import TargetSchema

_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_IOERR,  # Whatever the system said: a disk that fails, a limit of size.
    }
)


class SqlitePromotion:
    def __init__(self, file: str, places: Places) -> None:
        self._file = file
        self._places = places

    def together(self, db: sqlite3.Connection, items: Sequence[PromoteItem]) -> list[Receipt]:
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
            receipts = [self.failure(job.item, error) for job in items]
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
        path = self.side_path(job)
        if not os.path.exists(path):
            return None
        name = f"side{n}"
        try:
            # Nobody writes to it any more, so it needs no locks.
            db.execute(f"ATTACH ? AS {name}", (file_uri(path, "ro") + "&immutable=1",))
        except sqlite3.Error:
            if os.path.exists(path):
                raise
            return None
        attached.append(name)
        return name

    def side_path(self, job: PromoteItem) -> str:
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
            receipt = self.failure(job.item, error)
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
        held = os.path.exists(self.side_path(job) if item.staged else self._places.of(job.key))
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

    def failure(self, item: ManifestItem, error: sqlite3.Error) -> Receipt:
        text = f"Publishing to {item.target} failed: {error}."
        return failed(item, text, transient=passes(error) or self._is_out_of_reach())

    def _is_out_of_reach(self) -> bool:
        """SQLite says no more than that it cannot open a file, or write: the system knows why."""
        try:
            os.close(os.open(self._file, os.O_RDWR))
        except OSError as error:
            return is_passing(error)
        return False


def file_uri(path: str, mode: str) -> str:
    return f"file:{quote_path(os.fsencode(path))}?mode={mode}"


def passes(error: sqlite3.Error) -> bool:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in _PASSING
