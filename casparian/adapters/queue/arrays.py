"""An update of many rows by one statement, for PostgreSQL: the values go as one array a column.

Sent row by row, the same update takes several times as long, most of it between the rows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection

_PARAMETER = re.compile(r"%\((\w+)\)s(?:::(\w+))?")


@lru_cache(maxsize=256)
def _with_arrays(text: str, varying: Collection[str], texts: Collection[str]) -> str | None:
    """The update with each of the `varying` parameters as a column of arrays; None where one of
    them has no type to make an array of. Those of `texts` go as bytes: written out, each quote of
    a document would be sought and escaped."""
    types: dict[str, str] = {}
    untyped = False

    def column(found: re.Match[str]) -> str:
        nonlocal untyped
        name, kind = found.groups()
        if name not in varying:
            return found.group()
        untyped = untyped or kind is None
        types[name] = kind or ""
        return f"given.{name}"

    changed = _PARAMETER.sub(column, text)
    change, where, condition = changed.partition(" WHERE ")
    if untyped or not where or not types:
        return None
    arrays = ", ".join(
        f"%({name}){'b' if name in texts else 's'}::{kind}[]" for name, kind in types.items()
    )
    return f"{change} FROM unnest({arrays}) AS given({', '.join(types)}){where}{condition}"


def update_at_once(
    connection: Connection,
    text: str,
    constants: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
) -> int | None:
    """Run an update for rows of which no two meet the same; how many it met. None where it cannot
    be run so."""
    names = frozenset(rows[0])
    texts = frozenset(name for name in names if any(isinstance(row[name], str) for row in rows))
    statement = _with_arrays(text, names, texts)
    if statement is None:
        return None
    arrays = {name: [row[name] for row in rows] for name in names}
    return connection.exec_driver_sql(statement, {**constants, **arrays}).rowcount
