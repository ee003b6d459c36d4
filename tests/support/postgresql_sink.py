"""The rows of a PostgreSQL sink's target, read back as the Arrow types they were published with."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from functools import cache, partial

import pyarrow as pa

from casparian.adapters.sink import _postgresql_audit as audit
from casparian.adapters.sink import _postgresql_tables as tables
from casparian.adapters.sink._postgresql_session import PostgresqlSession, driver_uri, qualified
from casparian.adapters.sink._sql_pool import Pool
from casparian.domain import lineage
from casparian.domain.publish import Target


@contextlib.contextmanager
def connected(url: str) -> Iterator[PostgresqlSession]:
    session = PostgresqlSession(driver_uri(url))
    try:
        yield session
    finally:
        session.close()


@cache
def _readers(url: str) -> Pool[PostgresqlSession]:
    """Connections that are kept: of a history of steps, a reader looks after each."""
    return Pool(partial(PostgresqlSession, driver_uri(url)))


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
    """All rows, those of one job after another; None where there is no table."""
    with _readers(url).session() as session:
        session.run(audit.ONE_MOMENT)
        try:
            return _rows(session, target)
        finally:
            session.rollback()


def _rows(session: PostgresqlSession, target: Target) -> pa.Table | None:
    if tables.standing_schema(session, target.location, target.name) is None:
        return None
    place = qualified(target.location, target.name)
    jobs = session.rows(f"SELECT DISTINCT {lineage.JOB_ID} FROM {place} ORDER BY 1")
    batches = [rows for (job,) in jobs for rows in audit.read_rows(session, target, job)]
    return pa.Table.from_batches(batches, schema=audit.full_schema(session, target))


def digest_of_rows(url: str, target: Target, job_id: int) -> str:
    """The digest of one job's rows, computed anew from what the table holds."""
    with connected(url) as session:
        return audit.digest_of_rows(session, target, job_id)
