"""What commands print: one JSON document, or tables for people and for pipes.

Names of files come from strangers: what a terminal would obey is written as an escape.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from casparian.app.printable import printable

Row = Sequence[object]


def show_json(document: Any) -> None:
    """One document on standard output. Bytes that are no UTF-8 are lone surrogates, escaped."""
    import json

    print(json.dumps(document, indent=2))


def on_terminal() -> bool:
    return sys.stdout.isatty()


def show_table(
    columns: Sequence[str], rows: Iterable[Row], *, title: str = "", numbers: Iterable[str] = ()
) -> None:
    """A table on a terminal; elsewhere lines of fields set apart by tabs, the first the names.

    Columns named in `numbers` are set to the right. None is shown as nothing.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    if on_terminal():
        _show_rich(columns, cells, title, frozenset(numbers))
        return
    if title:
        print(f"# {title}")
    print("\t".join(columns))
    for line in cells:
        print("\t".join(line))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(str(value))


def _show_rich(
    columns: Sequence[str], cells: Sequence[Sequence[str]], title: str, numbers: frozenset[str]
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left")
    for name in columns:
        table.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    for line in cells:
        # As Text, since a name may hold what Rich would take for markup.
        table.add_row(*(Text(cell) for cell in line))
    Console().print(table)


def count(number: int, one: str, many: str = "") -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def moment(iso: str | None) -> str:
    """A document's time for people, to the second: `2026-01-31 10:00:00 UTC`."""
    return f"{iso[:10]} {iso[11:19]} UTC" if iso else ""
