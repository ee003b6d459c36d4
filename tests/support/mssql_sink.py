"""The rows of a SQL Server sink's target, read back as the Arrow types they were published with."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from casparian.adapters.sink import _mssql_statements as sql
from casparian.adapters.sink import _mssql_tables as tables
from casparian.adapters.sink import _sqlite_values as text_values
from casparian.adapters.sink._mssql_session import DatabaseError, MssqlSession, connection_string
from casparian.adapters.sink._mssql_values import declared, digestible, encode
from casparian.adapters.sink._rowdigest import RowDigest
from casparian.adapters.sink._schema import with_lineage
from casparian.domain import lineage
from casparian.domain.publish import Target


@contextlib.contextmanager
def connected(url: str) -> Iterator[MssqlSession]:
    session = MssqlSession(connection_string(url))
    try:
        yield session
    finally:
        session.close()


@contextlib.contextmanager
def random_schema(url: str) -> Iterator[str]:
    """The name of a schema that is not there yet, and is dropped with its tables afterwards."""
    name = f"casparian_test_{uuid.uuid4().hex[:12]}"
    try:
        yield name
    finally:
        with connected(url) as session:
            found = session.rows(
                "SELECT [TABLE_NAME], [TABLE_TYPE] FROM INFORMATION_SCHEMA.TABLES "
                "WHERE [TABLE_SCHEMA] = ?",
                name,
            )
            for table, kind in found:
                what = "VIEW" if "VIEW" in kind.upper() else "TABLE"
                session.run(f"DROP {what} {sql.place(name, table)}")
            session.commit()
            with contextlib.suppress(DatabaseError):  # Nothing was made in it.
                session.run(f"DROP SCHEMA {sql.quote(name)}")
                session.commit()


def read(url: str, target: Target) -> pa.Table | None:
    """All rows; None where there is no table."""
    with connected(url) as session:
        if not tables.has_own_tables(session, target.location):
            return None
        columns = tables.standing_schema(session, target.location, target.name)
        if columns is None:
            return None
        schema = with_lineage(columns)
        names = ", ".join(_selected(field) for field in schema)
        rows = session.rows(
            f"SELECT {names} FROM {sql.place(target.location, target.name)} "
            f"ORDER BY {sql.quote(lineage.JOB_ID)}, {sql.quote(lineage.ROW)}"
        )
    values = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [_decoded(list(v), f.type) for v, f in zip(values, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def digest_of_rows(url: str, target: Target, job_id: int) -> str:
    """The digest of one job's rows, computed anew from what the table holds."""
    table = read(url, target)
    assert table is not None
    digest = RowDigest()
    mine = table.filter(pa.compute.equal(table[lineage.JOB_ID], job_id)).combine_chunks()
    for batch in mine.to_batches():
        columns = {
            name: digestible(array, encode(array, name, ""))
            for name, array in zip(batch.schema.names, batch.columns, strict=True)
        }
        digest.update(columns, batch.num_rows)
    return digest.hexdigest()


_ISO = {"date": 23, "time(6)": 114, "datetime2(6)": 126, "datetimeoffset(6)": 127}
"""Styles of CONVERT that keep every digit."""


def _selected(field: pa.Field) -> str:
    """Times and decimals as text, whose reading says nothing of the driver's own conversions."""
    kind, name = str(declared(field.type)), sql.quote(field.name)
    if kind.startswith("decimal"):
        return f"CAST({name} AS varchar(60))"
    return f"CONVERT(varchar(40), {name}, {_ISO[kind]})" if kind in _ISO else name


def _decoded(values: list[Any], kind: pa.DataType) -> pa.Array:
    t = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, _decoded(values, kind.storage_type))
    if t.is_time(kind) or t.is_timestamp(kind):
        micro = pa.time64("us") if t.is_time(kind) else pa.timestamp("us", kind.tz)
        padded = [None if v is None else _with_six_digits(v.removesuffix("Z")) for v in values]
        return text_values.decode(padded, micro).cast(kind)
    if t.is_boolean(kind):
        return pa.array([None if v is None else bool(v) for v in values], kind)
    return text_values.decode(values, kind)


def _with_six_digits(text: str) -> str:
    """CONVERT leaves out a fraction of zero."""
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.ljust(6, '0')}"
