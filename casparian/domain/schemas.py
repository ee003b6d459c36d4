"""The schema of a target, and what a later publication may do to it.

Types are Arrow's own names for them (`int64`, `timestamp[us, tz=UTC]`), so that the rules
need no Arrow; an adapter carries the schemas themselves beside them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from casparian.domain.errors import ErrorClass, JobError

NULL = "null"
_SIGNED = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}
_UNSIGNED = {"uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64}


class Column(NamedTuple):
    """One column. `definition` is the adapter's own serialised form of it, opaque here."""

    name: str
    type: str
    nullable: bool = True
    definition: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.type}{'' if self.nullable else ' not null'}"


class TargetSchema(NamedTuple):
    """The columns of a target, in order, without the lineage columns. A tuple, since every
    batch looks something up by it."""

    columns: tuple[Column, ...]

    def __str__(self) -> str:
        return "(" + ", ".join(map(str, self.columns)) + ")"

    def to_json(self) -> str:
        return _schema_to_json(self)

    @staticmethod
    def from_json(text: str) -> TargetSchema:
        return _schema_from_json(text)


@lru_cache(maxsize=1024)
def _schema_from_json(text: str) -> TargetSchema:
    """Files of one kind have one schema: it is parsed once."""
    return TargetSchema(tuple(Column(*row) for row in json.loads(text)))


@lru_cache(maxsize=1024)
def _schema_to_json(schema: TargetSchema) -> str:
    return json.dumps([[c.name, c.type, c.nullable, c.definition] for c in schema.columns])


class Fit(StrEnum):
    """How one incoming column meets the target's column of that name."""

    SAME = "same"
    CAST = "cast"
    WIDENS = "widens"
    DRIFT = "drift"


def fit(target: Column, incoming: Column) -> Fit:
    """`null` fits any type, integers widen to wider integers, all else is drift."""
    if incoming.type == target.type:
        return Fit.SAME
    if incoming.type == NULL:
        return Fit.CAST if target.nullable else Fit.DRIFT
    if target.type == NULL:
        return Fit.WIDENS
    if _holds(target.type, incoming.type):
        return Fit.CAST
    if _holds(incoming.type, target.type):
        return Fit.WIDENS
    return Fit.DRIFT


def _holds(wide: str, narrow: str) -> bool:
    """True when integer type `wide` holds every value of integer type `narrow`."""
    if wide in _SIGNED:
        return _SIGNED[wide] > _SIGNED.get(narrow, _UNSIGNED.get(narrow, 64))
    return wide in _UNSIGNED and narrow in _UNSIGNED and _UNSIGNED[wide] > _UNSIGNED[narrow]


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The target's schema after this publication, and whether that differs from before."""

    schema: TargetSchema
    changed: bool


def reconcile(target: TargetSchema | None, incoming: TargetSchema, where: str) -> Reconciled:
    """Hold an incoming schema against the target's.

    The first publication sets the schema. Missing nullable columns become NULL, a new
    nullable column widens, `null` fits any type, integers widen to wider integers.
    Raises JobError (SCHEMA_DRIFT) with both schemas for everything else; `where` names the
    target in the text.
    """
    if target is None:
        return Reconciled(incoming, changed=True)
    if target == incoming:
        return Reconciled(target, changed=False)
    arriving = {c.name: c for c in incoming.columns}
    columns: list[Column] = []
    problems: list[str] = []
    for known in target.columns:
        new = arriving.pop(known.name, None)
        if new is None:
            if not known.nullable:
                problems.append(f"column {known.name!r} is missing and may not be NULL")
            columns.append(known)
            continue
        match fit(known, new):
            case Fit.DRIFT:
                problems.append(f"column {known.name!r} is {new.type}, the target has {known.type}")
                columns.append(known)
            case Fit.WIDENS:
                nullable = known.nullable or new.nullable
                columns.append(Column(known.name, new.type, nullable, new.definition))
            case _:
                columns.append(known)
        if known.nullable is False and new.nullable:
            columns[-1] = _relaxed(columns[-1])
    for new in arriving.values():
        # Rows already published have no value for it.
        columns.append(_relaxed(new))
    if problems:
        raise drift(where, target, incoming, problems)
    schema = TargetSchema(tuple(columns))
    return Reconciled(schema, changed=schema != target)


def _relaxed(column: Column) -> Column:
    return Column(column.name, column.type, True, column.definition)


def drift(
    where: str, target: TargetSchema, incoming: TargetSchema, problems: list[str]
) -> JobError:
    """The error of a publication that does not fit, with both schemas in its text."""
    return JobError(
        ErrorClass.SCHEMA_DRIFT,
        f"The rows do not fit {where}: {'; '.join(problems)}. "
        f"The target has {target}; the plugin published {incoming}. "
        "Publish the target's types, or send these rows to another topic.",
    )
