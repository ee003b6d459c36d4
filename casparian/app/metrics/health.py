"""Whether an engine lives, and whether it is ready: asked over HTTP, answered from what is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import structlog

CHECK_AGAIN_S = 5.0

log = structlog.get_logger("casparian.engine")

Check = Callable[[], str]
"""Returns what is wrong; empty when nothing is."""


class Phase(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


class Health:
    """`alive` are the checks of threads, which cost nothing; `usable` those that ask others:
    their answers are good for five seconds, so that no probe is a load."""

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self._alive: Mapping[str, Check] = {}
        self._usable: Mapping[str, Check] = {}
        self._lock = threading.Lock()
        self._seen: dict[str, str] = {}
        self._good_until = 0.0

    def running(self, alive: Mapping[str, Check], usable: Mapping[str, Check]) -> None:
        """The engine has started; from now on these are asked."""
        self._alive, self._usable = alive, usable
        self.phase = Phase.RUNNING

    def stopping(self) -> None:
        self.phase = Phase.STOPPING

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Alive: no thread has ended before its time. While stopping they end as they should."""
        wrong = _ask(self._alive) if self.phase is Phase.RUNNING else {}
        ok = not any(wrong.values())
        return ok, {"healthy": ok, "phase": str(self.phase), "checks": _said(wrong)}

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Able to publish now. False while starting and stopping."""
        running = self.phase is Phase.RUNNING
        wrong = _ask(self._alive) | self._asked_lately() if running else {}
        ok = running and not any(wrong.values())
        return ok, {"ready": ok, "phase": str(self.phase), "checks": _said(wrong)}

    def _asked_lately(self) -> dict[str, str]:
        with self._lock:
            if time.monotonic() >= self._good_until:
                self._seen = _ask(self._usable)
                self._good_until = time.monotonic() + CHECK_AGAIN_S
            return self._seen


def _ask(checks: Mapping[str, Check]) -> dict[str, str]:
    answers = {}
    for name, check in checks.items():
        try:
            answers[name] = check()
        except Exception as error:
            log.warning("not ready", check=name, error=str(error))
            answers[name] = str(error) or type(error).__name__
    return answers


def _said(wrong: Mapping[str, str]) -> dict[str, str]:
    return {name: problem or "ok" for name, problem in wrong.items()}
