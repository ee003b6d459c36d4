"""The target tables of an SQLite file: made, widened, and their slots replaced.

Every function runs inside the caller's transaction. `_casparian_publish` says which slot holds
which job's rows, `_casparian_columns` which Arrow type each column has.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from casparian.adapters.sink._rowdigest import RowDigest
from casparian.adapters.sink._schema import LINEAGE, to_arrow
from casparian.adapters.sink._sqlite_staging import ROWS, quote
from casparian.adapters.sink._sqlite_values import declared, decode, stored_type
from casparian.domain import lineage
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.publish import Marker, SlotKey
from casparian.domain.schemas import Column, TargetSchema, reconcile

PUBLISH = "_casparian_publish"
COLUMNS = "_casparian_columns"
_OWN_TABLES = (
    f"""CREATE TABLE IF NOT EXISTS {PUBLISH} (
    target TEXT NOT NULL, plugin TEXT NOT NULL, topic TEXT NOT NULL,
    location_id INTEGER NOT NULL, version_id INTEGER NOT NULL,
    installation TEXT NOT NULL, job_id INTEGER NOT NULL, ordinal INTEGER NOT NULL,
    rows INTEGER NOT NULL, digest TEXT NOT NULL, marker TEXT NOT NULL,
    PRIMARY KEY (target, plugin, topic, location_id, version_id))""",
    f"""CREATE TABLE IF NOT EXISTS {COLUMNS} (
    target TEXT NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL,
    arrow_type TEXT NOT NULL, nullable INTEGER NOT NULL, definition TEXT NOT NULL,
    PRIMARY KEY (target, name))""",
)


def make_own_tables(db: sqlite3.Connection) -> None:
    for statement in _OWN_TABLES:
        db.execute(statement)


def has_own_tables(db: sqlite3.Connection) -> bool:
    found = db.execute("SELECT count(*) FROM sqlite_master WHERE name = ?", (COLUMNS,)).fetchone()
    return bool(found[0])


# --- markers ----------------------------------------------------------------------------


def standing_marker(db: sqlite3.Connection, table: str, slot: SlotKey) -> Marker | None:
    row = db.execute(
        f"SELECT marker FROM {PUBLISH} WHERE target = ? AND plugin = ? AND topic = ? "
        "AND location_id = ? AND version_id = ?",
        (table, *slot),
    ).fetchone()
    return None if row is None else Marker.from_json(row[0])


def other_installation(db: sqlite3.Connection, table: str, installation: str) -> str | None:
    """Whose rows the table holds beside this installation's: job ids are unique in one only."""
    row = db.execute(
        f"SELECT installation FROM {PUBLISH} WHERE target = ? AND installation <> ? LIMIT 1",
        (table, installation),
    ).fetchone()
    return None if row is None else str(row[0])


def write_marker(db: sqlite3.Connection, table: str, marker: Marker) -> None:
    values = (
        table, *marker.slot, marker.installation, marker.job_id, marker.ordinal,
        marker.rows, marker.digest, marker.to_json(),
    )  # fmt: skip
    db.execute(f"INSERT OR REPLACE INTO {PUBLISH} VALUES ({','.join('?' * len(values))})", values)


def renew_markers(db: sqlite3.Connection, renewals: Sequence[tuple[str, Marker, Marker]]) -> None:
    """Write each marker anew, with the other keys that it may have; (table, before, after)."""
    due = [r for r in renewals if standing_marker(db, r[0], r[1].slot) == r[1]]
    # All leave before the first comes back: they may change places.
    for table, before, _ in due:
        db.execute(
            f"DELETE FROM {PUBLISH} WHERE target = ? AND plugin = ? AND topic = ? "
            "AND location_id = ? AND version_id = ?",
            (table, *before.slot),
        )
    for table, _, after in due:
        write_marker(db, table, after)


def all_markers(db: sqlite3.Connection) -> Iterator[tuple[str, Marker]]:
    for table, text in db.execute(f"SELECT target, marker FROM {PUBLISH} ORDER BY 1, job_id"):
        yield table, Marker.from_json(text)


# --- tables -----------------------------------------------------------------------------


def standing_schema(db: sqlite3.Connection, table: str) -> TargetSchema | None:
    """The columns of a table that was made here, None for one that was not."""
    rows = db.execute(
        f"SELECT name, arrow_type, nullable, definition FROM {COLUMNS} WHERE target = ? "
        "ORDER BY position",
        (table,),
    ).fetchall()
    if not rows:
        return None
    columns = [Column(name, kind, bool(nullable), text) for name, kind, nullable, text in rows]
    return TargetSchema(tuple(c for c in columns if not c.name.startswith(lineage.PREFIX)))


def refuse_stranger(db: sqlite3.Connection, table: str, where: str) -> None:
    """Raise JobError (FOREIGN_ROWS) where something of that name exists that was not made here."""
    if has_own_tables(db) and standing_schema(db, table) is not None:
        return
    row = db.execute(
        "SELECT type, name FROM sqlite_master WHERE lower(name) = lower(?)", (table,)
    ).fetchone()
    if row is not None:
        raise JobError(
            ErrorClass.FOREIGN_ROWS,
            f"{where} cannot be published to: the file has a {row[0]} {row[1]!r} that Casparian "
            "did not make. Nothing in it was changed. Choose another table name.",
        )


def fit_table(db: sqlite3.Connection, table: str, staged: TargetSchema, where: str) -> None:
    """Make the table, or widen it to what is staged. Raises JobError where that is drift."""
    standing = standing_schema(db, table)
    after = reconcile(standing, staged, where)
    if standing is None:
        refuse_stranger(db, table, where)
        _create(db, table, after.schema)
    elif after.changed:
        _widen(db, table, standing, after.schema)
    if standing is None or after.changed:
        _describe(db, table, after.schema)


def _create(db: sqlite3.Connection, table: str, schema: TargetSchema) -> None:
    columns = [f"{quote(f.name)} {declared(f.type)}" for f in to_arrow(schema)]
    columns += [f"{name} INTEGER NOT NULL" for name in lineage.COLUMNS]
    db.execute(f"CREATE TABLE {quote(table)} ({', '.join(columns)})")


def _widen(db: sqlite3.Connection, table: str, before: TargetSchema, after: TargetSchema) -> None:
    old = {field.name: declared(field.type) for field in to_arrow(before)}
    for field in to_arrow(after):
        kind = declared(field.type)
        if field.name not in old:
            db.execute(f"ALTER TABLE {quote(table)} ADD COLUMN {quote(field.name)} {kind}")
        elif old[field.name] != kind:
            _retype(db, quote(table), quote(field.name), str(kind))


def _retype(db: sqlite3.Connection, table: str, column: str, kind: str) -> None:
    """SQLite cannot change a declared type: the values move to a column that has it."""
    moving = quote(f"{lineage.PREFIX}retyped")
    db.execute(f"ALTER TABLE {table} ADD COLUMN {moving} {kind}")
    db.execute(f"UPDATE {table} SET {moving} = {column} WHERE {column} IS NOT NULL")
    db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    db.execute(f"ALTER TABLE {table} RENAME COLUMN {moving} TO {column}")


def _describe(db: sqlite3.Connection, table: str, schema: TargetSchema) -> None:
    rows: list[tuple[Any, ...]] = [
        (table, i, c.name, c.type, c.nullable, c.definition) for i, c in enumerate(schema.columns)
    ]
    # The lineage columns make a table without any other one known as ours.
    rows += [(table, len(rows) + i, f.name, str(f.type), False, "") for i, f in enumerate(LINEAGE)]
    db.execute(f"DELETE FROM {COLUMNS} WHERE target = ?", (table,))
    db.executemany(f"INSERT INTO {COLUMNS} VALUES (?, ?, ?, ?, ?, ?)", rows)


# --- rows -------------------------------------------------------------------------------


def delete_rows(db: sqlite3.Connection, table: str, job_id: int) -> None:
    """Remove one job's rows, which are one slot's: a job fills one slot of a target.

    The index by which they are found is made when it is first needed: it would slow down each
    load, and where nothing is ever corrected, for nothing.
    """
    index = quote(f"_casparian_job_{table}")
    db.execute(f"CREATE INDEX IF NOT EXISTS {index} ON {quote(table)} ({lineage.JOB_ID})")
    db.execute(f"DELETE FROM {quote(table)} WHERE {lineage.JOB_ID} = ?", (job_id,))


def copy_rows(db: sqlite3.Connection, table: str, source: str, names: Sequence[str]) -> int:
    """Insert all rows of the attached side file `source`; returns how many.

    Where both tables have the same columns in the same order, the statement is of the form of
    which SQLite copies records as they are, if nothing else of the target forbids it: an index,
    say, or another declared type.
    """
    place, side = f"main.{quote(table)}", f"{source}.{ROWS}"
    if _columns_of(db, "main", table) == _columns_of(db, source, ROWS):
        return db.execute(f"INSERT INTO {place} SELECT * FROM {side}").rowcount
    columns = ", ".join(map(quote, (*names, *lineage.COLUMNS)))
    return db.execute(f"INSERT INTO {place} ({columns}) SELECT {columns} FROM {side}").rowcount


def _columns_of(db: sqlite3.Connection, schema: str, table: str) -> list[str]:
    found = db.execute("SELECT name FROM pragma_table_xinfo(?, ?) ORDER BY cid", (table, schema))
    return [row[0] for row in found]


def read_rows(
    db: sqlite3.Connection, table: str, job_id: int | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a table, or of one job, as the Arrow types they were published with."""
    schema = full_schema(db, table)
    for values in _stored_rows(db, table, schema.names, job_id):
        arrays = [decode(list(v), f.type) for v, f in zip(values, schema, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def digest_of_rows(db: sqlite3.Connection, table: str, job_id: int) -> str:
    """The digest of one job's rows, computed anew from what the table holds."""
    schema = full_schema(db, table)
    digest = RowDigest()
    for values in _stored_rows(db, table, schema.names, job_id):
        columns = {}
        for stored, field in zip(values, schema, strict=True):
            array = pa.array(stored, stored_type(field.type))
            columns[field.name] = array.cast(field.type) if _is_uint64(field) else array
        digest.update(columns, len(values[0]))
    return digest.hexdigest()


def _is_uint64(field: pa.Field) -> bool:
    return bool(pa.types.is_uint64(field.type))


def full_schema(db: sqlite3.Connection, table: str) -> pa.Schema:
    """A table's columns as Arrow types, with lineage."""
    schema = standing_schema(db, table)
    if schema is None:
        raise LookupError(f"{table!r} is not a table that Casparian made.")
    return pa.schema([*to_arrow(schema), *LINEAGE])


def _stored_rows(
    db: sqlite3.Connection, table: str, names: Sequence[str], job_id: int | None
) -> Iterator[list[tuple[Any, ...]]]:
    columns = ", ".join(map(quote, names))
    where = "" if job_id is None else f"WHERE {lineage.JOB_ID} = {job_id:d}"
    cursor = db.execute(
        f"SELECT {columns} FROM {quote(table)} {where} ORDER BY {lineage.JOB_ID}, {lineage.ROW}"
    )
    while rows := cursor.fetchmany(16_384):
        yield list(zip(*rows, strict=True))
