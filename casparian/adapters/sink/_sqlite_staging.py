"""One topic's rows in an SQLite file of their own, in the form in which the target stores them.

Its columns are declared as the target's will be: SQLite then copies whole records without a look
at their values. Where a later batch changes a column's stored form, all declarations go, and the
target's affinities do the rest (an integer in a column of uint64 becomes text).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from casparian.adapters.sink._errors import disk_error
from casparian.adapters.sink._rowdigest import RowDigest
from casparian.adapters.sink._schema import Shaper
from casparian.adapters.sink._sqlite_values import ANY, declared, encode
from casparian.domain import lineage
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.ports import StagedRows, StageRequest
from casparian.domain.schemas import TargetSchema

MOST_COLUMNS = 2_000
SLICE_ROWS = 64 * 1024
LARGE = 1024 * 1024
"""Bytes of a first batch from which on large pages are the faster ones."""
SMALL_PAGE, LARGE_PAGE = 4_096, 65_536
ROWS = "rows"
"""The one table of a side file."""


def quote(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


class SqliteStaging:
    """Port `Staging`."""

    def __init__(self, path: str, request: StageRequest, known: TargetSchema | None) -> None:
        self._path = path
        self._where = str(request.target)
        self._shaper = Shaper(known, self._where)
        self._side: Any = None
        self._columns: dict[str, str] = {}
        self._declares = True
        self._accepted: pa.Schema | None = None
        self._digest = RowDigest()

    def write(self, batch: Any) -> None:
        shaped = self._shaper.shape(batch)
        with self._translated():
            self._accept(shaped.schema, large=shaped.nbytes >= LARGE)
            for start in range(0, shaped.num_rows, SLICE_ROWS):
                self._load(shaped.slice(start, SLICE_ROWS))

    def finish(self) -> StagedRows:
        with self._translated():
            self._accept(self._shaper.arrow)
            self._close()
        return StagedRows(
            self._digest.rows,
            self._digest.hexdigest(),
            self._shaper.columns,
            (os.path.basename(self._path),),
        )

    def discard(self) -> None:
        self._close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def _accept(self, schema: pa.Schema, *, large: bool = False) -> None:
        """Give the side file the columns of `schema`, which only ever grow."""
        if self._accepted is not None and schema == self._accepted:
            return
        refuse_unsupported(schema, self._where)
        forms = {field.name: str(declared(field.type)) for field in schema}
        new = {name: form for name, form in forms.items() if name not in self._columns}
        changed = {n for n, form in self._columns.items() if form not in (ANY, forms[n])}
        if self._side is None:
            self._side = _connect(self._path, LARGE_PAGE if large else SMALL_PAGE)
            self._execute(f"CREATE TABLE {ROWS} ({self._definitions(new)})")
        else:
            if changed and self._declares:
                self._undeclare()
            for name, form in new.items():
                definition = self._definitions({name: form})
                self._execute(f"ALTER TABLE {ROWS} ADD COLUMN {definition}")
        self._columns |= new
        self._accepted = schema

    def _definitions(self, columns: Mapping[str, str]) -> str:
        if not self._declares:
            return ", ".join(map(quote, columns))
        return ", ".join(
            f"{quote(name)} {form}{' NOT NULL' if name in lineage.COLUMNS else ''}"
            for name, form in columns.items()
        )

    def _undeclare(self) -> None:
        """Move the rows into columns without affinity: a declared one would turn values of the
        new form into the old one."""
        self._declares = False
        self._execute(f"CREATE TABLE plain ({self._definitions(self._columns)})")
        self._execute(f"INSERT INTO plain SELECT * FROM {ROWS}")
        self._execute(f"DROP TABLE {ROWS}")
        self._execute(f"ALTER TABLE plain RENAME TO {ROWS}")

    def _execute(self, statement: str) -> None:
        with self._side.cursor() as cursor:
            cursor.execute(statement)

    def _load(self, rows: pa.RecordBatch) -> None:
        stored: dict[str, pa.Array] = {}
        counted: dict[str, pa.Array] = {}
        for field, array in zip(rows.schema, rows.columns, strict=True):
            stored[field.name] = encode(array, field.name, self._where)
            wide = pa.types.is_uint64(field.type)
            counted[field.name] = array if wide else stored[field.name]
        self._digest.update(counted, rows.num_rows)
        with self._side.cursor() as cursor:
            cursor.adbc_ingest(ROWS, pa.RecordBatch.from_pydict(stored), mode="append")

    def _close(self) -> None:
        if self._side is not None:
            self._side.close()
            self._side = None

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        import adbc_driver_manager

        try:
            yield
        except OSError as error:
            raise disk_error(f"Writing rows for {self._where} into {self._path}", error) from error
        except adbc_driver_manager.DataError as error:
            raise JobError(
                ErrorClass.DATA,
                f"SQLite cannot hold the rows for {self._where}: {error}. "
                "Publish values that it can hold, or use a Parquet sink.",
            ) from error
        except adbc_driver_manager.Error as error:
            raise JobError(
                ErrorClass.INFRASTRUCTURE,
                f"Loading rows for {self._where} into {self._path} failed: {error}. "
                "Look at the disk's space, permissions and health.",
            ) from error


def _connect(path: str, page_size: int) -> Any:
    """A connection that writes without a journal: the file is worth nothing until it is synced."""
    # Imported here: loading the driver takes longer than the rest of this package.
    from adbc_driver_sqlite import dbapi

    # Statements stand alone; the pragmas cannot be set within a transaction.
    connection = dbapi.connect(path, autocommit=True)
    with connection.cursor() as cursor:
        pragmas = (
            f"page_size={page_size}",
            "journal_mode=OFF",
            "synchronous=OFF",
            "locking_mode=EXCLUSIVE",
        )
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
            cursor.fetchall()
    return connection


def refuse_unsupported(schema: pa.Schema, where: str) -> None:
    """Raise JobError (DATA) for columns that SQLite could not hold or keep apart."""
    problem = _unsupported(schema)
    if problem:
        raise JobError(ErrorClass.DATA, f"The rows for {where} do not fit SQLite: {problem}")


def _unsupported(schema: pa.Schema) -> str | None:
    if len(schema) > MOST_COLUMNS:
        return (
            f"they have {len(schema)} columns with those for lineage, and a table has at most "
            f"{MOST_COLUMNS}. Publish a narrower table, or use a Parquet sink."
        )
    seen: dict[bytes, str] = {}
    for field in schema:
        if "\0" in field.name or not field.name:
            return f"{field.name!r} cannot be a column's name. Rename it."
        # SQLite folds the case of ASCII letters, and of these only.
        other = seen.setdefault(field.name.encode("utf-8").lower(), field.name)
        if other != field.name:
            return (
                f"the columns {other!r} and {field.name!r} differ in case only, which SQLite "
                "takes for one. Rename one of them."
            )
        if declared(field.type) is None:
            return (
                f"column {field.name!r} is {field.type}, which has no stored form. "
                "Publish it as another type, or as text."
            )
    return None
