"""Makes files and directories durable: one fsync each, or one syncfs for many.

A failed sync is never retried: the kernel may have dropped the pages and would then report
success. So whatever was begun before a failed syncfs counts as lost, whoever asks for it.
"""

from __future__ import annotations

import os
import platform
import re
import threading
import weakref
from collections.abc import Callable, Collection, Iterable

from casparian.adapters.sink._libc import syncfs

# benchmarks/test_sinks.py measures where one syncfs becomes cheaper than fsyncs.
SYNCFS_FROM = 8
# File systems whose syncfs is known to wait for the disk and to report its errors.
_WITH_SYNCFS = frozenset({"ext4", "xfs", "btrfs", "tmpfs"})
_FIRST_KERNEL = (5, 8)


class Syncer:
    """Durability within one file system. `path` is any directory in it."""

    def __init__(self, path: str, syncfs_from: int = SYNCFS_FROM) -> None:
        self._path = path
        self._syncfs_from = syncfs_from
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._close: Callable[[], object] | None = None
        self._syncfs_reports = False
        self._epoch = 0

    def epoch(self) -> int:
        """To be asked before writing; `sync` of what was written then takes it."""
        with self._lock:
            if self._descriptor is None:
                # First what may fail: it is asked once.
                self._syncfs_reports = syncfs_reports_errors(self._path)
                # Errors are reported to descriptors that were open when they happened.
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
                self._close = weakref.finalize(self, os.close, self._descriptor)
            return self._epoch

    def reopen(self) -> None:
        """The file system was away: whatever was not synced before counts as lost."""
        with self._lock:
            self._epoch += 1
            if self._close is not None:
                self._close()
            self._descriptor = self._close = None

    def sync(self, paths: Collection[str], began: int) -> None:
        """Make these files and directories durable. `began`: the lowest of their epochs.

        Raises OSError; what was to be synced is then to be thrown away.
        """
        self.sync_all(lambda: paths, len(paths), began)

    def sync_all(self, paths: Callable[[], Collection[str]], at_least: int, began: int) -> None:
        """The same where listing the paths costs time and is needed for single fsyncs only;
        there are `at_least` so many."""
        if not self._syncfs_reports:
            fsync_all(paths())
            return
        if at_least < self._syncfs_from:
            listed = paths()
            if len(listed) < self._syncfs_from:
                fsync_all(listed)
                return
        with self._lock:
            if began < self._epoch:
                raise OSError(f"a sync of the file system of {self._path} failed meanwhile")
            try:
                assert self._descriptor is not None, "epoch() opens it before anything is written"
                syncfs(self._descriptor)
            except OSError:
                self._epoch += 1
                raise


def fsync_all(paths: Iterable[str]) -> None:
    """One fsync for each file or directory."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_directories(path: str) -> None:
    """Make a directory and those above it that are missing, so that a power cut takes none away.

    What was there is synced into the directory above it, too: who made it may have been stopped
    before that.
    """
    missing, above = [], path
    while not os.path.isdir(above):
        missing.append(above)
        above = os.path.dirname(above)
    for directory in reversed(missing):
        try:
            os.mkdir(directory)
        except FileExistsError:
            if not os.path.isdir(directory):
                raise
    fsync_all({os.path.dirname(directory) for directory in (path, *missing)})


def syncfs_reports_errors(path: str) -> bool:
    """True where syncfs may stand for fsyncs: a kernel and a file system that report errors."""
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    if version is None or (int(version[1]), int(version[2])) < _FIRST_KERNEL:
        return False
    return file_system_type(path) in _WITH_SYNCFS


def file_system_type(path: str) -> str | None:
    """The type of the file system that holds `path`, None where the system does not say."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                before, _, after = line.partition(" - ")
                if before.split(" ")[2] == wanted:
                    return after.split(" ")[0]
    except FileNotFoundError:
        return None
    return None
