"""What `_sql_audit` looks at in a schema of PostgreSQL, and the rows of a job read back.

Times and decimals are read as numbers and text, so that no conversion of the driver's has a say.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa

from casparian.adapters.sink import _postgresql_tables as tables
from casparian.adapters.sink import _sqlite_values as json_values
from casparian.adapters.sink._postgresql_session import PostgresqlSession, qualified
from casparian.adapters.sink._postgresql_values import declared, digestible, encode
from casparian.adapters.sink._readback import TableRows
from casparian.adapters.sink._rowdigest import RowDigest
from casparian.adapters.sink._schema import with_lineage
from casparian.adapters.sink._sql_audit import Counted
from casparian.adapters.sink._sql_names import quote
from casparian.domain import lineage
from casparian.domain.publish import Marker, PublishedSlot, Target

ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
PORTION = 16_384
_CURSORS = itertools.count(1)
_COUNTED = {
    "date": "({0} - date '1970-01-01')",
    "timestamp": "(extract(epoch FROM {0}) * 1000000)::bigint",
    "timestamptz": "(extract(epoch FROM {0}) * 1000000)::bigint",
    "time": "(extract(epoch FROM {0}) * 1000000)::bigint",
    "interval": "(extract(epoch FROM {0}) * 1000000)::bigint",
    "jsonb": "{0}::text",
}


class PostgresqlTables:
    """`AuditedTables`. The transaction is of one moment."""

    def __init__(self, session: PostgresqlSession, schema: str) -> None:
        self._session = session
        self._schema = schema

    def markers(self) -> Iterable[tuple[str, Marker]]:
        return tables.all_markers(self._session, self._schema)

    def made_here(self) -> Iterable[str]:
        return tables.made_here(self._session, self._schema)

    def exists(self, table: str) -> bool:
        return tables.kind_of(self._session, self._schema, table) is not None

    def counted(self, table: str) -> Iterable[Counted]:
        rows: Iterable[Any] = self._session.rows(
            f"SELECT {lineage.JOB_ID}, count(*), count(DISTINCT {lineage.ROW}), "
            f"max({lineage.ROW}) FROM {self._place(table)} GROUP BY 1 ORDER BY 1"
        )
        return rows

    def versions(self, table: str) -> Iterable[tuple[int, int]]:
        rows: Iterable[Any] = self._session.rows(
            f"SELECT DISTINCT {lineage.JOB_ID}, {lineage.FILE_VERSION_ID} "
            f"FROM {self._place(table)} ORDER BY 1, 2"
        )
        return rows

    def numbers(self, table: str, job_id: int) -> Iterable[int]:
        rows = self._session.rows(
            f"SELECT {lineage.ROW} FROM {self._place(table)} WHERE {lineage.JOB_ID} = $1 "
            "ORDER BY 1",
            job_id,
        )
        return (row[0] for row in rows)

    def digest(self, table: str, job_id: int) -> str:
        return digest_of_rows(self._session, Target("postgresql", self._schema, table), job_id)

    def _place(self, table: str) -> str:
        return qualified(self._schema, table)


def standing_rows(session: PostgresqlSession, place: PublishedSlot) -> TableRows | None:
    target = place.target
    slot = (target.name, place.slot)
    marker = tables.standing_markers(session, target.location, [slot]).get(slot)
    if marker is None:
        return None
    return TableRows(
        marker,
        str(target),
        partial(read_rows, session, target, marker.job_id),
        partial(digest_of_rows, session, target, marker.job_id),
    )


def digest_of_rows(session: PostgresqlSession, target: Target, job_id: int) -> str:
    """The digest of one job's rows, computed anew from what the table holds."""
    digest = RowDigest()
    for batch in read_rows(session, target, job_id):
        columns = {
            name: digestible(array, encode(array, name, str(target)))
            for name, array in zip(batch.schema.names, batch.columns, strict=True)
        }
        digest.update(columns, batch.num_rows)
    return digest.hexdigest()


def full_schema(session: PostgresqlSession, target: Target) -> pa.Schema:
    """A table's columns as Arrow types, with lineage."""
    columns = tables.standing_schema(session, target.location, target.name)
    if columns is None:
        raise LookupError(f"{target} is not a table that Casparian made.")
    return with_lineage(columns)


def read_rows(session: PostgresqlSession, target: Target, job_id: int) -> Iterator[pa.RecordBatch]:
    """The rows of one job, in their order, as the Arrow types they were published with. The
    transaction must last until the last of them."""
    schema = full_schema(session, target)
    names = ", ".join(_selected(field) for field in schema)
    # One walk over the table, however many rows there are: it may have no index by job.
    cursor = f"casparian_rows_{next(_CURSORS)}"
    session.run(
        f"DECLARE {cursor} NO SCROLL CURSOR FOR SELECT {names} "
        f"FROM {qualified(target.location, target.name)} "
        f"WHERE {lineage.JOB_ID} = {job_id:d} ORDER BY {lineage.ROW}"
    )
    while rows := session.rows(f"FETCH FORWARD {PORTION} FROM {cursor}"):
        values = zip(*rows, strict=True)
        arrays = [_decoded(list(v), f.type) for v, f in zip(values, schema, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
    session.run(f"CLOSE {cursor}")


def _selected(field: pa.Field) -> str:
    kind = str(declared(field.type))
    form = "{0}::text" if kind.startswith("numeric") else _COUNTED.get(kind, "{0}")
    return form.format(quote(field.name))


def _decoded(values: list[Any], kind: pa.DataType) -> pa.Array:
    t = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, _decoded(values, kind.storage_type))
    if declared(kind) == "jsonb":
        return json_values.decode(values, kind)
    if t.is_timestamp(kind):
        return pa.array(values, pa.int64()).cast(pa.timestamp("us", kind.tz)).cast(kind)
    if t.is_time(kind):
        return pa.array(values, pa.int64()).cast(pa.time64("us")).cast(kind)
    if t.is_duration(kind):
        return pa.array(values, pa.int64()).cast(pa.duration("us")).cast(kind)
    if t.is_date32(kind):
        return pa.array(values, pa.int32()).cast(kind)
    if t.is_uint64(kind):
        return pa.array([None if v is None else int(v) for v in values], kind)
    if t.is_decimal(kind):
        return pa.array(values, pa.string()).cast(kind)
    if t.is_float16(kind):
        return pa.array(values, pa.float32()).cast(kind)
    return pa.array(values, kind)
