"""Rejected rows on their way out: one row each, sent in batches like any topic's.

They are gathered up to a count, a size and a time, so that memory stays bounded, a message is
never sent for each, and the engine hears of them while the plugin still works.
"""

from __future__ import annotations

import operator
import threading
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from casparian.domain.clipping import clip
from casparian.domain.messages import LONGEST_MESSAGE_TEXT
from casparian.domain.plugins import check_topic_name

REJECTS_SCHEMA = pa.schema(
    [
        ("topic", pa.string()),
        ("line", pa.int64()),
        ("offset", pa.int64()),
        ("raw", pa.binary()),
        ("reason", pa.string()),
    ]
)
MOST_ROWS = 1000
MOST_BYTES = 1 << 20
LONGEST_WAIT_S = 1.0

Row = tuple[str | None, int | None, int | None, bytes, str]


def reject_row(raw: Any, reason: Any, line: Any, offset: Any, topic: Any) -> Row:
    """The row of a reject. Raises TypeError or ValueError for what cannot be one."""
    if isinstance(raw, str):
        raw = raw.encode("utf-8", "surrogateescape")
    elif isinstance(raw, (bytes, bytearray, memoryview)):
        raw = bytes(raw)
    else:
        raise TypeError(f"reject() takes the row as bytes or text, not as {type(raw).__name__}")
    if not isinstance(reason, str) or not reason:
        raise TypeError(f"a reject's reason is a text that says what is wrong, not {reason!r:.80}")
    if topic is not None and (problem := topic_problem(topic)) is not None:
        raise ValueError(problem)
    return (
        topic,
        _whole("line", line, 1),
        _whole("offset", offset, 0),
        raw,
        clip(reason, LONGEST_MESSAGE_TEXT),
    )


def topic_problem(topic: Any) -> str | None:
    """What is wrong with a topic's name, None for one that is right. Raises TypeError for
    what is no text."""
    if not isinstance(topic, str):
        raise TypeError(f"a topic's name is text, not a {type(topic).__name__}")
    problem = check_topic_name(topic)
    return problem and f"The topic name {topic!r} {problem}; choose another."


def _whole(what: str, value: Any, least: int) -> int | None:
    if value is None:
        return None
    number = operator.index(value)
    if number < least:
        raise ValueError(f"a reject's {what} is {number}, it counts from {least}")
    return number


def reject_batch(rows: list[Row]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(c, field.type) for c, field in zip(columns, REJECTS_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=REJECTS_SCHEMA)


class Rejects:
    """The rejects of one job that are not sent yet; `send` is given them as batches.

    May be called from several threads; `send` is called by one at a time.
    """

    def __init__(self, send: Callable[[pa.RecordBatch], None]) -> None:
        self._send = send
        self._lock = threading.RLock()
        self._rows: list[Row] = []
        self._bytes = 0
        self._since = 0.0

    def add(self, row: Row) -> None:
        with self._lock:
            if not self._rows:
                self._since = time.monotonic()
            self._rows.append(row)
            self._bytes += len(row[3]) + len(row[4])
            if len(self._rows) >= MOST_ROWS or self._bytes >= MOST_BYTES:
                self.flush()
            else:
                self.flush_old()

    def flush_old(self) -> None:
        """Send them if the first has waited long."""
        if self._rows and time.monotonic() - self._since >= LONGEST_WAIT_S:
            self.flush()

    def flush(self) -> None:
        with self._lock:
            rows, self._rows, self._bytes = self._rows, [], 0
            if rows:
                self._send(reject_batch(rows))
