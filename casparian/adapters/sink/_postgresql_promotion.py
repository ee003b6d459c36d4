"""The one transaction that publishes a group of items to PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain

import pyarrow as pa

from casparian.adapters.sink import _postgresql_staging as stagings
from casparian.adapters.sink import _postgresql_tables as tables
from casparian.adapters.sink._postgresql_session import DatabaseError, PostgresqlSession, qualified
from casparian.adapters.sink._postgresql_values import stored_type
from casparian.adapters.sink._schema import with_lineage
from casparian.adapters.sink._sql_errors import PassingError
from casparian.adapters.sink._sql_pool import Pool
from casparian.adapters.sink._sql_promote import PromoteBusyError, PromoteFailedError, Slot
from casparian.adapters.sink._sql_staging import Chunk, count_rows, from_bytes, in_portions
from casparian.domain.errors import UnavailableError
from casparian.domain.ports import PromoteItem
from casparian.domain.publish import Marker, StagingKey
from casparian.domain.schemas import TargetSchema


class PostgresqlPromotion:
    """Port of `_sql_promote`: `Promotion`."""

    def __init__(
        self, session: PostgresqlSession, pool: Pool[PostgresqlSession], schema: str
    ) -> None:
        self._session = session
        self._pool = pool
        self._schema = schema
        self._held: Sequence[tuple[StagingKey, Chunk]] = ()
        self._columns: dict[str, pa.Schema] = {}

    def prepare(self, items: Sequence[PromoteItem]) -> None:
        """COPY brings rows to their place fast enough."""

    def mark(self, markers: Sequence[tuple[str, Marker]]) -> Mapping[Slot, int | None]:
        written = tables.write_markers(self._session, self._schema, markers)
        # What follows takes as long as there are rows.
        self._session.run("SET LOCAL statement_timeout = 0")
        return written

    def standing(self, slots: Sequence[Slot]) -> Mapping[Slot, Marker]:
        return tables.standing_markers(self._session, self._schema, slots)

    def other_installation(self, table: str, installation: str) -> str | None:
        return tables.other_installation(self._session, self._schema, table, installation)

    def staged_rows(self, keys: Sequence[StagingKey]) -> Mapping[StagingKey, Mapping[str, int]]:
        self._held = stagings.hold_chunks(self._session, self._schema, keys)
        return count_rows(self._held)

    def fit(self, table: str, staged: TargetSchema, where: str) -> None:
        columns = tables.fit_table(self._session, self._schema, table, staged, where)
        self._columns[table] = pa.schema(
            [pa.field(field.name, stored_type(field.type)) for field in with_lineage(columns)]
        )

    def delete(self, table: str, job_ids: Sequence[int]) -> None:
        tables.delete_rows(self._session, self._schema, table, job_ids)

    def insert(self, table: str, keys: Sequence[StagingKey]) -> int:
        columns = self._columns[table]
        place = qualified(self._schema, table)
        wanted = set(keys)
        chunks = [c for key, c in self._held if key in wanted and c.target == table]
        first, *more = in_portions(chunks)
        bodies = stagings.read_bodies(self._session, self._schema, first)
        batches = chain(from_bytes(bodies), self._ahead(more) if more else ())
        fitting = (_in_columns(batch, columns) for batch in batches)
        return self._session.load(place, columns.names, fitting)

    def _ahead(self, portions: Sequence[list[Chunk]]) -> Iterator[pa.RecordBatch]:
        """Read on another connection, since the promotion's own is busy with COPY meanwhile; one
        portion while the one before is encoded and sent. Nobody takes the chunks away: they are
        held."""
        with self._pool.session() as reader, ThreadPoolExecutor(1, "sink-reader") as thread:
            read = partial(stagings.read_bodies, reader, self._schema)
            coming = thread.submit(read, portions[0])
            for portion in portions[1:]:
                bodies, coming = coming.result(), thread.submit(read, portion)
                yield from from_bytes(bodies)
            yield from from_bytes(coming.result())
            reader.rollback()

    def commit(self) -> None:
        self._session.commit()


def _in_columns(batch: pa.RecordBatch, columns: pa.Schema) -> pa.RecordBatch:
    """Staged rows in the columns that the target has by now, which may be wider."""
    if batch.schema.equals(columns):
        return batch
    names = set(batch.schema.names)
    arrays = []
    for field in columns:
        array = batch[field.name] if field.name in names else None
        if array is None or array.null_count == len(array):
            array = pa.nulls(batch.num_rows, field.type)
        arrays.append(array if array.type == field.type else array.cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=columns)


@contextlib.contextmanager
def promoting(pool: Pool[PostgresqlSession], schema: str) -> Iterator[PostgresqlPromotion]:
    """`Begin` of `_sql_promote`."""
    try:
        with pool.session() as session:
            yield PostgresqlPromotion(session, pool, schema)
            # Nothing is left to do where it was committed.
            session.rollback()
    except (PassingError, UnavailableError) as error:
        raise PromoteBusyError(str(error)) from error
    except DatabaseError as error:
        raise PromoteFailedError(str(error)) from error
