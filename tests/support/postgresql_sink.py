"""The rows of a PostgreSQL sink's target, read back as the Arrow types they were published with."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from casparian.adapters.sink import _postgresql_tables as tables
from casparian.adapters.sink import _sqlite_values as json_values
from casparian.adapters.sink._postgresql_session import PostgresqlSession, driver_uri, qualified
from casparian.adapters.sink._postgresql_values import declared, digestible, encode
from casparian.adapters.sink._rowdigest import RowDigest
from casparian.adapters.sink._schema import with_lineage
from casparian.adapters.sink._sql_names import quote
from casparian.domain import lineage
from casparian.domain.publish import Target


@contextlib.contextmanager
def connected(url: str) -> Iterator[PostgresqlSession]:
    session = PostgresqlSession(driver_uri(url))
    try:
        yield session
    finally:
        session.close()


def execute(url: str, *statements: str) -> None:
    with connected(url) as session:
        for statement in statements:
            session.run(statement)
        session.commit()


@contextlib.contextmanager
def random_schema(url: str) -> Iterator[str]:
    """The name of a schema that is not there yet, and is dropped afterwards."""
    name = f"casparian_test_{uuid.uuid4().hex[:12]}"
    try:
        yield name
    finally:
        execute(url, f"DROP SCHEMA IF EXISTS {name} CASCADE")


def read(url: str, target: Target) -> pa.Table | None:
    """All rows; None where there is no table."""
    with connected(url) as session:
        session.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        columns = tables.standing_schema(session, target.location, target.name)
        if columns is None:
            return None
        schema = with_lineage(columns)
        rows = session.rows(
            f"SELECT {', '.join(_selected(field) for field in schema)} "
            f"FROM {qualified(target.location, target.name)} "
            f"ORDER BY {lineage.JOB_ID}, {lineage.ROW}"
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


_COUNTED = {
    "date": "({0} - date '1970-01-01')",
    "timestamp": "(extract(epoch FROM {0}) * 1000000)::bigint",
    "timestamptz": "(extract(epoch FROM {0}) * 1000000)::bigint",
    "time": "(extract(epoch FROM {0}) * 1000000)::bigint",
    "interval": "(extract(epoch FROM {0}) * 1000000)::bigint",
    "jsonb": "{0}::text",
}


def _selected(field: pa.Field) -> str:
    """As numbers and texts, whose reading says nothing of the driver's own conversions."""
    kind = str(declared(field.type))
    form = "{0}::text" if kind.startswith("numeric") else _COUNTED.get(kind, "{0}")
    return form.format(quote(field.name))


def _decoded(values: list[Any], kind: pa.DataType) -> pa.Array:
    t = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, _decoded(values, kind.storage_type))
    form = str(declared(kind))
    if form == "jsonb":
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
