"""Environments of live plugins, made by a thread of their own: nobody waits for an installer.

A plugin whose environment is not there is not run: its jobs stay queued. One that could not be made
is tried again, after a wait that doubles; what is wrong with the metadata itself is not.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import structlog

from casparian.app.stopping import StoppingError
from casparian.domain.errors import ConfigurationError
from casparian.domain.requirements import (
    Environment,
    EnvironmentFailedError,
    Needed,
    Requirements,
    requirements_of,
)

if TYPE_CHECKING:
    from casparian.adapters.host.environments import Found, PluginEnvironments

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
        self._found: dict[str, Found | None] = {}
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
            if content_hash in self._found:
                self._missing.pop(plugin, None)
                return True
            waiting = self._missing.get(plugin)
            if waiting is not None and waiting.content_hash == content_hash:
                self._see_to_it()
                return False
        try:
            needed = self._needed(plugin, code)
        except ConfigurationError as error:
            log.error("plugin not run", plugin=plugin, error=str(error))
            with self._news:
                self._missing[plugin] = _Missing(content_hash, None, str(error))
            return False
        found = None
        if needed is not None:
            # What is wrong with one that is there is told, and retried, where it would be made.
            with contextlib.suppress(EnvironmentFailedError):
                found = self._places.find(needed)
        with self._news:
            if needed is None or found is not None:
                self._found[content_hash] = found
                self._missing.pop(plugin, None)
                return True
            self._missing[plugin] = _Missing(content_hash, needed)
            self._see_to_it()
        return False

    def _see_to_it(self) -> None:
        """Also where the thread could not be started before, for want of descriptors or memory."""
        self._news.notify_all()
        if self._thread.ident is None and not self._stop.is_set():
            try:
                self._thread.start()
            except RuntimeError as error:
                log.error("no environment can be made", error=str(error))

    def prepare(self, plugin: str, content_hash: str, code: bytes) -> None:
        """Have what this code needs, now, in the caller's thread.

        Raises ConfigurationError for metadata that is wrong, EnvironmentFailedError where its
        packages cannot be had, StoppingError once this is closed.
        """
        needed = self._needed(plugin, code)
        try:
            found = None if needed is None else self._places.make(needed, self._stop)
        except EnvironmentFailedError as error:
            if self._stop.is_set():
                raise StoppingError from error
            raise
        with self._news:
            self._found[content_hash] = found

    def leave_out_all_but(self, plugins: Set[str]) -> None:
        """Only these are wanted any more."""
        with self._news:
            for name in self._missing.keys() - plugins:
                del self._missing[name]

    def python_of(self, content_hash: str) -> str:
        """The interpreter that runs this code; empty for the engine's own."""
        found = self._found.get(content_hash)
        return "" if found is None else found.python

    def environment_of(self, content_hash: str) -> Environment | None:
        """What this code runs in; None for the engine's own packages."""
        found = self._found.get(content_hash)
        return None if found is None else found.environment

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

    def _needed(self, plugin: str, code: bytes) -> Needed | None:
        requirements = requirements_of(plugin, code)
        if self._directory is None or requirements == Requirements():
            return None
        return self._places.needed(plugin, requirements)

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
            found = self._places.make(missing.needed, self._stop)
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
        took_s = round(time.monotonic() - started, 1)
        packages = found.environment.packages
        log.info("environment made", plugin=name, packages=packages, seconds=took_s)
        with self._news:
            self._found[missing.content_hash] = found
            if self._missing.get(name) is missing:
                del self._missing[name]
            self.revision += 1
        self.on_ready()
