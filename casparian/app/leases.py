"""The jobs this worker holds: id to token, and until when it may touch them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable


class Leases:
    """Thread-safe. Times in seconds by the monotonic clock, so no clock jump extends a lease."""

    def __init__(self, give_up_s: float) -> None:
        self._give_up_s = give_up_s
        self._lock = threading.Lock()
        self._tokens: dict[int, tuple[str, float]] = {}

    def add(self, jobs: Iterable[tuple[int, str]], asked_at: float | None = None) -> None:
        """Jobs just claimed; `asked_at`: when the claim was sent."""
        now = time.monotonic() if asked_at is None else asked_at
        with self._lock:
            for job_id, token in jobs:
                self._tokens[job_id] = (token, now)

    def remove(self, job_id: int, token: str) -> None:
        with self._lock:
            if self._tokens.get(job_id, ("", 0.0))[0] == token:
                del self._tokens[job_id]

    def snapshot(self) -> dict[int, str]:
        with self._lock:
            return {job_id: token for job_id, (token, _) in self._tokens.items()}

    def renewed(self, asked: dict[int, str], held: set[int], asked_at: float) -> list[int]:
        """Note an answer to a renewal; returns the ids that turned out to be lost."""
        lost = []
        with self._lock:
            for job_id, token in asked.items():
                known = self._tokens.get(job_id)
                if known is None or known[0] != token:
                    continue
                if job_id in held:
                    self._tokens[job_id] = (token, asked_at)
                else:
                    del self._tokens[job_id]
                    lost.append(job_id)
        return lost

    def expired(self) -> list[int]:
        """Forget, and return, the jobs that could not be renewed for too long."""
        limit = time.monotonic() - self._give_up_s
        with self._lock:
            gone = [job_id for job_id, (_, since) in self._tokens.items() if since < limit]
            for job_id in gone:
                del self._tokens[job_id]
        return gone

    def holds(self, job_id: int, token: str) -> bool:
        """True while this worker may touch the job."""
        with self._lock:
            known = self._tokens.get(job_id)
        if known is None or known[0] != token:
            return False
        return known[1] >= time.monotonic() - self._give_up_s

    def __len__(self) -> int:
        with self._lock:
            return len(self._tokens)
