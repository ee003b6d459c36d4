"""Connections of a SQL sink: as many as threads use at the same time, each looked at before use
where it has rested.

What raised while it was used is closed, not kept: nobody knows what state it is in.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar


class Session(Protocol):
    """One connection to a database. Methods raise the sink's own errors."""

    def is_alive(self) -> bool: ...

    def close(self) -> None: ...


S = TypeVar("S", bound=Session)
LOOK_AFTER_S = 1.0
"""A connection that was in use a moment ago is taken as it is: to look costs as much as a small
statement, and what fails is tried again."""


class Pool(Generic[S]):
    """Any thread. Idle connections are closed when the pool is dropped, or the process ends."""

    def __init__(
        self, connect: Callable[[], S], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._lock = threading.Lock()
        self._idle: list[tuple[S, float]] = []
        weakref.finalize(self, _close_all, self._idle)

    @contextlib.contextmanager
    def session(self) -> Iterator[S]:
        session = self._take()
        try:
            yield session
        except BaseException:
            session.close()
            with self._lock:
                # What ended this one may have ended all of them.
                self._idle[:] = [(other, -math.inf) for other, _ in self._idle]
            raise
        with self._lock:
            self._idle.append((session, self._clock()))

    def _take(self) -> S:
        while True:
            with self._lock:
                found = self._idle.pop() if self._idle else None
            if found is None:
                return self._connect()
            session, used_at = found
            if self._clock() - used_at < LOOK_AFTER_S or session.is_alive():
                return session
            session.close()


def _close_all(idle: list[tuple[S, float]]) -> None:
    for session, _ in idle:
        session.close()
    idle.clear()
