"""Hashing several files at a time: two threads, a bounded window, results in any order.

Small files travel many to a task, since handing one over costs as much as reading it.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import NamedTuple

from casparian.domain.files import StatIdentity
from casparian.domain.ports import FileChangedError, FileSource

TRIES = 3
TASK_FILES = 64
TASK_BYTES = 8 << 20
TASKS_PER_THREAD = 2


class Hashed(NamedTuple):
    """One file that was read, or `error`, which says why it was not: FileChangedError after
    TRIES tries, or an OSError. `met` is the identity it was submitted with."""

    path: bytes
    met: StatIdentity
    identity: StatIdentity | None
    content_hash: str
    error: FileChangedError | OSError | None = None


class ParallelFileScanner:
    """Reads and hashes the files of one root. One thread submits and collects.

    A single task is done in the caller's own thread, so that looking at one file starts none.
    """

    def __init__(self, source: FileSource, root: bytes, threads: int = 2) -> None:
        self._source, self._root, self._threads = source, root, threads
        self._task: list[tuple[bytes, StatIdentity]] = []
        self._task_bytes = 0
        self._pool: ThreadPoolExecutor | None = None
        self._running: set[Future[list[Hashed]]] = set()

    def __enter__(self) -> ParallelFileScanner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    @property
    def full(self) -> bool:
        """The window is used up: collect before submitting more."""
        return len(self._running) >= self._threads * TASKS_PER_THREAD

    def submit(self, path: bytes, met: StatIdentity) -> None:
        self._task.append((path, met))
        self._task_bytes += met.size
        if len(self._task) >= TASK_FILES or self._task_bytes >= TASK_BYTES:
            self._dispatch()

    def collect(self, timeout_s: float | None = None) -> list[Hashed]:
        """What is done by now; waits for the first result when there is none yet."""
        done, self._running = wait(self._running, timeout_s, return_when=FIRST_COMPLETED)
        return [hashed for task in done for hashed in task.result()]

    def finish(self, timeout_s: float | None = None) -> Iterator[list[Hashed]]:
        """Everything that was submitted and not yet collected, as `collect` gives it."""
        if not self._running:
            task, self._task = self._task, []
            if task:
                yield self._hash_all(task)
            return
        self._dispatch()
        while self._running:
            yield self.collect(timeout_s)

    def _dispatch(self) -> None:
        if not self._task:
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, "casparian-hash")
        self._running.add(self._pool.submit(self._hash_all, self._task))
        self._task, self._task_bytes = [], 0

    def _hash_all(self, task: list[tuple[bytes, StatIdentity]]) -> list[Hashed]:
        return [self._hash_one(path, met) for path, met in task]

    def _hash_one(self, path: bytes, met: StatIdentity) -> Hashed:
        error: FileChangedError | OSError
        for _ in range(TRIES):
            try:
                content_hash, identity = self._source.read_hash(self._root, path)
            except FileChangedError as changed:
                error = changed
            except OSError as unreadable:
                error = unreadable
                break
            else:
                return Hashed(path, met, identity, content_hash)
        return Hashed(path, met, None, "", error)
