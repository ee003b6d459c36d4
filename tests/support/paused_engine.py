"""`casparian-engine` that stops once, in the middle of one step, until it is told to go on.

    python -m tests.support.paused_engine STEP DIRECTORY ARGUMENT...

STEP is `claim`, `stage`, `decide`, `promote`, `complete` or `clean`: it stops right before the
step's work. With `:commit` behind it, where the step is a transaction, it stops before the COMMIT.
It makes DIRECTORY/reached then, and waits for DIRECTORY/go.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from casparian.adapters.queue.jobs import SqlJobs
from casparian.adapters.queue.ledger import SqlLedger
from casparian.adapters.sink.parquet import ParquetSink
from casparian.app.cli import engine
from casparian.app.worker_context import WorkerContext

STEPS: dict[str, tuple[type, str]] = {
    "claim": (SqlJobs, "claim"),
    "stage": (WorkerContext, "finish"),
    "decide": (SqlLedger, "decide"),
    "promote": (ParquetSink, "promote"),
    "complete": (SqlLedger, "complete"),
    "clean": (SqlLedger, "fates"),
}


class Pause:
    """Once in a process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._done = False

    def __call__(self) -> None:
        with self._lock:
            if self._done:
                return
            self._done = True
        (self._directory / "reached").touch()
        while not (self._directory / "go").exists():
            time.sleep(0.02)


def patch(step: str, pause: Pause) -> None:
    name, _, before = step.partition(":")
    owner, method = STEPS[name]
    original: Callable[..., Any] = getattr(owner, method)
    inside = threading.local()

    def paused(*arguments: Any, **named: Any) -> Any:
        if not before:
            pause()
            return original(*arguments, **named)
        inside.now = True
        try:
            return original(*arguments, **named)
        finally:
            inside.now = False

    setattr(owner, method, paused)
    if before:
        commit = Connection.commit

        def late(connection: Connection) -> None:
            if getattr(inside, "now", False):
                pause()
            commit(connection)

        Connection.commit = late  # type: ignore[method-assign]


def main(step: str, directory: str, *arguments: str) -> None:
    patch(step, Pause(Path(directory)))
    engine.main(list(arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
