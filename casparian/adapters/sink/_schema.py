"""Schemas at a sink's door: Arrow to domain and back, and batches cast to a target's columns.

The rules are `casparian.domain.schemas`; here they are applied to arrays.
"""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

from casparian.adapters.sink._types import canonical_field, cast_array, has_fixed_lists_of_null
from casparian.domain import lineage
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.schemas import Column, TargetSchema, reconcile

MOST_COLUMNS = 10_000
LINEAGE = pa.schema([pa.field(name, pa.int64(), nullable=False) for name in lineage.COLUMNS])


def to_domain(schema: pa.Schema) -> TargetSchema:
    """The columns of a schema without lineage; the definition is the field in Arrow's own form."""
    return TargetSchema(tuple(_column(field) for field in schema))


def _column(field: pa.Field) -> Column:
    # Fields compare equal whatever their metadata and the names of list items.
    return _described(field, str(field.type), tuple(sorted((field.metadata or {}).items())))


@lru_cache(maxsize=4096)
def _described(field: pa.Field, kind: str, metadata: tuple[tuple[bytes, bytes], ...]) -> Column:
    definition = base64.b64encode(pa.schema([field]).serialize()).decode("ascii")
    return Column(field.name, kind, field.nullable, definition)


def to_arrow(schema: TargetSchema) -> pa.Schema:
    """The inverse of `to_domain`."""
    return pa.schema([_field(column) for column in schema.columns])


@lru_cache(maxsize=4096)
def _field(column: Column) -> pa.Field:
    serialised = pa.py_buffer(base64.b64decode(column.definition))
    field: pa.Field = pa.ipc.read_schema(serialised).field(0)
    return field.with_nullable(column.nullable)


def check_columns(names: list[str], where: str) -> None:
    """Raise JobError (DATA) for names that no target could keep apart from its own."""
    if len(names) > MOST_COLUMNS:
        raise JobError(
            ErrorClass.DATA,
            f"The rows for {where} have {len(names)} columns; at most {MOST_COLUMNS} can be "
            "published. Publish a narrower table, or one row for each value.",
        )
    if len(set(names)) != len(names):
        twice = sorted(repr(name) for name, count in Counter(names).items() if count > 1)
        raise JobError(
            ErrorClass.DATA,
            f"The rows for {where} have several columns named {', '.join(twice)}. "
            "Give every column a name of its own.",
        )
    reserved = [repr(name) for name in names if name.lower().startswith(lineage.PREFIX)]
    if reserved:
        raise JobError(
            ErrorClass.DATA,
            f"The rows for {where} have columns named {', '.join(reserved)}, but names that start "
            f"with {lineage.PREFIX!r} are kept for lineage. Rename them.",
        )


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the columns of `schema` come from in batches of one other schema: for each its
    position there (None: it is NULL) and whether it is to be cast. `changed` are the only ones
    to look at where all others are taken as they are, in their order; None where they are not.
    """

    schema: pa.Schema
    columns: tuple[tuple[int | None, bool], ...]
    changed: tuple[int, ...] | None

    @staticmethod
    def of(incoming: pa.Schema, schema: pa.Schema) -> Sources:
        position = {name: i for i, name in enumerate(incoming.names)}
        columns = tuple(
            (at, at is not None and str(incoming.field(at).type) != str(field.type))
            for field in schema
            for at in (position.get(field.name),)
        )
        if [at for at, _ in columns] != list(range(len(incoming))):
            return Sources(schema, columns, None)
        changed = (
            i
            for i, (_, to_cast) in enumerate(columns)
            if to_cast
            or not incoming.field(i).equals(schema.field(i), check_metadata=True)
            or not (schema.field(i).nullable or schema.field(i).name in lineage.COLUMNS)
        )
        return Sources(schema, columns, None if incoming.metadata else tuple(changed))

    def reshape(self, batch: pa.RecordBatch, where: str) -> pa.RecordBatch:
        """The batch's values in the columns of `schema`. Raises JobError (DATA) for values that
        do not fit there."""
        if self.changed is None:
            arrays = [self._column(batch, i, where) for i in range(len(self.columns))]
            return pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        for i in self.changed:
            batch = batch.set_column(i, self.schema.field(i), self._column(batch, i, where))
        return batch

    def _column(self, batch: pa.RecordBatch, i: int, where: str) -> pa.Array:
        field = self.schema.field(i)
        at, to_cast = self.columns[i]
        if at is None:
            return pa.nulls(batch.num_rows, field.type)
        array = batch.column(at)
        try:
            if to_cast:
                array = cast_array(array, field.type)
        except MemoryError:
            raise  # Arrow's own is one of its exceptions, and says nothing of the values.
        except pa.ArrowException as error:
            raise JobError(
                ErrorClass.DATA,
                f"Column {field.name!r} of the rows for {where} cannot be held as {field.type}: "
                f"{error}. Publish values that this type can hold.",
            ) from error
        if not field.nullable and array.null_count:
            raise JobError(
                ErrorClass.DATA,
                f"Column {field.name!r} of the rows for {where} is declared as never NULL, but "
                f"{array.null_count} rows have NULL in it. Declare it nullable.",
            )
        return array


@dataclass(frozen=True, slots=True)
class _Plan:
    """How batches of one schema become those of a target: the target's columns after it, and
    for each where it comes from (None: it is NULL) and whether it is to be cast."""

    columns: TargetSchema
    arrow: pa.Schema
    sources: Sources


@lru_cache(maxsize=256)
def _plan(known: TargetSchema | None, incoming: bytes, where: str) -> _Plan:
    """Files of one kind have one schema: the rules are applied once. Errors are not kept."""
    schema = pa.ipc.read_schema(pa.py_buffer(incoming))
    names = schema.names
    if tuple(names[-3:]) != lineage.COLUMNS:
        raise ValueError(f"a batch for {where} lacks the lineage columns at its end")
    check_columns(names[:-3], where)
    data = pa.schema([canonical_field(schema.field(i)) for i in range(len(names) - 3)])
    for field in data:
        if has_fixed_lists_of_null(field.type):
            raise JobError(
                ErrorClass.DATA,
                f"Column {field.name!r} of the rows for {where} is {field.type}: lists "
                "of a fixed size need items of a type. Publish plain lists.",
            )
    columns = reconcile(known, to_domain(data), where).schema
    check_columns([column.name for column in columns.columns], where)
    arrow = with_lineage(columns)
    return _Plan(columns, arrow, Sources.of(schema, arrow))


class Shaper:
    """Casts the batches of one staging to one schema, which widens where the rules allow."""

    def __init__(self, known: TargetSchema | None, where: str) -> None:
        self._where = where
        self._incoming: pa.Schema | None = None
        self._sources = Sources(LINEAGE, (), None)
        self.schema = known
        self.arrow = LINEAGE if known is None else with_lineage(known)

    @property
    def columns(self) -> TargetSchema:
        """The schema that the rows staged so far have, without lineage."""
        return self.schema if self.schema is not None else TargetSchema(())

    def shape(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch in the columns of `arrow`, which may have widened by it.

        `batch` carries the lineage columns last. Raises JobError: SCHEMA_DRIFT where it does
        not fit, DATA for names or values that no target can hold.
        """
        incoming = batch.schema
        if self._incoming is None or not incoming.equals(self._incoming, check_metadata=True):
            plan = _plan(self.schema, incoming.serialize().to_pybytes(), self._where)
            self.schema, self.arrow, self._sources = plan.columns, plan.arrow, plan.sources
            self._incoming = incoming
        return self._sources.reshape(batch, self._where)


@lru_cache(maxsize=256)
def with_lineage(schema: TargetSchema) -> pa.Schema:
    """The schema of the files and batches that hold these columns."""
    return pa.schema([*to_arrow(schema), *LINEAGE])


def reshape(batch: pa.RecordBatch, schema: pa.Schema, where: str) -> pa.RecordBatch:
    """The batch's values in the columns of `schema`; what it lacks is NULL."""
    return Sources.of(batch.schema, schema).reshape(batch, where)
