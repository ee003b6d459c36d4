"""The tables of a PostgreSQL sink: markers, schemas and stagings of a schema, and its targets.

Every function works in the caller's transaction and does not end it. `_casparian_publish` says
which slot holds which job's rows, `_casparian_columns` which Arrow type each column has,
`_casparian_staging` holds what is not published yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from casparian.adapters.sink._postgresql_session import PostgresqlSession, in_, qualified
from casparian.adapters.sink._postgresql_values import declared
from casparian.adapters.sink._schema import LINEAGE, to_arrow
from casparian.adapters.sink._sql_names import is_lineage, quote
from casparian.domain import lineage
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.publish import Marker, SlotKey
from casparian.domain.schemas import Column, TargetSchema, reconcile

PUBLISH, COLUMNS, STAGING = "_casparian_publish", "_casparian_columns", "_casparian_staging"
_OWN_TABLES = {
    PUBLISH: """
    target text NOT NULL, plugin text NOT NULL, topic text NOT NULL,
    location_id bigint NOT NULL, version_id bigint NOT NULL,
    installation text NOT NULL, job_id bigint NOT NULL, ordinal bigint NOT NULL,
    rows bigint NOT NULL, digest text NOT NULL, marker text NOT NULL, replaced_job_id bigint,
    PRIMARY KEY (target, plugin, topic, location_id, version_id)""",
    COLUMNS: """
    target text NOT NULL, position integer NOT NULL, name text NOT NULL,
    arrow_type text NOT NULL, nullable boolean NOT NULL, definition text NOT NULL,
    PRIMARY KEY (target, name)""",
    STAGING: """
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    installation text NOT NULL, job_id bigint NOT NULL, attempt integer NOT NULL,
    token text NOT NULL, target text NOT NULL, rows bigint NOT NULL, body bytea""",
}
_SLOT = ("target", "plugin", "topic", "location_id", "version_id")
_MARKER = (*_SLOT, "installation", "job_id", "ordinal", "rows", "digest", "marker")
_RECORD = (
    "target text, plugin text, topic text, location_id bigint, version_id bigint, "
    "installation text, job_id bigint, ordinal bigint, rows bigint, digest text, marker text"
)
_SLOT_RECORD = _RECORD.partition(", installation")[0]

Slot = tuple[str, SlotKey]
"""A table and a slot of it."""


# --- a schema's own tables --------------------------------------------------------------


def server_problem(session: PostgresqlSession) -> str | None:
    """Why text could not be kept in this database; None where it can."""
    ((encoding,),) = session.rows("SELECT current_setting('server_encoding')")
    return None if encoding == "UTF8" else f"its encoding is {encoding}, and it needs UTF8"


def make_own_tables(session: PostgresqlSession, schema: str) -> None:
    """The schema, and the tables that are Casparian's, where they are not there."""
    if has_own_tables(session, schema):
        return
    _lock(session, schema, "")
    if not session.rows("SELECT 1 FROM pg_namespace WHERE nspname = $1", schema):
        session.run(f"CREATE SCHEMA {quote(schema)}")
    for name, columns in _OWN_TABLES.items():
        session.run(f"CREATE TABLE IF NOT EXISTS {qualified(schema, name)} ({columns})")
    # Arrow's buffers are compressed already.
    session.run(f"ALTER TABLE {qualified(schema, STAGING)} ALTER body SET STORAGE EXTERNAL")
    for table, columns in (
        (PUBLISH, "target, installation"),
        (STAGING, "job_id, attempt"),
    ):
        name = quote(f"{table}_found")
        session.run(f"CREATE INDEX IF NOT EXISTS {name} ON {qualified(schema, table)} ({columns})")


def has_own_tables(session: PostgresqlSession, schema: str) -> bool:
    return kind_of(session, schema, STAGING) is not None


def kind_of(session: PostgresqlSession, schema: str, name: str) -> str | None:
    found = session.rows(
        "SELECT CASE relkind WHEN 'v' THEN 'view' ELSE 'table' END FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE nspname = $1 AND relname = $2",
        schema,
        name,
    )
    return str(found[0][0]) if found else None


def _lock(session: PostgresqlSession, schema: str, table: str) -> None:
    """Hold a table's columns, made or not, until the transaction ends."""
    session.rows(
        "SELECT 1 FROM (SELECT pg_advisory_xact_lock(hashtext($1), hashtext($2))) AS held",
        f"casparian sink {schema}",
        table,
    )


# --- markers ----------------------------------------------------------------------------


def write_markers(
    session: PostgresqlSession, schema: str, markers: Sequence[tuple[str, Marker]]
) -> dict[Slot, int | None]:
    """Write each marker whose slot holds nothing newer, and lock its row; one statement, so that
    nobody comes between a look and the writing. The slots written, with the job whose rows are to
    go (None: there are none)."""
    names, record = ", ".join(_MARKER), ", ".join(f"r.{name}" for name in _MARKER)
    news = ", ".join(f"{name} = EXCLUDED.{name}" for name in _MARKER[len(_SLOT) :])
    written = session.rows(
        f"INSERT INTO {qualified(schema, PUBLISH)} AS p ({names}) "
        f"SELECT {record} FROM json_to_recordset($1::json) AS r({_RECORD}) "
        f"ORDER BY {', '.join(_SLOT)} "
        f"ON CONFLICT ({', '.join(_SLOT)}) DO UPDATE SET {news}, replaced_job_id = p.job_id "
        "WHERE p.installation = EXCLUDED.installation "
        "AND (p.ordinal, p.job_id) < (EXCLUDED.ordinal, EXCLUDED.job_id) "
        f"RETURNING {', '.join(_SLOT)}, replaced_job_id",
        _records(markers),
    )
    return {(row[0], SlotKey(*row[1:5])): row[5] for row in written}


def _records(markers: Iterable[tuple[str, Marker]]) -> str:
    return json.dumps(
        [
            {
                **dict(zip(_SLOT, (table, *marker.slot), strict=True)),
                "installation": marker.installation,
                "job_id": marker.job_id,
                "ordinal": marker.ordinal,
                "rows": marker.rows,
                "digest": marker.digest,
                "marker": marker.to_json(),
            }
            for table, marker in markers
        ]
    )


def standing_markers(
    session: PostgresqlSession, schema: str, slots: Iterable[Slot]
) -> dict[Slot, Marker]:
    """The markers of the slots that have one."""
    keys = json.dumps([dict(zip(_SLOT, (table, *slot), strict=True)) for table, slot in slots])
    found = session.rows(
        f"SELECT {', '.join(_SLOT)}, marker FROM {qualified(schema, PUBLISH)} "
        f"JOIN json_to_recordset($1::json) AS r({_SLOT_RECORD}) USING ({', '.join(_SLOT)})",
        keys,
    )
    return {(row[0], SlotKey(*row[1:5])): Marker.from_json(row[5]) for row in found}


def other_installation(
    session: PostgresqlSession, schema: str, table: str, installation: str
) -> str | None:
    """Whose rows the table holds beside this installation's: job ids are unique in one only."""
    ((least, most),) = session.rows(
        f"SELECT min(installation), max(installation) FROM {qualified(schema, PUBLISH)} "
        "WHERE target = $1",
        table,
    )
    return next((found for found in (least, most) if found not in (None, installation)), None)


def all_markers(session: PostgresqlSession, schema: str) -> list[tuple[str, Marker]]:
    rows = session.rows(
        f"SELECT target, marker FROM {qualified(schema, PUBLISH)} ORDER BY target, job_id"
    )
    return [(target, Marker.from_json(text)) for target, text in rows]


def renew_markers(
    session: PostgresqlSession, schema: str, renewals: Sequence[tuple[str, Marker, Marker]]
) -> None:
    """Write each marker anew, with the other keys that it may have; (table, before, after)."""
    standing = standing_markers(session, schema, [(t, before.slot) for t, before, _ in renewals])
    due = [r for r in renewals if standing.get((r[0], r[1].slot)) == r[1]]
    # All leave before the first comes back: they may change places.
    keys = json.dumps([dict(zip(_SLOT, (t, *before.slot), strict=True)) for t, before, _ in due])
    same = " AND ".join(f"p.{name} = r.{name}" for name in _SLOT)
    session.run(
        f"DELETE FROM {qualified(schema, PUBLISH)} AS p "
        f"USING json_to_recordset($1::json) AS r({_SLOT_RECORD}) WHERE {same}",
        keys,
    )
    session.run(
        f"INSERT INTO {qualified(schema, PUBLISH)} ({', '.join(_MARKER)}) "
        f"SELECT {', '.join(_MARKER)} FROM json_to_recordset($1::json) AS r({_RECORD})",
        _records((table, after) for table, _, after in due),
    )


def made_here(session: PostgresqlSession, schema: str) -> list[str]:
    """The names of all targets."""
    return [
        row[0] for row in session.rows(f"SELECT DISTINCT target FROM {qualified(schema, COLUMNS)}")
    ]


# --- targets ----------------------------------------------------------------------------


def standing_schema(session: PostgresqlSession, schema: str, table: str) -> TargetSchema | None:
    """The columns of a table that was made here, None for one that was not."""
    rows = session.rows(
        f"SELECT name, arrow_type, nullable, definition FROM {qualified(schema, COLUMNS)} "
        "WHERE target = $1 ORDER BY position",
        table,
    )
    if not rows:
        return None
    columns = [Column(*row) for row in rows]
    return TargetSchema(tuple(c for c in columns if not is_lineage(c.name)))


def refuse_stranger(session: PostgresqlSession, schema: str, table: str, where: str) -> None:
    """Raise JobError (FOREIGN_ROWS) where something of that name exists that was not made here."""
    kind = kind_of(session, schema, table)
    if kind is not None and standing_schema(session, schema, table) is None:
        raise JobError(
            ErrorClass.FOREIGN_ROWS,
            f"{where} cannot be published to: the schema has a {kind} {table!r} that Casparian "
            "did not make. Nothing in it was changed. Choose another table name.",
        )


def fit_table(
    session: PostgresqlSession, schema: str, table: str, staged: TargetSchema, where: str
) -> TargetSchema:
    """Make the table, or widen it to what is staged; the columns it then has. Raises JobError
    where that is drift."""
    standing = standing_schema(session, schema, table)
    if standing is not None and not reconcile(standing, staged, where).changed:
        return standing
    # Looked at again under the lock: another engine may have made it, or widened it.
    _lock(session, schema, table)
    standing = standing_schema(session, schema, table)
    after = reconcile(standing, staged, where)
    if standing is None:
        refuse_stranger(session, schema, table, where)
        _create(session, schema, table, after.schema)
    elif after.changed:
        _widen(session, schema, table, standing, after.schema)
    if standing is None or after.changed:
        _describe(session, schema, table, after.schema)
    return after.schema


def _create(session: PostgresqlSession, schema: str, table: str, columns: TargetSchema) -> None:
    parts = [f"{quote(field.name)} {declared(field.type)}" for field in to_arrow(columns)]
    parts += [f"{name} bigint NOT NULL" for name in lineage.COLUMNS]
    session.run(f"CREATE TABLE {qualified(schema, table)} ({', '.join(parts)})")


def _widen(
    session: PostgresqlSession, schema: str, table: str, before: TargetSchema, after: TargetSchema
) -> None:
    """One statement, so that the rows are rewritten once, if they are."""
    old = {field.name: declared(field.type) for field in to_arrow(before)}
    changes = []
    for field in to_arrow(after):
        name, kind = quote(field.name), declared(field.type)
        if field.name not in old:
            changes.append(f"ADD COLUMN {name} {kind}")
        elif old[field.name] != kind:
            changes.append(f"ALTER COLUMN {name} TYPE {kind} USING {name}::{kind}")
    if changes:
        session.run(f"ALTER TABLE {qualified(schema, table)} {', '.join(changes)}")


def _describe(session: PostgresqlSession, schema: str, table: str, columns: TargetSchema) -> None:
    described = [[c.name, c.type, c.nullable, c.definition] for c in columns.columns]
    # The lineage columns make a table without any other one known as ours.
    described += [[field.name, str(field.type), False, ""] for field in LINEAGE]
    session.run(f"DELETE FROM {qualified(schema, COLUMNS)} WHERE target = $1", table)
    session.run(
        f"INSERT INTO {qualified(schema, COLUMNS)} "
        "SELECT $1, ordinality - 1, value ->> 0, value ->> 1, (value ->> 2)::boolean, value ->> 3 "
        "FROM json_array_elements($2::json) WITH ORDINALITY",
        table,
        json.dumps(described),
    )


# --- rows -------------------------------------------------------------------------------


def delete_rows(
    session: PostgresqlSession, schema: str, table: str, job_ids: Sequence[int]
) -> None:
    """Remove the rows of jobs, each of which fills one slot.

    The index by which they are found is made when it is first needed: it would slow each load
    down by a third, and where nothing is ever corrected, for nothing.
    """
    place = qualified(schema, table)
    if not _has_index(session, place):
        _lock(session, schema, table)
        if not _has_index(session, place):
            session.run(f"CREATE INDEX ON {place} ({lineage.JOB_ID})")
    session.run(f"DELETE FROM {place} WHERE {lineage.JOB_ID} IN ({in_(job_ids)})")


def _has_index(session: PostgresqlSession, place: str) -> bool:
    found = session.rows(
        "SELECT 1 FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0] "
        "WHERE indrelid = $1::regclass AND attname = $2 AND indisvalid AND indpred IS NULL",
        place,
        lineage.JOB_ID,
    )
    return bool(found)
