"""`casparian check` on the queue's database, and on clocks that do not agree."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from casparian.adapters.queue import open_memory, open_sqlite, wall_clock_us
from casparian.app.cli._check_places import check_clocks
from casparian.app.cli._findings import Level
from casparian.domain.ports import WorkerNode
from tests.integration.check.spoilt import Project, only, project_database


def test_without_a_database_there_is_a_warning_and_none_is_made(project: Project) -> None:
    project_database(project).unlink()
    finding = only(project.check())
    assert (finding["level"], finding["where"]) == ("warning", "[database]")
    assert not project_database(project).exists()


def test_a_database_that_someone_altered(project: Project) -> None:
    with closing(sqlite3.connect(project_database(project))) as database:
        database.execute("ALTER TABLE source_root ADD COLUMN mine TEXT")
        database.commit()
    finding = only(project.check())
    assert (finding["level"], finding["where"]) == ("problem", "[database]")
    assert "altered" in finding["what"]


@pytest.mark.parametrize("spoil", ["directory", "text"])
def test_a_database_that_cannot_be_opened(project: Project, spoil: str) -> None:
    database = project_database(project)
    for file in project.directory.glob("casparian_flow.sqlite3*"):
        file.unlink()
    database.mkdir() if spoil == "directory" else database.write_text("no database\n" * 500)
    finding = only(project.check())
    assert (finding["level"], finding["where"]) == ("problem", "[database]")
    assert str(database) in finding["what"]


def test_a_database_of_another_kind(project: Project) -> None:
    url = "sqlite:///casparian_flow.sqlite3"
    project.configure(f'url = "{url}"', 'url = "oracle://ann:secret@host/queue"')
    project.config.chmod(0o600)
    findings = [f for f in project.check() if f["level"] == "problem"]
    finding = only(findings)
    assert finding["where"] == "[database]"
    assert "known: mssql, postgresql, sqlite" in finding["what"]
    assert "secret" not in finding["what"]


def test_a_worker_whose_clock_is_ahead(project: Project) -> None:
    """It has written a heartbeat that is yet to come."""
    hour_us = 3600 * 1_000_000
    with closing(open_sqlite(str(project_database(project)))) as stores:
        node = WorkerNode("w", "fast", 1, "fast/boot", 1, ("worker",))
        stores.queue.beat(node)
    with closing(sqlite3.connect(project_database(project))) as database:
        database.execute("update worker_node set heartbeat_at_us = heartbeat_at_us + ?", [hour_us])
        database.commit()
    finding = only(project.check())
    assert (finding["level"], finding["where"]) == ("problem", "clock")
    assert "the worker on fast is 3,6" in finding["what"] or "3,599" in finding["what"]
    assert "chrony" in finding["remedy"]


@pytest.mark.parametrize(("seconds", "word"), [(90, "ahead"), (-90, "behind"), (0, "")])
def test_a_database_whose_own_clock_differs(seconds: int, word: str) -> None:
    stores = open_memory()._replace(database_clock=lambda: wall_clock_us() + seconds * 1_000_000)
    finding = check_clocks(stores)
    assert finding.level is (Level.PROBLEM if word else Level.OK)
    assert (f"that of the database is 90.0 s {word}" in finding.what) == bool(word)
