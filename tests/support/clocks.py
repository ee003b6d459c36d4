"""Clocks for tests over real files: nobody can set a file's ctime, so the clock is moved."""

from __future__ import annotations

import os
import tempfile
import time


class Clock:
    """The real time plus what a test adds, in microseconds."""

    def __init__(self) -> None:
        self.added_us = 0

    def __call__(self) -> int:
        return time.time_ns() // 1000 + self.added_us

    def advance(self, seconds: float) -> None:
        self.added_us += int(seconds * 1_000_000)


def next_tick() -> None:
    """Wait for the kernel's clock of file timestamps to move on, some milliseconds at most.

    Two writes within one tick look the same.
    """
    with tempfile.TemporaryFile() as probe:
        before = os.fstat(probe.fileno()).st_ctime_ns
        while os.fstat(probe.fileno()).st_ctime_ns == before:
            os.utime(probe.fileno())
