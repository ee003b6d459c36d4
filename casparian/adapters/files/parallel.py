"""Hashing several files at a time: two threads, a bounded window, results in any order.

Only large files gain by a thread, where hashlib works without the GIL. Small ones are read many at
a time by the caller: handing them over costs more than reading them.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import NamedTuple

from casparian.domain.files import StatIdentity
from casparian.domain.ports import FileChangedError, FileSource

TRIES = 3
SMALL = 128 << 10
FILES_PER_THREAD = 2
SMALL_TOGETHER = 128
SMALL_BYTES = 4 << 20


class Hashed(NamedTuple):
    """One file that was read, or `error`, which says why it was not: FileChangedError after
    TRIES tries, or an OSError. `met` is the identity it was submitted with."""

    path: bytes
    met: StatIdentity
    identity: StatIdentity | None
    content_hash: str
    error: FileChangedError | OSError | None = None


class ParallelFileScanner:
    """Reads and hashes the files of one root. One thread submits and collects."""

    def __init__(self, source: FileSource, root: bytes, threads: int = 2) -> None:
        self._source, self._root, self._threads = source, root, threads
        self._pool: ThreadPoolExecutor | None = None
        self._running: set[Future[Hashed]] = set()
        self._small: list[tuple[bytes, StatIdentity]] = []
        self._small_bytes = 0

    def __enter__(self) -> ParallelFileScanner:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    @property
    def full(self) -> bool:
        """The window is used up: collect before submitting more."""
        return (
            len(self._small) >= SMALL_TOGETHER
            or self._small_bytes >= SMALL_BYTES
            or len(self._running) >= self._threads * FILES_PER_THREAD
        )

    def submit(self, path: bytes, met: StatIdentity) -> None:
        if met.size <= SMALL:
            self._small.append((path, met))
            self._small_bytes += met.size
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, "casparian-hash")
        self._running.add(self._pool.submit(self._hash_one, path, met))

    def collect(self, timeout_s: float | None = None) -> list[Hashed]:
        """What is done by now; waits for the first result when there is none yet."""
        results = self._hash_small()
        if self._running:
            wait_s = 0 if results else timeout_s
            done, self._running = wait(self._running, wait_s, return_when=FIRST_COMPLETED)
            results += [task.result() for task in done]
        return results

    def finish(self, timeout_s: float | None = None) -> Iterator[list[Hashed]]:
        """Everything that was submitted and not yet collected, as `collect` gives it."""
        while self._running or self._small:
            yield self.collect(timeout_s)

    def _hash_small(self) -> list[Hashed]:
        small, self._small, self._small_bytes = self._small, [], 0
        found = self._source.read_hashes(self._root, [path for path, _ in small])
        return [
            self._hash_one(path, met) if one is None else Hashed(path, met, one[1], one[0])
            for (path, met), one in zip(small, found, strict=True)
        ]

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
