"""The reference of the database's tables: names and types from the metadata, meanings from here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from casparian.adapters.queue.tables.columns import metadata
from casparian.app.reference.table_meanings import COLUMNS, TABLES

HEAD = """\
# Tables

<!-- Made from the code by `python -m casparian.app.reference docs/reference`. -->

The tables of the queue's database, with the same names in every kind of database. Read them as you
like; only the engine and `casparian` write to them. The schema changes by migrations, which
`casparian upgrade` runs.

Columns that end in `_us` are moments, in microseconds since 1970 in UTC, or lengths of time in
microseconds. Paths are bytes, since they need not be UTF-8: `cast(path as text)` where yours are.
Numbers that identify are given once and never again.
"""


def reference() -> str:
    """The whole page. Raises TypeError for a table or column without a meaning."""
    known = {table.name: table for table in metadata.sorted_tables}
    _same("table", set(known), set(TABLES))
    parts = [HEAD]
    for name, meaning in TABLES.items():
        parts.append(f"## {name}\n\n{meaning}\n")
        parts.extend(_columns(known[name]))
    return "\n".join(parts)


def _columns(table: Any) -> Iterator[str]:
    meanings = COLUMNS[table.name]
    _same(f"column of {table.name}", {c.name for c in table.columns}, set(meanings))
    rows = [
        f"| `{c.name}` | {_kind(c)} | {_key(c)}{meanings[c.name]} |".replace("  ", " ")
        for c in table.columns
    ]
    yield "\n".join(["| column | type | meaning |", "|---|---|---|", *rows, ""])


def _kind(column: Any) -> str:
    name = {
        "BigInteger": "whole number",
        "Integer": "whole number",
        "Boolean": "boolean",
        "Float": "number",
        "LargeBinary": "bytes",
        "Raw": "bytes",
    }.get(type(column.type).__name__, "text")
    return f"{name} or NULL" if column.nullable else name


def _key(column: Any) -> str:
    if column.primary_key:
        return "Key. "
    for key in column.foreign_keys:
        return f"Refers to `{key.target_fullname}`. "
    return ""


def _same(what: str, real: set[str], described: set[str]) -> None:
    missing, gone = sorted(real - described), sorted(described - real)
    if missing or gone:
        raise TypeError(
            f"casparian.app.reference.table_meanings: no meaning for the {what} {missing}, "
            f"and none is called {gone}"
        )
