"""Engines of two releases on one PostgreSQL database: nothing is touched that is not known."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from casparian.adapters.queue import open_url, upgrade_url, url_schema
from casparian.adapters.queue.schema import REVISIONS
from casparian.domain.errors import SchemaVersionError
from tests.integration.test_postgresql import Shared, all_rows
from tests.support.project import wait_for

SLOW_PLUGIN = """
import time
import pyarrow.csv as pc
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        time.sleep(3600 if "slow" in file_path else 0)
        self.publish("output", pc.read_csv(file_path))
"""


def upgraded(url: str) -> None:
    """As a newer release would leave it: a column more, and stamped."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("ALTER TABLE processing_job ADD COLUMN mood TEXT")
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def contents(url: str) -> list[object]:
    """Every row of every table."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        named = "select tablename from pg_tables where schemaname = current_schema() order by 1"
        tables = [name for (name,) in connection.execute(named)]
        return [
            (t, sorted(map(repr, connection.execute(f"select * from {t}".encode()))))
            for t in tables
        ]


def test_an_older_engine_touches_nothing(tmp_path: Path, postgresql_schema: str) -> None:
    project = Shared(tmp_path / "project", postgresql_schema)
    project.drop_some(0, 3)
    assert project.drain() == 0
    upgraded(postgresql_schema)
    project.drop_some(3, 3)
    before = contents(postgresql_schema)
    for role in ("scout", "worker"):
        assert project.drain("--role", role) == 2
    project.casparian("scan", code=2)
    with pytest.raises(SchemaVersionError, match="9999"):
        open_url(postgresql_schema)
    with pytest.raises(SchemaVersionError, match="newer"):
        upgrade_url(postgresql_schema)
    assert contents(postgresql_schema) == before
    assert "9999" in project.log()
    assert project.rows() == all_rows(3)
    assert url_schema(postgresql_schema).revision == "9999"


@pytest.mark.parametrize("role", ["worker", "scout"])
def test_an_engine_that_runs_during_an_upgrade_ends(
    tmp_path: Path, postgresql_schema: str, role: str
) -> None:
    """By itself, at its next heartbeat; what it holds is left to others."""
    project = Shared(tmp_path / "project", postgresql_schema)
    toml = project.directory / "casparian.toml"
    quick = "[worker]\nlease_s = 3\nrenew_s = 0.5\nsweep_s = 0.5\ngive_up_s = 2\n"
    toml.write_text(toml.read_text().replace("[worker]\n", quick))
    project.plugin("csv_table", SLOW_PLUGIN)
    project.drop("slow.csv", "a,b\n1,2\n")
    project.casparian("scan")
    with project.running("--role", role) as engine:
        wait_for(lambda: project.query("select 1 from worker_node"))
        if role == "worker":
            wait_for(lambda: project.statuses() == {"RUNNING": 1})
        upgraded(postgresql_schema)
        assert engine.wait(60) == 2
    assert "was upgraded to schema 9999 while this" in project.log()
    # What a newer release would find: the job, for it to do again.
    with psycopg.connect(postgresql_schema.replace("+psycopg", "")) as connection:
        connection.execute(b"UPDATE alembic_version SET version_num = %s", (REVISIONS[-1],))
        connection.execute("ALTER TABLE processing_job DROP COLUMN mood")
    (project.inbox / "slow.csv").unlink()
    project.plugin("csv_table", SLOW_PLUGIN.replace("3600", "0"))
    project.drop_some(0, 2)
    assert project.drain() in (0, 1)
    assert project.statuses().get("COMPLETED") == 2
