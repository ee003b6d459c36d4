"""The table of stagings in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from casparian.adapters.sink import _postgresql_tables as tables
from casparian.adapters.sink._postgresql_session import (
    DatabaseError,
    PostgresqlSession,
    in_,
    qualified,
)
from casparian.adapters.sink._postgresql_values import declared, widest_row
from casparian.adapters.sink._sql_errors import reading, staging
from casparian.adapters.sink._sql_names import quote
from casparian.adapters.sink._sql_pool import Pool
from casparian.adapters.sink._sql_staging import Chunk, Rows, names_of
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.ports import StageRequest
from casparian.domain.publish import StagingKey

FITS_ALWAYS = 8_000
"""Bytes of a row that fit into a page."""
TOO_WIDE = "54000"
_REHEARSAL = "casparian_rehearsal"


class PostgresqlChunks:
    """`ChunkStore`."""

    def __init__(self, pool: Pool[PostgresqlSession], schema: str) -> None:
        self._pool = pool
        self._schema = schema

    def begin(self, request: StageRequest) -> None:
        self.drop(request)

    def add(self, request: StageRequest, rows: Rows) -> None:
        self._write(request, rows, "off")

    def end(self, request: StageRequest, rows: Rows) -> None:
        # The server's log is in order: with this commit all before it are on its disk.
        self._write(request, rows, "on")

    def drop(self, request: StageRequest) -> None:
        doing = f"Removing a staging of {request.target}"
        with reading(doing), self._pool.session() as session:
            delete_chunks(session, self._schema, request.key, request.target.name)
            session.commit()

    def _write(self, request: StageRequest, rows: Rows, synchronous: str) -> None:
        target, doing = request.target, f"Staging rows for {request.target}"
        with staging(doing), self._pool.session() as session:
            if rows.batches and widest_row(rows.batches[0].schema) > FITS_ALWAYS:
                _rehearse(session, rows, str(target))
            insert_chunk(session, self._schema, request.key, target.name, rows.rows, rows.body)
            session.run(f"SET LOCAL synchronous_commit = {synchronous}")
            session.commit()


def _rehearse(session: PostgresqlSession, rows: Rows, where: str) -> None:
    """Whether a wide row fits into a page, nobody but the server can tell."""
    columns = ", ".join(f"{quote(field.name)} {declared(field.type)}" for field in rows.schema)
    session.run(f"CREATE TEMPORARY TABLE {_REHEARSAL} ({columns}) ON COMMIT DROP")
    try:
        session.load(f"pg_temp.{_REHEARSAL}", rows.batches[0].schema.names, rows.batches)
    except DatabaseError as error:
        if error.code != TOO_WIDE:
            raise
        raise JobError(
            ErrorClass.DATA,
            f"A row for {where} does not fit into a page of PostgreSQL: {error}. "
            "Publish a narrower table, or one row for each value.",
        ) from error
    session.run(f"DROP TABLE pg_temp.{_REHEARSAL}")


def insert_chunk(
    session: PostgresqlSession,
    schema: str,
    key: StagingKey,
    table: str,
    rows: int = 0,
    body: bytes | None = None,
) -> None:
    session.run(
        f"INSERT INTO {qualified(schema, tables.STAGING)} "
        "(installation, job_id, attempt, token, target, rows, body) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7)",
        *names_of(key),
        table,
        rows,
        body,
    )


def delete_chunks(
    session: PostgresqlSession, schema: str, key: StagingKey, table: str | None = None
) -> None:
    """Of one target, or all of the key's."""
    own = "" if table is None else " AND target = $5"
    session.run(
        f"DELETE FROM {qualified(schema, tables.STAGING)} WHERE installation = $1 "
        f"AND job_id = $2 AND attempt = $3 AND token = $4{own}",
        *names_of(key),
        *([] if table is None else [table]),
    )


def hold_chunks(
    session: PostgresqlSession, schema: str, keys: Sequence[StagingKey]
) -> list[tuple[StagingKey, Chunk]]:
    """The stagings that are still under these keys, and will be until the transaction ends:
    whoever takes one over waits."""
    by_name = {names_of(key): key for key in keys}
    jobs = in_(sorted({key.job_id for key in keys}))
    rows = session.rows(
        "SELECT installation, job_id, attempt, token, id, target, rows, "
        f"coalesce(octet_length(body), 0) FROM {qualified(schema, tables.STAGING)} "
        f"WHERE job_id IN ({jobs}) ORDER BY id FOR SHARE"
    )
    return [(by_name[row[:4]], Chunk(*row[4:])) for row in rows if row[:4] in by_name]


def read_bodies(
    session: PostgresqlSession, schema: str, chunks: Sequence[Chunk]
) -> list[bytes | None]:
    """What these chunks hold, in their order."""
    rows = session.rows(
        f"SELECT id, body FROM {qualified(schema, tables.STAGING)} "
        f"WHERE id IN ({in_([chunk.id for chunk in chunks])}) ORDER BY id"
    )
    return [body for _, body in rows]


def take_over(session: PostgresqlSession, schema: str, key: StagingKey) -> None:
    """Give the staging of this installation, job and attempt the key's token."""
    session.run(
        f"UPDATE {qualified(schema, tables.STAGING)} SET token = $4 "
        "WHERE installation = $1 AND job_id = $2 AND attempt = $3 AND token <> $4",
        *names_of(key),
    )


def all_keys(session: PostgresqlSession, schema: str) -> list[StagingKey]:
    rows = session.rows(
        "SELECT DISTINCT installation, job_id, attempt, token "
        f"FROM {qualified(schema, tables.STAGING)}"
    )
    return [StagingKey(*row) for row in rows]
