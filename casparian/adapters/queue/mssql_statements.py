"""The statements that only SQL Server is sent."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    String,
    Table,
    bindparam,
    column,
    exists,
    insert,
    select,
    update,
    values,
)
from sqlalchemy.dialects import mssql

from casparian.adapters.queue.database import ClaimParts
from casparian.adapters.queue.statements import RowInsert
from casparian.adapters.queue.tables.installation import installation
from casparian.adapters.queue.tables.jobs import processing_job

COLLATION = "Latin1_General_BIN2"
LEVEL = "SET TRANSACTION ISOLATION LEVEL {level}"
GIVEN_IDS = "SET IDENTITY_INSERT {table} {state}"
IDS = "SELECT CAST(IDENT_CURRENT('{table}') AS BIGINT), MAX(id) FROM {table}"
RAISE_IDS = "DBCC CHECKIDENT ('{table}', RESEED, {number})"
TIME = "SELECT SYSUTCDATETIME()"
NEWS = (
    "SELECT (SELECT MAX(id) FROM {jobs}), (SELECT MAX(id) FROM {events}), revision "
    "FROM {installation}"
)
PASSED_BY = "WITH (ROWLOCK, UPDLOCK, READPAST, READCOMMITTEDLOCK)"
"""Where committed rows are read from versions, READPAST may not stand without the last of them."""
NAMED = mssql.dialect(paramstyle="named")
_IN_TOP = re.compile(r" IN \(SELECT TOP (__\[POSTCOMPILE_\w+\]) ")
_LIST = re.compile(r"\(__\[POSTCOMPILE_(\w+)\]\)")

# Writing without a change locks the row as well.
LOCK = update(installation).values(revision=installation.c.revision)


@lru_cache(maxsize=64)
def insert_missing(table: Table, names: tuple[str, ...]) -> RowInsert:
    columns = [column(name, table.c[name].type) for name in names]
    given = values(*columns, name="given").data(
        [tuple([bindparam(name, type_=table.c[name].type) for name in names])]
    )
    (key,) = table.primary_key.columns
    there = exists().where(key == _as_in_table(given.c[key.name]))
    return RowInsert(insert(table).from_select(names, select(*given.c).where(~there)), names)


def _as_in_table(given: ColumnElement[Any]) -> ColumnElement[Any]:
    """A column of values has the database's collation, and a server may not choose between two."""
    return given.collate(COLLATION) if isinstance(given.type, String) else given


def claim_text(claim: ClaimParts, table: str) -> tuple[str, list[BindParameter[Any]]]:
    """The statement, and those of its parameters that have a value.

    What is `still` to be had is asked by the update itself, too: a server that does not mind
    hints could give the same candidates to two.
    """
    mine = processing_job
    candidates = claim.candidates.limit(1).with_hint(mine, PASSED_BY, "mssql")
    chosen = mine.c.id.in_(candidates.scalar_subquery())
    whole = claim.update.where(claim.still, chosen).returning(*claim.returning)
    compiled: Any = whole.compile(dialect=NAMED)
    outer, _, inner = _IN_TOP.split(" ".join(str(compiled).split()), maxsplit=1)
    sets, _, still = outer.replace(f"{mine.name}.", "q.").partition(" WHERE ")
    sets = sets.removeprefix(f"UPDATE {mine.name} SET ")
    inner = inner.replace(f"{mine.name}.", "").replace(f"FROM {mine.name} ", f"FROM {table} ")
    sql = (
        f"UPDATE q SET {sets} FROM {table} AS q {PASSED_BY} WHERE {still} "
        f"IN (SELECT TOP (:limit) {inner}"
    )
    lists = set(_LIST.findall(sql))
    sql = _LIST.sub(r":\1", sql)
    given: list[BindParameter[Any]] = [
        bindparam(name, compiled.params[name], expanding=name in lists)
        for bind, name in compiled.bind_names.items()
        if not bind.required and re.search(rf":{name}\b", sql)
    ]
    if not isinstance(claim.limit, BindParameter):
        given.append(bindparam("limit", claim.limit))
    return sql, given
