"""The rows of a SQL Server sink's target, read back as the Arrow types they were published with."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

import pyarrow as pa

from casparian.adapters.sink import _mssql_audit as audit
from casparian.adapters.sink import _mssql_statements as sql
from casparian.adapters.sink import _mssql_tables as tables
from casparian.adapters.sink._mssql_session import DatabaseError, MssqlSession, connection_string
from casparian.adapters.sink._mssql_values import declared
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
    """All rows, those of one job after another; None where there is no table. One statement, as a
    reader's would be: without snapshots, two of them see two states."""
    with connected(url) as session:
        schema, table = target.location, target.name
        if not tables.has_own_tables(session, schema):
            return None
        if tables.standing_schema(session, schema, table) is None:
            return None
        arrow = audit.full_schema(session, schema, table)
        names = ", ".join(sql._read(field.name, str(declared(field.type))) for field in arrow)
        order = f"{sql.quote(lineage.JOB_ID)}, {sql.quote(lineage.ROW)}"
        rows = session.rows(f"SELECT {names} FROM {sql.place(schema, table)} ORDER BY {order}")
        values = zip(*rows, strict=True) if rows else ([] for _ in arrow)
        arrays = [audit._decoded(list(v), f.type) for v, f in zip(values, arrow, strict=True)]
        return pa.Table.from_arrays(arrays, schema=arrow)


def digest_of_rows(url: str, target: Target, job_id: int) -> str:
    """The digest of one job's rows, computed anew from what the table holds."""
    with connected(url) as session:
        return audit.MssqlTables(session, target.location).digest(target.name, job_id)
