"""What `_sql_audit` looks at in an SQLite file, and the rows of a slot read back, in one
transaction of the caller's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from casparian.adapters.sink import _sqlite_target as tables
from casparian.adapters.sink._readback import TableRows
from casparian.adapters.sink._sql_audit import Counted
from casparian.adapters.sink._sqlite_staging import quote, refuse_unsupported
from casparian.adapters.sink._sqlite_values import encode
from casparian.domain import lineage
from casparian.domain.publish import Marker, PublishedSlot


class SqliteTables:
    """`AuditedTables`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def markers(self) -> Iterable[tuple[str, Marker]]:
        return tables.all_markers(self._db)

    def made_here(self) -> Iterable[str]:
        found = self._db.execute(f"SELECT DISTINCT target FROM {tables.COLUMNS}")
        return [row[0] for row in found]

    def exists(self, table: str) -> bool:
        found = self._db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,))
        return found.fetchone() is not None

    def counted(self, table: str) -> Iterable[Counted]:
        return self._db.execute(
            f"SELECT {lineage.JOB_ID}, count(*), count(DISTINCT {lineage.ROW}), "
            f"max({lineage.ROW}) FROM {quote(table)} GROUP BY 1 ORDER BY 1"
        ).fetchall()

    def versions(self, table: str) -> Iterable[tuple[int, int]]:
        return self._db.execute(
            f"SELECT DISTINCT {lineage.JOB_ID}, {lineage.FILE_VERSION_ID} FROM {quote(table)} "
            "ORDER BY 1, 2"
        ).fetchall()

    def numbers(self, table: str, job_id: int) -> Iterator[int]:
        found = self._db.execute(
            f"SELECT {lineage.ROW} FROM {quote(table)} WHERE {lineage.JOB_ID} = ? ORDER BY 1",
            (job_id,),
        )
        return (row[0] for row in found)

    def digest(self, table: str, job_id: int) -> str:
        return tables.digest_of_rows(self._db, table, job_id)


def standing_rows(db: sqlite3.Connection, place: PublishedSlot) -> TableRows | None:
    table = place.target.name
    marker = tables.standing_marker(db, table, place.slot)
    if marker is None:
        return None
    return TableRows(
        marker,
        str(place.target),
        partial(tables.read_rows, db, table, marker.job_id),
        partial(tables.digest_of_rows, db, table, marker.job_id),
    )


class SqliteForms:
    """`Forms`."""

    def refuse_unsupported(self, schema: pa.Schema, where: str) -> None:
        refuse_unsupported(schema, where)

    def encode(self, array: pa.Array, column: str, where: str) -> pa.Array:
        return encode(array, column, where)

    def digestible(self, array: pa.Array, stored: pa.Array) -> pa.Array:
        # -0.0 is stored as 0.0.
        return pc.add(stored, 0.0) if pa.types.is_floating(stored.type) else stored
