"""The time of a database that several hosts use."""

from __future__ import annotations

import time
from collections.abc import Callable


class ServerClock:
    """The database's time, by this host's monotonic clock since it was last told: all engines
    agree, however wrong a host's own clock is."""

    def __init__(self, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._monotonic_ns = monotonic_ns
        self._offset_us = 0
        self._taken_us: int | None = None

    def __call__(self) -> int:
        return self._now_us() + self._offset_us

    def take(self, server_us: int) -> None:
        """What the server's clock says now."""
        self._taken_us = self._now_us()
        self._offset_us = server_us - self._taken_us

    def older_than(self, age_us: int) -> bool:
        """Whether it was told longer ago than this, or never."""
        return self._taken_us is None or self._now_us() - self._taken_us > age_us

    def _now_us(self) -> int:
        return self._monotonic_ns() // 1000
