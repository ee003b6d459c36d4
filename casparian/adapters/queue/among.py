"""Statements that meet the rows which have one of some values in a column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Connection, Select, Update, any_, bindparam

from casparian.adapters.queue import statements
from casparian.adapters.queue.statements import CHUNK, chunks

_SIZES = (1, 10, 100, CHUNK)
_NAMES = [f"among_{number}" for number in range(CHUNK)]


class Among:
    """A statement for the rows that have one of some values in `column`, CHUNK of them at a time.

    A server that knows arrays is given one. Others are given so many parameters as the next of a
    few sizes has, the last value again and again: so a few texts serve for any number of values,
    and nothing is compiled twice. As in `execute_many`, values are the driver's, and so is what
    is read: a boolean may be 0 or 1.
    """

    def __init__(self, statement: Select[Any] | Update, column: ColumnElement[Any]) -> None:
        self._statement = statement
        self._column = column
        self._made: dict[int, Select[Any] | Update] = {}

    def rows(self, connection: Connection, values: Sequence[Any], **others: Any) -> Iterator[Any]:
        """`others` are the values of a select's other parameters, by name."""
        for part in chunks(values):
            yield from self._run(connection, part, others).fetchall()

    def write(self, connection: Connection, values: Sequence[Any], **others: Any) -> int:
        """The rows that an update met."""
        return sum(self._run(connection, part, others).rowcount for part in chunks(values))

    def _run(self, connection: Connection, values: Sequence[Any], others: dict[str, Any]) -> Any:
        if connection.dialect.name == "postgresql":
            text = statements.text_of(self._of_array(), connection)
            given: dict[str, Any] = {_NAMES[0]: list(values)}
        else:
            size = next(size for size in _SIZES if size >= len(values))
            padded = (*values, *(values[-1],) * (size - len(values)))
            text = statements.text_of(self._of_each(size), connection)
            given = dict(zip(_NAMES, padded, strict=False))
        return connection.exec_driver_sql(text.sql, text.ordered({**others, **given}))

    def _of_each(self, size: int) -> Select[Any] | Update:
        if size not in self._made:
            each: list[Any] = [bindparam(name) for name in _NAMES[:size]]
            self._made[size] = self._statement.where(self._column.in_(each))
        return self._made[size]

    def _of_array(self) -> Select[Any] | Update:
        if 0 not in self._made:
            values: Any = bindparam(_NAMES[0], type_=ARRAY(self._column.type))
            self._made[0] = self._statement.where(self._column == any_(values))
        return self._made[0]


def locations_by_plugin(keys: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    """The locations of each plugin, all in order."""
    found: dict[str, list[int]] = {}
    for plugin, location_id in sorted(set(keys)):
        found.setdefault(plugin, []).append(location_id)
    return found
