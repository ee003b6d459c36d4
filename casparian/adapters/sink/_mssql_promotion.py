"""The one transaction that publishes a group of items to SQL Server.

To send rows takes long there, and readers wait for who writes. So they are sent before the
transaction begins, into tables that this session alone sees, and copied within it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from casparian.adapters.sink import _mssql_statements as sql
from casparian.adapters.sink import _mssql_tables as tables
from casparian.adapters.sink import _sqlite_values as text_values
from casparian.adapters.sink._mssql_session import STATEMENT_S, DatabaseError, MssqlSession
from casparian.adapters.sink._mssql_values import declared, is_cast, python_type
from casparian.adapters.sink._schema import with_lineage
from casparian.adapters.sink._sql_errors import PassingError
from casparian.adapters.sink._sql_names import is_lineage
from casparian.adapters.sink._sql_pool import Pool
from casparian.adapters.sink._sql_promote import PromoteBusyError, PromoteFailedError, Slot
from casparian.adapters.sink._sql_staging import Chunk, count_rows, in_portions
from casparian.domain.errors import UnavailableError
from casparian.domain.ports import PromoteItem
from casparian.domain.publish import Marker, MarkerCase, StagingKey, compare_marker
from casparian.domain.schemas import TargetSchema


class MssqlPromotion:
    """Port of `_sql_promote`: `Promotion`."""

    def __init__(self, session: MssqlSession, schema: str) -> None:
        self._session = session
        self._schema = schema
        self._numbers: dict[tuple[str, str], int] = {}
        self._loaded: dict[tuple[str, StagingKey], int] = {}
        self._columns: dict[int, list[str]] = {}

    def prepare(self, items: Sequence[PromoteItem]) -> None:
        """Send the rows of those that are newer than what stands, as far as one can see now."""
        self._session.limit(0)
        staged = [job for job in items if job.item.staged and job.item.rows]
        standing = self.standing([(job.item.target.name, job.item.slot) for job in staged])
        for job in staged:
            other = standing.get((job.item.target.name, job.item.slot))
            if compare_marker(other, Marker.of(job.manifest, job.item)) is MarkerCase.INSTALL:
                self._load(job)
        self._session.commit()

    def _load(self, job: PromoteItem) -> None:
        table = job.item.target.name
        columns = TargetSchema.from_json(job.item.schema_json)
        number = self._loaded[table, job.key] = self._table_for(table, columns)
        schema = _with_values(columns)
        parameters = [_parameter(str(declared(field.type))) for field in schema]
        insert = sql.load_row(number, schema.names, parameters)
        types = [python_type(field.type) for field in schema]
        chunks = tables.list_chunks(self._session, self._schema, job.key)
        for some in in_portions([c for c in chunks if c.target == table]):
            for batch in tables.read_chunks(self._session, self._schema, job.key, some):
                self._session.load(insert, _values(batch, schema), types)

    def _table_for(self, table: str, columns: TargetSchema) -> int:
        """The number of the session's table for rows of these columns."""
        key = table, columns.to_json()
        if key not in self._numbers:
            number = self._numbers[key] = len(self._numbers)
            named = _with_values(columns)
            kinds = [(f.name, str(declared(f.type))) for f in named if not is_lineage(f.name)]
            for statement in sql.create_table(sql.loaded(number), kinds):
                self._session.run(statement)
            self._columns[number] = named.names
        return self._numbers[key]

    def mark(self, markers: Sequence[tuple[str, Marker]]) -> Mapping[Slot, int | None]:
        written: dict[Slot, int | None] = {}
        for table, mine in markers:
            done, replaced = tables.write_marker(self._session, self._schema, table, mine)
            if done:
                written[table, mine.slot] = replaced
        return written

    def standing(self, slots: Sequence[Slot]) -> Mapping[Slot, Marker]:
        return tables.standing_markers(self._session, self._schema, slots)

    def other_installation(self, table: str, installation: str) -> str | None:
        return tables.other_installation(self._session, self._schema, table, installation)

    def staged_rows(self, keys: Sequence[StagingKey]) -> Mapping[StagingKey, Mapping[str, int]]:
        held: Sequence[tuple[StagingKey, Chunk]]
        held = tables.hold_chunks(self._session, self._schema, keys)
        return count_rows(held)

    def fit(self, table: str, staged: TargetSchema, where: str) -> None:
        tables.fit_table(self._session, self._schema, table, staged, where)

    def delete(self, table: str, job_ids: Sequence[int]) -> None:
        for job_id in job_ids:
            self._session.run(sql.delete_rows(self._schema, table), job_id)

    def insert(self, table: str, keys: Sequence[StagingKey]) -> int:
        copied = 0
        for key in keys:
            number = self._loaded.get((table, key))
            if number is not None:
                statement = sql.insert_rows(self._schema, table, number, self._columns[number])
                copied += self._session.run(statement, key.job_id)
        return copied

    def commit(self) -> None:
        self._session.commit()

    def clear(self) -> None:
        """Undo what is not committed, and leave the session as it was."""
        self._session.rollback()
        for number in self._columns:
            self._session.run(sql.drop_loaded(number))
        self._session.commit()
        self._session.limit(STATEMENT_S)


def _with_values(columns: TargetSchema) -> pa.Schema:
    """The columns that can hold a value: the target's own type may be one that a NULL of
    another does not turn into."""
    return pa.schema([field for field in with_lineage(columns) if field.type != pa.null()])


def _parameter(kind: str) -> str:
    return sql.cast_parameter(kind) if is_cast(kind) else "?"


def _values(batch: pa.RecordBatch, schema: pa.Schema) -> list[list[object]]:
    """Staged rows in the columns of their schema, which a later batch may have widened."""
    names = set(batch.schema.names)
    columns: list[list[object]] = []
    for field in schema:
        array = batch[field.name] if field.name in names else None
        if array is None or array.null_count == len(array):
            columns.append([None] * batch.num_rows)
        else:
            columns.append(array.cast(text_values.stored_type(field.type)).to_pylist())
    return columns


@contextlib.contextmanager
def promoting(pool: Pool[MssqlSession], schema: str) -> Iterator[MssqlPromotion]:
    """`Begin` of `_sql_promote`."""
    try:
        with pool.session() as session:
            promotion = MssqlPromotion(session, schema)
            yield promotion
            promotion.clear()
    except (PassingError, UnavailableError) as error:
        raise PromoteBusyError(str(error)) from error
    except DatabaseError as error:
        if error.same_key:
            # A marker, or the row that says whose a table is: only those have a key of ours.
            raise PromoteBusyError("another engine has just published there") from error
        raise PromoteFailedError(str(error)) from error
