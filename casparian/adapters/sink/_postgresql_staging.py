"""One topic's rows on their way into PostgreSQL: Arrow batches in rows of one table of its own.

A staging is no table: making one for each small file would cost more than its rows. The rows go
into their target once, by COPY, in the transaction that publishes them; until then they lie
compressed and in their stored form, so that whoever takes a job over finds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from casparian.adapters.sink import _postgresql_tables as tables
from casparian.adapters.sink._postgresql_session import (
    DatabaseError,
    PostgresqlSession,
    in_,
    qualified,
    reading,
    staging,
)
from casparian.adapters.sink._postgresql_values import (
    declared,
    digestible,
    encode,
    refuse_unsupported,
    widest_row,
)
from casparian.adapters.sink._rowdigest import RowDigest
from casparian.adapters.sink._schema import Shaper
from casparian.adapters.sink._sql_names import quote
from casparian.adapters.sink._sql_pool import Pool
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.ports import StagedRows, StageRequest
from casparian.domain.publish import SHORT, StagingKey
from casparian.domain.schemas import TargetSchema

CHUNK_ROWS = 64 * 1024
CHUNK_BYTES = 4 * 1024 * 1024
MOST_BYTES = 128 * 1024 * 1024
"""Of one row: a value of PostgreSQL ends at 1 GB, and one of jsonb earlier."""
FITS_ALWAYS = 8_000
"""Bytes of a row that fit into a page."""
TOO_WIDE = "54000"
FENCE = ""
"""In place of a target: what holds a job's place that stages no rows."""
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


class Chunk(NamedTuple):
    """A row of `_casparian_staging`, without its body."""

    id: int
    target: str
    rows: int
    size: int


def names_of(key: StagingKey) -> tuple[str, int, int, str]:
    """A staging's key as it stands in the table, and in its name: shortened."""
    return key.installation[:SHORT], key.job_id, key.attempt, key.token[:SHORT]


class PostgresqlStaging:
    """Port `Staging`."""

    def __init__(
        self,
        pool: Pool[PostgresqlSession],
        schema: str,
        request: StageRequest,
        known: TargetSchema | None,
    ) -> None:
        self._pool = pool
        self._schema = schema
        self._key = request.key
        self._table = request.target.name
        self._where = str(request.target)
        self._shaper = Shaper(known, self._where)
        self._accepted: pa.Schema | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        self._digest = RowDigest()
        self._begun = False

    def write(self, batch: Any) -> None:
        shaped = self._shaper.shape(batch)
        self._accept(shaped.schema)
        for piece in _pieces(shaped, self._where):
            stored = self._encoded(piece)
            if self._waiting and stored.schema != self._waiting[0].schema:
                self._send(last=False)
            self._waiting.append(stored)
            self._waiting_bytes += stored.nbytes
            if self._waiting_bytes >= CHUNK_BYTES:
                self._send(last=False)

    def finish(self) -> StagedRows:
        self._accept(self._shaper.arrow)
        self._send(last=True)
        return StagedRows(self._digest.rows, self._digest.hexdigest(), self._shaper.columns, ())

    def discard(self) -> None:
        self._waiting.clear()
        with reading(f"Removing the staging of {self._where}"), self._pool.session() as session:
            delete_chunks(session, self._schema, self._key, self._table)
            session.commit()

    def _accept(self, schema: pa.Schema) -> None:
        if schema != self._accepted:
            refuse_unsupported(schema, self._where)
            self._accepted = schema

    def _encoded(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        stored: dict[str, pa.Array] = {}
        digested: dict[str, pa.Array] = {}
        for field, array in zip(rows.schema, rows.columns, strict=True):
            stored[field.name] = encode(array, field.name, self._where)
            digested[field.name] = digestible(array, stored[field.name])
        self._digest.update(digested, rows.num_rows)
        return pa.RecordBatch.from_pydict(stored)

    def _send(self, *, last: bool) -> None:
        """Write what waits as one chunk. The last one is durable when this returns, and with
        it, in the order of the server's log, those before it."""
        batches, self._waiting, self._waiting_bytes = self._waiting, [], 0
        rows = sum(batch.num_rows for batch in batches)
        body = _to_bytes(batches) if rows else None
        with staging(f"Staging rows for {self._where}"), self._pool.session() as session:
            if not self._begun:
                delete_chunks(session, self._schema, self._key, self._table)
                self._begun = True
            if rows and widest_row(batches[0].schema) > FITS_ALWAYS:
                self._rehearse(session, batches)
            insert_chunk(session, self._schema, self._key, self._table, rows, body)
            if not last:
                session.run("SET LOCAL synchronous_commit = off")
            session.commit()

    def _rehearse(self, session: PostgresqlSession, batches: Sequence[pa.RecordBatch]) -> None:
        """Whether a wide row fits into a page, nobody but the server can tell."""
        assert self._accepted is not None
        name = "casparian_rehearsal"
        columns = ", ".join(f"{quote(f.name)} {declared(f.type)}" for f in self._accepted)
        session.run(f"CREATE TEMPORARY TABLE {name} ({columns}) ON COMMIT DROP")
        try:
            session.load_temporary(name, pa.Table.from_batches(batches))
        except DatabaseError as error:
            if error.code != TOO_WIDE:
                raise
            raise JobError(
                ErrorClass.DATA,
                f"A row for {self._where} does not fit into a page of PostgreSQL: {error}. "
                "Publish a narrower table, or one row for each value.",
            ) from error
        session.run(f"DROP TABLE pg_temp.{name}")


def _pieces(batch: pa.RecordBatch, where: str) -> Iterator[pa.RecordBatch]:
    """The rows in slices that are neither long nor large."""
    start, rows = 0, batch.num_rows
    while start < rows:
        count = min(CHUNK_ROWS, rows - start)
        piece = batch.slice(start, count)
        while piece.nbytes > 2 * CHUNK_BYTES and count > 1:
            count = max(1, min(count // 2, count * CHUNK_BYTES // piece.nbytes))
            piece = batch.slice(start, count)
        if piece.nbytes > MOST_BYTES:
            raise JobError(
                ErrorClass.DATA,
                f"A row for {where} has {piece.nbytes} bytes; in a PostgreSQL sink it may have "
                f"{MOST_BYTES}. Publish its values in parts, or use a Parquet sink.",
            )
        yield piece
        start += count


def _to_bytes(batches: Sequence[pa.RecordBatch]) -> bytes:
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, batches[0].schema, options=_OPTIONS) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(stream.getvalue())


# --- the table --------------------------------------------------------------------------


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
) -> dict[StagingKey, list[Chunk]]:
    """The stagings that are still under these keys, and will be until the transaction ends:
    whoever takes one over waits."""
    by_name = {names_of(key): key for key in keys}
    jobs = in_(sorted({key.job_id for key in keys}))
    rows = session.rows(
        "SELECT installation, job_id, attempt, token, id, target, rows, "
        f"coalesce(octet_length(body), 0) FROM {qualified(schema, tables.STAGING)} "
        f"WHERE job_id IN ({jobs}) ORDER BY id FOR SHARE"
    )
    held: dict[StagingKey, list[Chunk]] = {}
    for row in rows:
        key = by_name.get(row[:4])
        if key is not None:
            held.setdefault(key, []).append(Chunk(*row[4:]))
    return held


def read_chunks(
    session: PostgresqlSession, schema: str, chunks: Sequence[Chunk]
) -> list[pa.RecordBatch]:
    """The batches of these chunks, in their order."""
    rows = session.rows(
        f"SELECT id, body FROM {qualified(schema, tables.STAGING)} "
        f"WHERE id IN ({in_([chunk.id for chunk in chunks])}) ORDER BY id"
    )
    batches: list[pa.RecordBatch] = []
    for _, body in rows:
        if body is not None:
            batches += pa.ipc.open_stream(body)
    return batches


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
