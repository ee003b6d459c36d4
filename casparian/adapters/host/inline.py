"""Plugins in threads of the engine: no isolation, no limits, easy to debug.

The same runtime as in a sidecar process. A thread cannot be killed: `kill` reports its end
and closes its session, and a plugin that never returns keeps its thread.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import traceback
from collections.abc import Callable, Mapping

from casparian.domain.ports import Connection, SidecarExit, SidecarSpec
from casparian.sdk.loader import load_handler
from casparian.sdk.runtime import Runtime

NO_SANDBOX = "none: it runs in the engine's process"


class InlineHost:
    """The `inline` plugin host: the guide's in-process worker."""

    def __init__(
        self,
        on_exit: Callable[[], None],
        connect: Callable[[str, Mapping[str, str]], Connection],
    ) -> None:
        self._on_exit = on_exit
        self._connect = connect
        self._exits: queue.SimpleQueue[SidecarExit] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._running: dict[str, threading.Thread] = {}

    def start(self, spec: SidecarSpec) -> None:
        thread = threading.Thread(
            target=self._run, args=(spec,), name=f"casparian-inline-{spec.plugin.name}", daemon=True
        )
        with self._lock:
            self._running[spec.session] = thread
        thread.start()

    def _run(self, spec: SidecarSpec) -> None:
        code, tail = 0, ""
        connection: Connection | None = None
        try:
            connection = self._connect(spec.endpoint, spec.access)
            Runtime(connection, spec.session, spec.heartbeat_s, sandbox=NO_SANDBOX).run(
                spec.plugin.name,
                spec.plugin.content_hash,
                os.getpid(),
                lambda: load_handler(spec.plugin.name, spec.code),
                spec.plugin.config.settings,
            )
        except BaseException:
            code, tail = 1, traceback.format_exc()
        finally:
            if connection is not None:
                connection.close()
        self._report(SidecarExit(spec.session, code, tail))

    def kill(self, session: str) -> None:
        self._report(SidecarExit(session, -9, "given up; its thread may still run"))

    def _report(self, exit_: SidecarExit) -> None:
        with self._lock:
            known = self._running.pop(exit_.session, None)
        if known is not None:
            self._exits.put(exit_)
            self._on_exit()

    def exits(self) -> list[SidecarExit]:
        ended = []
        with contextlib.suppress(queue.Empty):
            while True:
                ended.append(self._exits.get_nowait())
        return ended

    def close(self) -> None:
        with self._lock:
            sessions = list(self._running)
        for session in sessions:
            self.kill(session)
