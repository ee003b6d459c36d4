"""Small batches on their way out: one message carries many, since each message costs both ends as
much as some kilobytes of data.

Each is serialized at once, as what it refers to may change when `publish` has returned. The rows
of a topic keep their order; what waits is bounded in bytes, in number and in time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from casparian.domain.wire import DEFAULT_LIMITS

SMALL_BYTES = 16 * 1024
"""A batch of less waits for others."""
MOST_BYTES = 64 * 1024
"""Of one topic; that much is worth a message."""
MOST_BYTES_IN_ALL = 4 * 1024 * 1024
LONGEST_WAIT_S = 1.0


@dataclass
class _Waiting:
    batches: list[pa.Buffer] = field(default_factory=list)
    rows: int = 0
    size: int = 0


class Gatherer:
    """The small batches of one job that are not sent yet, by topic.

    `send(topic, rows, batches)` gets those that go together. May be called from several threads;
    `send` is called by one at a time.
    """

    def __init__(self, send: Callable[[str, int, list[pa.Buffer]], None]) -> None:
        self._send = send
        self._lock = threading.RLock()
        self._topics: dict[str, _Waiting] = {}
        self._size = 0
        self._since = 0.0

    def add(self, topic: str, rows: int, batch: pa.Buffer) -> None:
        """A serialized batch. Those of another schema must have been flushed before."""
        with self._lock:
            waiting = self._topics.get(topic)
            if waiting is not None and waiting.rows + rows > DEFAULT_LIMITS.rows:
                self.flush(topic)
                waiting = None
            if waiting is None:
                if not self._topics:
                    self._since = time.monotonic()
                waiting = self._topics[topic] = _Waiting()
            waiting.batches.append(batch)
            waiting.rows += rows
            waiting.size += batch.size
            self._size += batch.size
            if waiting.size >= MOST_BYTES or len(waiting.batches) >= DEFAULT_LIMITS.batches:
                self.flush(topic)
            elif self._size >= MOST_BYTES_IN_ALL:
                self.flush_all()

    def flush(self, topic: str) -> None:
        """Send what waits of one topic, before larger batches of it, or ones of other columns."""
        with self._lock:
            waiting = self._topics.pop(topic, None)
            if waiting is not None:
                self._size -= waiting.size
                self._send(topic, waiting.rows, waiting.batches)

    def flush_all(self) -> None:
        with self._lock:
            for topic in list(self._topics):
                self.flush(topic)

    def flush_old(self) -> None:
        """Send everything if the first has waited long."""
        if self._topics and time.monotonic() - self._since >= LONGEST_WAIT_S:
            self.flush_all()
