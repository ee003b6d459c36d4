"""What `_sql_audit` looks at in a schema of SQL Server, and the rows of a job read back.

Not every database there allows a transaction of one moment, and one that repeats its reads would
hold up whoever publishes. So a table is looked at between two looks at its markers: no rows come
or go without one, and none comes back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa

from casparian.adapters.sink import _mssql_statements as sql
from casparian.adapters.sink import _mssql_tables as tables
from casparian.adapters.sink import _sqlite_values as text_values
from casparian.adapters.sink._mssql_session import STATEMENT_S, MssqlSession
from casparian.adapters.sink._mssql_values import declared, digestible, encode
from casparian.adapters.sink._readback import TableRows
from casparian.adapters.sink._rowdigest import RowDigest
from casparian.adapters.sink._schema import with_lineage
from casparian.adapters.sink._sql_audit import Counted, holding
from casparian.domain.audit import Holding
from casparian.domain.errors import UnavailableError
from casparian.domain.publish import Marker, PublishedSlot, Target

PORTION = 16_384
LOOKS = 5


class MssqlTables:
    """`AuditedTables`."""

    def __init__(self, session: MssqlSession, schema: str) -> None:
        self._session = session
        self._schema = schema

    def markers(self) -> Iterable[tuple[str, Marker]]:
        return tables.all_markers(self._session, self._schema)

    def markers_of(self, table: str) -> tuple[Marker, ...]:
        rows = self._session.rows(sql.markers_of_target(self._schema), table)
        return tuple(Marker.from_json(row[0]) for row in rows)

    def made_here(self) -> Iterable[str]:
        return [row[0] for row in self._session.rows(sql.made_here(self._schema))]

    def exists(self, table: str) -> bool:
        return bool(self._session.rows(sql.kind_of_table(), self._schema, table))

    def counted(self, table: str) -> Iterable[Counted]:
        rows: Iterable[Any] = self._session.rows(sql.count_rows(self._schema, table))
        return rows

    def versions(self, table: str) -> Iterable[tuple[int, int]]:
        rows: Iterable[Any] = self._session.rows(sql.versions_of_rows(self._schema, table))
        return rows

    def numbers(self, table: str, job_id: int) -> Iterable[int]:
        rows = self._session.rows(sql.row_numbers(self._schema, table), job_id)
        return (row[0] for row in rows)

    def digest(self, table: str, job_id: int) -> str:
        digest = RowDigest()
        for batch in read_rows(self._session, self._schema, table, job_id):
            columns = {
                name: digestible(array, encode(array, name, table))
                for name, array in zip(batch.schema.names, batch.columns, strict=True)
            }
            digest.update(columns, batch.num_rows)
        return digest.hexdigest()


def holdings(session: MssqlSession, scheme: str, schema: str) -> Iterator[Holding]:
    """Each table by itself is of one moment. Raises UnavailableError for one that is published to
    without a pause."""
    db = MssqlTables(session, schema)
    session.limit(0)
    for table in sorted({*db.made_here(), *(name for name, _ in db.markers())}):
        yield _at_one_moment(db, Target(scheme, schema, table))
    session.commit()
    session.limit(STATEMENT_S)


def _at_one_moment(db: MssqlTables, target: Target) -> Holding:
    before = db.markers_of(target.name)
    for _ in range(LOOKS):
        found = holding(db, target, before)
        after = db.markers_of(target.name)
        if after == before:
            return found
        before = after
    raise UnavailableError(
        f"{target} is published to without a pause, so that its rows cannot be counted: run the "
        "check again when less is going on, or stop the engines for it."
    )


@contextlib.contextmanager
def reading(session: MssqlSession, place: PublishedSlot) -> Iterator[TableRows | None]:
    """The rows of a slot, in whose place no others have come by the end of each reading."""
    schema, table = place.target.location, place.target.name
    slot, db = (table, place.slot), MssqlTables(session, schema)
    session.limit(0)
    marker = tables.standing_markers(session, schema, [slot]).get(slot)

    def refuse_others() -> None:
        if tables.standing_markers(session, schema, [slot]).get(slot) != marker:
            raise UnavailableError(f"{place.target} was published to while its rows were read.")

    def batches(job_id: int) -> Iterator[pa.RecordBatch]:
        yield from read_rows(session, schema, table, job_id)
        refuse_others()

    def digest(job_id: int) -> str:
        found = db.digest(table, job_id)
        refuse_others()
        return found

    if marker is None:
        yield None
    else:
        of_job = partial(batches, marker.job_id), partial(digest, marker.job_id)
        yield TableRows(marker, str(place.target), *of_job)
    refuse_others()
    session.limit(STATEMENT_S)


def full_schema(session: MssqlSession, schema: str, table: str) -> pa.Schema:
    """A table's columns as Arrow types, with lineage."""
    columns = tables.standing_schema(session, schema, table)
    if columns is None:
        raise LookupError(f"{schema}.{table} is not a table that Casparian made.")
    return with_lineage(columns)


def read_rows(
    session: MssqlSession, schema: str, table: str, job_id: int
) -> Iterator[pa.RecordBatch]:
    """The rows of one job, in their order, as the Arrow types they were published with."""
    arrow = full_schema(session, schema, table)
    kinds = [(field.name, str(declared(field.type))) for field in arrow]
    statement, following = sql.read_rows(schema, table, kinds), sql.next_row(schema, table)
    start = 0
    # Somebody may have taken rows out.
    while (start := session.rows(following, job_id, start)[0][0]) is not None:
        rows = session.rows(statement, job_id, start, start + PORTION)
        values = zip(*rows, strict=True)
        arrays = [_decoded(list(v), f.type) for v, f in zip(values, arrow, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=arrow)
        start += PORTION


def _decoded(values: list[Any], kind: pa.DataType) -> pa.Array:
    t = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, _decoded(values, kind.storage_type))
    if t.is_time(kind) or t.is_timestamp(kind):
        micro = pa.time64("us") if t.is_time(kind) else pa.timestamp("us", kind.tz)
        padded = [None if v is None else _with_six_digits(_without_zone(v)) for v in values]
        return text_values.decode(padded, micro).cast(kind)
    if t.is_boolean(kind):
        return pa.array([None if v is None else bool(v) for v in values], kind)
    return text_values.decode(values, kind)


def _without_zone(text: str) -> str:
    """All are kept in UTC, which some servers write as Z and some as an offset."""
    return text.removesuffix("Z").removesuffix("+00:00")


def _with_six_digits(text: str) -> str:
    """CONVERT leaves out a fraction of zero."""
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.ljust(6, '0')}"
