"""The engine with its rows in PostgreSQL: corrected, purged, shared, and a server that is away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import postgresql_sink
from tests.support.postgres_server import Server, new_schema
from tests.support.project import Project, wait_for


class Published(Project):
    """A project whose rows go to a schema of a server; its queue is a file, or there too."""

    def __init__(self, directory: Path, url: str, schema: str, queue_url: str = "") -> None:
        super().__init__(directory)
        self.url, self.schema = url, schema
        server = f'[database]\nurl = "{queue_url}"' if queue_url else ""
        server = server or f'[sinks.postgresql]\nurl = "{url}"'
        self.csv_to(f"postgresql://{schema}.{{topic}}", server)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        with postgresql_sink.connected(self.url) as session:
            return session.rows(sql.replace("SCHEMA", self.schema))

    def rows(self) -> Counter[tuple[int, int]]:
        return Counter(self.ask("SELECT a, b FROM SCHEMA.output"))


@pytest.fixture
def schema(postgresql_url: str) -> Iterator[str]:
    with postgresql_sink.random_schema(postgresql_url) as name:
        yield name


def test_a_file_is_published_corrected_and_purged(
    tmp_path: Path, postgresql_url: str, schema: str
) -> None:
    project = Published(tmp_path / "project", postgresql_url, schema)
    project.drop("one.csv", "a,b\n1,1\n1,2\n")
    project.drop("two.csv", "a,b\n2,1\n")
    assert project.drain() == 0, project.log()
    assert project.rows() == Counter([(1, 1), (1, 2), (2, 1)])
    project.drop("one.csv", "a,b,c\n1,7,x\n")
    assert project.drain() == 0, project.log()
    assert project.rows() == Counter([(1, 7), (2, 1)])
    assert project.ask("SELECT c FROM SCHEMA.output ORDER BY a") == [("x",), (None,)]
    project.casparian("check", "--deep")
    project.casparian("purge", "--path", "one.csv", "--yes")
    assert project.rows() == Counter([(2, 1)])
    assert project.ask("SELECT count(*) FROM SCHEMA._casparian_staging") == [(0,)]
    assert "COMPLETED" in project.casparian("trace", "2").stdout


def test_engines_share_queue_and_target_on_one_server(
    tmp_path: Path, postgresql_url: str, schema: str
) -> None:
    """The sink finds the server by the queue's url."""
    with new_schema(postgresql_url) as queue_url:
        project = Published(tmp_path / "project", postgresql_url, schema, queue_url)
        for turn in range(2):
            for n in range(30):
                project.drop(f"{n}.csv", f"a,b\n{n},{turn}\n")
            with project.running("--role", "worker"):
                assert project.drain() == 0, project.log()
            assert project.rows() == Counter((n, turn) for n in range(30))


def test_a_server_that_restarts_costs_no_attempt(tmp_path: Path, postgresql_server: Server) -> None:
    """The queue is a file here: the sink alone is away."""
    project = Published(tmp_path / "project", postgresql_server.url, "rows")
    for n in range(60):
        project.drop(f"{n}.csv", f"a,b\n{n},0\n")
    with project.running() as engine:
        for wanted in (1, 20):
            wait_for(lambda n=wanted: project.statuses().get("COMPLETED", 0) >= n)
            postgresql_server.restart()
        wait_for(lambda: project.statuses() == {"COMPLETED": 60})
        assert engine.poll() is None
    assert project.rows() == Counter((n, 0) for n in range(60))
    assert set(project.query("select tries, crashes from processing_job")) == {(0, 0)}
    assert project.ask("SELECT count(*) FROM SCHEMA._casparian_staging") == [(0,)]


def test_an_engine_has_as_many_connections_as_threads_that_work_with_the_server(
    tmp_path: Path, postgresql_server: Server
) -> None:
    """Queue: feeder, publisher, keeper, scout, its lease, notices. Sink: writers and publisher.
    Nobody else is at the server, whose connections would be counted."""
    with new_schema(postgresql_server.url) as queue_url:
        project = Published(tmp_path / "project", postgresql_server.url, "rows", queue_url)
        for n in range(200):
            project.drop(f"{n}.csv", f"a,b\n{n},0\n")
        most = {"casparian": 0, "casparian sink": 0}
        engine = project.start("--drain")
        with postgresql_sink.connected(postgresql_server.url) as session:
            while engine.poll() is None:
                counted = session.rows(
                    "SELECT application_name, count(*) FROM pg_stat_activity "
                    "WHERE application_name LIKE 'casparian%' AND pid <> pg_backend_pid() "
                    "GROUP BY 1"
                )
                session.commit()
                for name, count in counted:
                    most[name] = max(most[name], count)
        assert engine.wait() == 0, project.log()
        assert project.rows() == Counter((n, 0) for n in range(200))
        assert 1 <= most["casparian"] <= 8, most
        assert 1 <= most["casparian sink"] <= 5, most
