"""When to look for work of others, where the database does not tell of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

LOOKS_S = (0.1, 1.0)
"""How often others' work is looked for: at first, and when there was none for some time."""


class Looks:
    """When to look for work of others: often after a change, else ever more seldom, up to once a
    second for all threads together."""

    def __init__(
        self,
        look: Callable[[], object],
        errors: tuple[type[Exception], ...],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look, self._errors, self._monotonic = look, errors, monotonic
        self._lock = threading.Lock()
        self._seen: object = None
        self._next = 0.0
        self._pause = LOOKS_S[0]

    def changed(self) -> bool:
        """True when what is seen has changed since the last look, or was seen first."""
        with self._lock:
            if self._monotonic() < self._next:
                return False
            try:
                seen = self._look()
            except self._errors:
                # Whoever wants the work meets the same error.
                seen = self._seen
            changed, self._seen = seen != self._seen, seen
            self._pause = LOOKS_S[0] if changed else min(2 * self._pause, LOOKS_S[1])
            self._next = self._monotonic() + self._pause
            return changed

    def close(self, stop: Callable[[], None]) -> None:
        with self._lock:
            stop()
