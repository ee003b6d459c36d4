"""The tables of a SQL Server sink: markers, schemas and stagings of a schema, and its targets.

Every function works in the caller's transaction and does not end it, `make_own_tables` excepted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from casparian.adapters.sink import _mssql_statements as sql
from casparian.adapters.sink._mssql_session import DatabaseError, MssqlSession
from casparian.adapters.sink._mssql_values import declared
from casparian.adapters.sink._schema import LINEAGE, to_arrow
from casparian.adapters.sink._sql_names import is_lineage
from casparian.adapters.sink._sql_promote import Slot
from casparian.adapters.sink._sql_staging import Chunk, from_bytes, names_of
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.publish import Marker, StagingKey
from casparian.domain.schemas import Column, TargetSchema, reconcile

# --- a schema's own tables --------------------------------------------------------------


def make_own_tables(session: MssqlSession, schema: str) -> None:
    """The schema, and the tables that are Casparian's, where they are not there. Commits.

    Two engines may come first at once: one of them meets the other's tables then.
    """
    if has_own_tables(session, schema):
        session.commit()
        return
    session.commit()
    with contextlib.suppress(DatabaseError):
        # It is there, or may not be made: then making the tables says so.
        session.run(sql.create_schema(schema))
        session.commit()
    session.rollback()
    try:
        for statement in sql.create_own_tables(schema):
            session.run(statement)
        session.commit()
    except DatabaseError:
        session.rollback()
        if not has_own_tables(session, schema):
            raise
        session.commit()


def has_own_tables(session: MssqlSession, schema: str) -> bool:
    return bool(session.rows(sql.kind_of_table(), schema, sql.LOCK))


# --- markers ----------------------------------------------------------------------------


SEVERAL = "several"
"""In place of the installation that a target's rows are of: some were not taken over."""


class Written(NamedTuple):
    """Whether a marker was written, and the job whose rows are to go (None: there are none)."""

    done: bool
    replaced: int | None


def write_marker(session: MssqlSession, schema: str, table: str, mine: Marker) -> Written:
    """Write the marker where the slot holds nothing newer, and lock its row."""
    content = _content(mine)
    guard = (mine.installation, mine.ordinal, mine.ordinal, mine.job_id)
    before = session.rows(sql.raise_marker(schema), *content, table, *mine.slot, *guard)
    if before:
        return Written(True, before[0][0])
    slot = (table, *mine.slot)
    return Written(session.run(sql.first_marker(schema), *slot, *content, *slot) == 1, None)


def _content(marker: Marker) -> tuple[str | int, ...]:
    return (
        marker.installation,
        marker.job_id,
        marker.ordinal,
        marker.rows,
        marker.digest,
        marker.to_json(),
    )


def standing_markers(
    session: MssqlSession, schema: str, slots: Iterable[Slot]
) -> Mapping[Slot, Marker]:
    found: dict[Slot, Marker] = {}
    for table, slot in slots:
        rows = session.rows(sql.standing_marker(schema), table, *slot)
        if rows:
            found[table, slot] = Marker.from_json(rows[0][0])
    return found


def other_installation(
    session: MssqlSession, schema: str, table: str, installation: str
) -> str | None:
    """Whose rows the table holds beside this installation's: job ids are unique in one only."""
    rows = session.rows(sql.owner(schema), table)
    if not rows:
        session.run(sql.insert_owner(schema), table, installation)
    return str(rows[0][0]) if rows and rows[0][0] != installation else None


def all_markers(session: MssqlSession, schema: str) -> list[tuple[str, Marker]]:
    return [(t, Marker.from_json(text)) for t, text in session.rows(sql.all_markers(schema))]


def renew_markers(
    session: MssqlSession, schema: str, renewals: Sequence[tuple[str, Marker, Marker]]
) -> None:
    """Write each marker anew, with the other keys that it may have; (table, before, after)."""
    standing = standing_markers(session, schema, [(t, before.slot) for t, before, _ in renewals])
    due = [r for r in renewals if standing.get((r[0], r[1].slot)) == r[1]]
    # All leave before the first comes back: they may change places.
    for table, before, _ in due:
        session.run(sql.delete_marker(schema), table, *before.slot)
    for table, _, after in due:
        slot = (table, *after.slot)
        session.run(sql.first_marker(schema), *slot, *_content(after), *slot)
    for table in {table for table, _, _ in due}:
        whose = [row[0] for row in session.rows(sql.installations(schema), table)]
        session.run(sql.forget_owner(schema), table)
        session.run(sql.insert_owner(schema), table, whose[0] if len(whose) == 1 else SEVERAL)


# --- stagings ---------------------------------------------------------------------------


def insert_chunk(
    session: MssqlSession,
    schema: str,
    key: StagingKey,
    table: str,
    rows: int = 0,
    body: bytes | None = None,
) -> None:
    content = body or b""
    session.run(sql.insert_chunk(schema), *names_of(key), table, rows, len(content), content)


def delete_chunks(
    session: MssqlSession, schema: str, key: StagingKey, table: str | None = None
) -> None:
    """Of one target, or all of the key's."""
    if table is None:
        session.run(sql.delete_chunks(schema), *names_of(key))
    else:
        session.run(sql.delete_chunks_of_target(schema), *names_of(key), table)


def take_over(session: MssqlSession, schema: str, key: StagingKey) -> None:
    """Give the staging of this installation, job and attempt the key's token."""
    installation, job_id, attempt, token = names_of(key)
    session.run(sql.take_over(schema), token, installation, job_id, attempt, token)


def all_keys(session: MssqlSession, schema: str) -> list[StagingKey]:
    return [StagingKey(*row) for row in session.rows(sql.all_keys(schema))]


def hold_chunks(
    session: MssqlSession, schema: str, keys: Sequence[StagingKey]
) -> list[tuple[StagingKey, Chunk]]:
    """The stagings that are still under these keys, and will be until the transaction ends."""
    held: list[tuple[StagingKey, Chunk]] = []
    for key in sorted(keys, key=lambda key: key.name):
        if session.run(sql.hold_chunks(schema), *names_of(key)):
            held += [(key, chunk) for chunk in list_chunks(session, schema, key)]
    return held


def list_chunks(session: MssqlSession, schema: str, key: StagingKey) -> list[Chunk]:
    rows = session.rows(sql.list_chunks(schema), *names_of(key))
    return [Chunk(*row) for row in rows]


def read_chunks(
    session: MssqlSession, schema: str, key: StagingKey, chunks: Iterable[Chunk]
) -> list[pa.RecordBatch]:
    bodies = [
        session.rows(sql.read_chunk(schema), key.job_id, key.attempt, chunk.id)
        for chunk in chunks
        if chunk.size
    ]
    return list(from_bytes(bytes(rows[0][0]) for rows in bodies if rows))


# --- targets ----------------------------------------------------------------------------


def standing_schema(session: MssqlSession, schema: str, table: str) -> TargetSchema | None:
    """The columns of a table that was made here, None for one that was not."""
    rows = session.rows(sql.standing_columns(schema), table)
    if not rows:
        return None
    columns = [Column(name, kind, bool(nullable), text) for name, kind, nullable, text in rows]
    return TargetSchema(tuple(c for c in columns if not is_lineage(c.name)))


def refuse_stranger(session: MssqlSession, schema: str, table: str, where: str) -> None:
    """Raise JobError (FOREIGN_ROWS) where something of that name exists that was not made here."""
    found = session.rows(sql.kind_of_table(), schema, table)
    if found and standing_schema(session, schema, table) is None:
        kind = "view" if "VIEW" in str(found[0][0]).upper() else "table"
        raise JobError(
            ErrorClass.FOREIGN_ROWS,
            f"{where} cannot be published to: the schema has a {kind} {table!r} that Casparian "
            "did not make. Nothing in it was changed. Choose another table name.",
        )


def fit_table(
    session: MssqlSession, schema: str, table: str, staged: TargetSchema, where: str
) -> None:
    """Make the table, or widen it to what is staged. Raises JobError where that is drift."""
    standing = standing_schema(session, schema, table)
    if standing is not None and not reconcile(standing, staged, where).changed:
        return
    # Looked at again under the lock: another engine may have made it, or widened it.
    session.run(sql.take_lock(schema))
    standing = standing_schema(session, schema, table)
    after = reconcile(standing, staged, where)
    if standing is None:
        refuse_stranger(session, schema, table, where)
        kinds = [(f.name, str(declared(f.type))) for f in to_arrow(after.schema)]
        for statement in sql.create_table(sql.place(schema, table), kinds):
            session.run(statement)
        session.run(sql.index_target(schema, table))
    elif after.changed:
        _widen(session, schema, table, standing, after.schema)
    if standing is None or after.changed:
        _describe(session, schema, table, after.schema)


def _widen(
    session: MssqlSession, schema: str, table: str, before: TargetSchema, after: TargetSchema
) -> None:
    old = {field.name: field.type for field in to_arrow(before)}
    for field in to_arrow(after):
        kind = str(declared(field.type))
        standing = old.get(field.name)
        if standing is None or (standing == pa.null() and field.type != pa.null()):
            if standing is not None:
                # It holds nothing, and text does not turn into every type.
                session.run(sql.drop_column(schema, table, field.name))
            session.run(sql.add_column(sql.place(schema, table), field.name, kind))
        elif declared(standing) != kind:
            session.run(sql.widen_column(schema, table, field.name, kind))


def _describe(session: MssqlSession, schema: str, table: str, columns: TargetSchema) -> None:
    described = [(c.name, c.type, int(c.nullable), c.definition) for c in columns.columns]
    # The lineage columns make a table without any other one known as ours.
    described += [(field.name, str(field.type), 0, "") for field in LINEAGE]
    session.run(sql.forget_columns(schema), table)
    for position, (name, kind, nullable, definition) in enumerate(described):
        session.run(sql.describe_column(schema), table, position, name, kind, nullable, definition)
