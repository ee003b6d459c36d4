"""Environments of live plugins, made by a thread of their own: nobody waits for an installer.

A plugin whose environment is not there is not run: its jobs stay queued. One that could not be made
is tried again, after a wait that doubles; what is wrong with the metadata itself is not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import structlog

from casparian.domain.errors import ConfigurationError
from casparian.domain.requirements import (
    EnvironmentFailedError,
    Needed,
    Requirements,
    requirements_of,
)

if TYPE_CHECKING:
    from casparian.adapters.host.environments import PluginEnvironments

FIRST_WAIT_S = 10.0
LONGEST_WAIT_S = 600.0
MAKING = "its environment is being made"

log = structlog.get_logger("casparian.environments")


@dataclass(slots=True)
class _Missing:
    """What a plugin waits for; `needed` is None where it waits in vain."""

    content_hash: str
    needed: Needed | None
    problem: str = ""
    tries: int = 0
    due_at: float = 0.0


class Environments:
    """Kept below `directory`; without one, plugins have the engine's packages only.

    `on_ready` is called, from the thread, when a plugin can be run that could not before.
    """

    def __init__(self, directory: str | None) -> None:
        self._directory = directory
        self._pythons: dict[str, str] = {}
        self._missing: dict[str, _Missing] = {}
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._serve, name="casparian-environments", daemon=True
        )
        self.on_ready: Callable[[], None] = lambda: None
        self.revision = 0
        """Grows whenever a plugin can be run that could not before."""

    # --- any thread -----------------------------------------------------------------------

    def ready(self, plugin: str, content_hash: str, code: bytes) -> bool:
        """Whether this code can be run now; if not, that is seen to."""
        with self._news:
            if content_hash in self._pythons:
                self._missing.pop(plugin, None)
                return True
            waiting = self._missing.get(plugin)
            if waiting is not None and waiting.content_hash == content_hash:
                return False
        try:
            python, needed = self._look(plugin, code)
        except ConfigurationError as error:
            log.error("plugin not run", plugin=plugin, error=str(error))
            with self._news:
                self._missing[plugin] = _Missing(content_hash, None, str(error))
            return False
        with self._news:
            if python is not None:
                self._pythons[content_hash] = python
                self._missing.pop(plugin, None)
                return True
            self._missing[plugin] = _Missing(content_hash, needed)
            self._news.notify_all()
            if not self._thread.is_alive() and not self._stop.is_set():
                self._thread.start()
        return False

    def prepare(self, plugin: str, content_hash: str, code: bytes) -> None:
        """Have what this code needs, now, in the caller's thread.

        Raises ConfigurationError for metadata that is wrong, EnvironmentFailedError where its
        packages cannot be had.
        """
        python, needed = self._look(plugin, code)
        if python is None:
            assert needed is not None
            python = self._places.make(needed, self._stop)
        with self._news:
            self._pythons[content_hash] = python

    def leave_out_all_but(self, plugins: Set[str]) -> None:
        """Only these are wanted any more."""
        with self._news:
            for name in self._missing.keys() - plugins:
                del self._missing[name]

    def python_of(self, content_hash: str) -> str:
        """The interpreter that runs this code; empty for the engine's own."""
        return self._pythons.get(content_hash, "")

    def problems(self) -> Mapping[str, str]:
        """Why plugins are not run, by their names."""
        with self._news:
            return {name: missing.problem or MAKING for name, missing in self._missing.items()}

    def failures(self) -> Mapping[str, str]:
        """The same, without those that are being made for the first time."""
        return {name: why for name, why in self.problems().items() if why != MAKING}

    @property
    def making(self) -> bool:
        return MAKING in self.problems().values()

    def close(self) -> None:
        with self._news:
            self._stop.set()
            self._news.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    @cached_property
    def _places(self) -> PluginEnvironments:
        # Not loaded before a plugin asks for packages.
        from casparian.adapters.host.environments import PluginEnvironments

        return PluginEnvironments(self._directory or "")

    def _look(self, plugin: str, code: bytes) -> tuple[str | None, Needed | None]:
        requirements = requirements_of(plugin, code)
        if self._directory is None or requirements == Requirements():
            return "", None
        needed = self._places.needed(plugin, requirements)
        if needed is None:
            return "", None
        return self._places.find(needed), needed

    # --- the thread -----------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            with self._news:
                due = self._next()
                if self._stop.is_set():
                    return
                if due is None:
                    continue
                name, missing = due
            self._make(name, missing)

    def _next(self) -> tuple[str, _Missing] | None:
        """What is to be made now; None after a wait for it, or for news."""
        waiting = [(n, m) for n, m in self._missing.items() if m.needed is not None]
        name, missing = min(waiting, key=lambda one: one[1].due_at, default=("", None))
        now = time.monotonic()
        if missing is None or missing.due_at > now:
            self._news.wait(None if missing is None else missing.due_at - now)
            return None
        return name, missing

    def _make(self, name: str, missing: _Missing) -> None:
        assert missing.needed is not None
        started = time.monotonic()
        log.info("making an environment", plugin=name, packages=missing.needed.dependencies)
        try:
            python = self._places.make(missing.needed, self._stop)
        except EnvironmentFailedError as error:
            wait_s = min(FIRST_WAIT_S * 2**missing.tries, LONGEST_WAIT_S)
            log.error(
                "plugin not run: its environment could not be made",
                plugin=name,
                error=str(error),
                again_in_s=wait_s,
            )
            with self._news:
                missing.problem = f"its environment could not be made: {error}"
                missing.tries += 1
                missing.due_at = time.monotonic() + wait_s
            return
        packages = self._places.resolved(missing.needed).split()
        took_s = round(time.monotonic() - started, 1)
        log.info("environment made", plugin=name, packages=packages, seconds=took_s)
        with self._news:
            self._pythons[missing.content_hash] = python
            if self._missing.get(name) is missing:
                del self._missing[name]
            self.revision += 1
        self.on_ready()
