"""Code that is not live yet is tried by the router's thread; whoever asked waits here."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from casparian.app.stopping import StoppingError
from casparian.domain.instructions import Instruction, TrialEnded
from casparian.domain.plugins import LivePlugin
from casparian.domain.router import Router


@dataclass(slots=True)
class _Trial:
    over: threading.Event = field(default_factory=threading.Event)
    failure: str = ""


class TryOuts:
    """`post` has an event carried out by the router's thread."""

    def __init__(
        self, router: Router, post: Callable[[Callable[[], list[Instruction]]], None]
    ) -> None:
        self._router = router
        self._post = post
        self._tickets = itertools.count(1)
        self._running: dict[int, _Trial] = {}
        self._closing = False

    def ended(self, instruction: TrialEnded) -> None:
        """By the router's thread."""
        trial = self._running.get(instruction.ticket)
        if trial is not None:
            trial.failure = instruction.failure
            trial.over.set()

    def try_out(self, plugin: LivePlugin, code: bytes) -> str:
        """Why the code cannot be loaded; empty where it can. Raises StoppingError once closed."""
        ticket, trial = next(self._tickets), _Trial()
        self._running[ticket] = trial
        self._post(lambda: self._router.try_out(ticket, plugin, code, time.monotonic()))
        if not self._closing:
            # The router ends every trial, at the latest when its time to start is over.
            trial.over.wait()
        del self._running[ticket]
        if self._closing:
            raise StoppingError
        return trial.failure

    def close(self) -> None:
        """Nobody waits any more."""
        self._closing = True
        for trial in list(self._running.values()):
            trial.over.set()
