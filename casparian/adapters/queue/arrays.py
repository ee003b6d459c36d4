"""Many rows written by one statement, for PostgreSQL: the values go as one array a column.

Sent row by row, the same takes several times as long, most of it between the rows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection

_INSERT = re.compile(r"(?P<into>INSERT INTO .*) VALUES \((?P<row>.*)\)", re.DOTALL)
_PARAMETER = re.compile(r"%\((\w+)\)s(?:::(\w+))?")


@lru_cache(maxsize=256)
def _with_arrays(
    text: str, varying: Collection[str], texts: Collection[str], blobs: Collection[str]
) -> str | None:
    """The statement with each of the `varying` parameters as a column of arrays; None where one of
    them has no type to make an array of. `texts` and `blobs` go as bytes: written out, each quote
    of a document would be sought and escaped."""
    types: dict[str, str] = {}
    untyped = False

    def column(found: re.Match[str]) -> str:
        nonlocal untyped
        name, kind = found.groups()
        if name not in varying:
            return found.group()
        kind = kind or ("BYTEA" if name in blobs else None)
        untyped = untyped or kind is None
        types[name] = kind or ""
        return f"given.{name}"

    changed = _PARAMETER.sub(column, text)
    if untyped or not types:
        return None
    arrays = ", ".join(
        f"%({name}){'b' if name in texts or name in blobs else 's'}::{kind}[]"
        for name, kind in types.items()
    )
    given = f"FROM unnest({arrays}) AS given({', '.join(types)})"
    if inserted := _INSERT.fullmatch(changed):
        return f"{inserted['into']} SELECT {inserted['row']} {given}"
    change, where, condition = changed.partition(" WHERE ")
    return f"{change} {given}{where}{condition}" if where else None


def write_at_once(
    connection: Connection,
    text: str,
    constants: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
) -> int | None:
    """Run an insert, or an update for rows of which no two meet the same; how many it met. None
    where it cannot be run so."""
    names = frozenset(rows[0])
    texts, blobs = (
        frozenset(name for name in names if any(isinstance(row[name], kind) for row in rows))
        for kind in (str, bytes)
    )
    statement = _with_arrays(text, names, texts, blobs)
    if statement is None:
        return None
    arrays = {name: [row[name] for row in rows] for name in names}
    return connection.exec_driver_sql(statement, {**constants, **arrays}).rowcount
