"""Another program keeps the queue's database locked: the engine waits, `casparian status` names
it, and all goes on afterwards.

CASPARIAN_RESOURCES=full locks it for 60 s, which is longer than a writer waits. A normal run has
writers wait shorter instead.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator

import pytest

from casparian import Engine, Settings
from casparian.adapters.queue import sqlite_engine
from tests.support.audit import violations_of
from tests.support.project import Project, wait_for

pytestmark = pytest.mark.slow
FULL = os.environ.get("CASPARIAN_RESOURCES") == "full"
LOCKED_S = 60.0 if FULL else 2.0
BUSY_S = sqlite_engine.BUSY_S if FULL else 0.3
SINK = "parquet://./output"


@contextlib.contextmanager
def engine_of(project: Project) -> Iterator[Engine]:
    """In this process, so that its writers wait as long as the test says."""
    file = project.directory / "casparian.toml"
    file.write_text(file.read_text().replace("[worker]", "[worker]\nrenew_s = 0.5"))
    engine = Engine(Settings.load(file))
    thread = threading.Thread(target=engine.run)
    thread.start()
    try:
        yield engine
        assert thread.is_alive()
    finally:
        engine.stop()
        thread.join()
        engine.close()


def test_a_database_that_is_locked_is_waited_for(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_engine, "BUSY_S", BUSY_S)
    project.csv_to(SINK)
    project.drop("a.csv", "a\n1\n")
    with engine_of(project) as engine:
        wait_for(lambda: project.statuses() == {"COMPLETED": 1})
        with contextlib.closing(sqlite3.connect(project.database, isolation_level=None)) as db:
            db.execute("begin immediate")
            began = time.monotonic()
            project.drop("b.csv", "a\n2\n")
            wait_for(lambda: _status(project, 3), timeout=LOCKED_S + 60)
            wait_for(lambda: time.monotonic() - began > LOCKED_S, timeout=LOCKED_S + 60)
            assert project.statuses() == {"COMPLETED": 1}
            db.execute("rollback")
        wait_for(lambda: project.statuses() == {"COMPLETED": 2})
        wait_for(lambda: _status(project, 0))
        assert engine.reports.current_failures() == []
    assert sorted(project.parquet()["a"].to_pylist()) == [1, 2]
    assert violations_of(project.database) == []


def _status(project: Project, code: int) -> bool:
    """Whether `casparian status` ends with this code."""
    try:
        shown = project.casparian("status", code=code)
    except AssertionError:
        return False
    return ("cannot be used" in shown.stderr) == (code == 3)
