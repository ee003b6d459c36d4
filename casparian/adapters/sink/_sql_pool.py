"""Connections of a SQL sink: as many as threads use at the same time, each looked at before use.

What raised while it was used is closed, not kept: nobody knows what state it is in.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar


class Session(Protocol):
    """One connection to a database. Methods raise the sink's own errors."""

    def is_alive(self) -> bool: ...

    def close(self) -> None: ...


S = TypeVar("S", bound=Session)


class Pool(Generic[S]):
    """Any thread. Idle connections are closed when the pool is dropped, or the process ends."""

    def __init__(self, connect: Callable[[], S]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._idle: list[S] = []
        weakref.finalize(self, _close_all, self._idle)

    @contextlib.contextmanager
    def session(self) -> Iterator[S]:
        session = self._take()
        try:
            yield session
        except BaseException:
            session.close()
            raise
        with self._lock:
            self._idle.append(session)

    def _take(self) -> S:
        while True:
            with self._lock:
                session = self._idle.pop() if self._idle else None
            if session is None:
                return self._connect()
            if session.is_alive():
                return session
            session.close()


def _close_all(idle: list[S]) -> None:
    for session in idle:
        session.close()
    idle.clear()
