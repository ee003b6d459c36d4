"""Engines on one PostgreSQL database: shared work, kills, and a server that goes away."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import bindparam, update

from casparian.adapters.queue.postgresql import (
    PostgresqlDialect,
    open_database,
    open_stores,
)
from casparian.adapters.queue.statements import execute_many, insert_of, insert_rows, row_insert
from casparian.adapters.queue.tables.publishing import publish_slot
from casparian.domain.errors import UnavailableError
from casparian.domain.files import Sighting, StatIdentity
from casparian.domain.ports import Applied
from tests.support.postgres_server import Server, new_schema
from tests.support.project import Project, read_parquet, wait_for

ROWS = 5


class Shared(Project):
    """A project whose queue is in PostgreSQL."""

    def __init__(self, directory: Path, url: str) -> None:
        super().__init__(directory)
        self.url = url
        self.csv_to("parquet://out", f'[database]\nurl = "{url}"')

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Nothing while the tables are still being made."""
        with (
            contextlib.suppress(psycopg.errors.UndefinedTable),
            psycopg.connect(self.url.replace("+psycopg", "")) as connection,
        ):
            return connection.execute(sql.encode(), values).fetchall()
        return []

    def statuses(self) -> dict[str, int]:
        return dict(self.query("select status, count(*) from processing_job group by status"))

    def drop_some(self, first: int, count: int) -> None:
        for n in range(first, first + count):
            self.drop(f"{n:04d}.csv", "a,b\n" + "".join(f"{n},{i}\n" for i in range(ROWS)))

    def rows(self) -> Counter[tuple[int, int]]:
        table = read_parquet(self.directory / "out" / "output")
        return Counter(zip(table["a"].to_pylist(), table["b"].to_pylist(), strict=True))


def all_rows(count: int) -> Counter[tuple[int, int]]:
    return Counter((n, i) for n in range(count) for i in range(ROWS))


@pytest.fixture
def project(tmp_path: Path, postgresql_schema: str) -> Shared:
    return Shared(tmp_path / "project", postgresql_schema)


def test_workers_share_the_work_whatever_is_killed(project: Shared) -> None:
    project.drop_some(0, 150)
    with project.running("--role", "scout"), project.running("--role", "worker"):
        victim = project.start("--role", "worker")
        wait_for(lambda: project.statuses().get("COMPLETED", 0) > 0)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        project.drop_some(150, 50)
        wait_for(lambda: project.statuses() == {"COMPLETED": 200})
    assert project.rows() == all_rows(200)
    assert project.stagings() == []
    assert project.query("select * from publish_slot where holder is not null") == []


def test_a_file_found_by_one_process_is_taken_by_another_at_once(project: Shared) -> None:
    with project.running("--role", "scout"), project.running("--role", "worker"):
        wait_for(lambda: project.query("select 1 from worker_node"))
        project.drop_some(0, 1)
        wait_for(lambda: project.statuses() == {"COMPLETED": 1})
    # Announced, not found by the worker's next look: it was claimed within half a second.
    ((waited,),) = project.query("select started_at_us - enqueued_at_us from processing_job")
    assert waited < 500_000


def test_a_server_that_restarts_costs_no_attempt(tmp_path: Path, postgresql_server: Server) -> None:
    with new_schema(postgresql_server.url) as url:
        project = Shared(tmp_path / "project", url)
        project.drop_some(0, 100)
        with project.running() as engine:
            for wanted in (1, 40):
                wait_for(lambda n=wanted: project.statuses().get("COMPLETED", 0) >= n)
                postgresql_server.restart()
            wait_for(lambda: project.statuses() == {"COMPLETED": 100})
            assert engine.poll() is None
        assert project.rows() == all_rows(100)
        assert project.stagings() == []
        assert set(project.query("select tries, crashes from processing_job")) == {(0, 0)}


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("kind", ["insert", "update", "plain insert"])
def test_a_transaction_that_is_left_open_is_ended_by_the_server(
    postgresql_schema: str, kind: str, rows: int
) -> None:
    """Whatever the last statement was: none may leave the server's timer off."""
    database = open_database(postgresql_schema)
    slots = [{"plugin_name": "p", "location_id": n} for n in range(rows)]
    names = ("plugin_name", "location_id")
    moved = update(publish_slot).where(publish_slot.c.location_id == bindparam("b_id"))
    values = [{"b_id": n, "holder": n} for n in range(rows)]

    def leave_open() -> None:
        with database.write() as connection:
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            usual = connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout")
            assert usual.scalar_one() == "10s"
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '200ms'")
            if kind == "insert":
                execute_many(connection, insert_of(publish_slot, *names), slots)
            elif kind == "update":
                execute_many(connection, moved.values(holder=bindparam("holder")), values)
            else:
                into = row_insert(publish_slot, *names)
                insert_rows(connection, into, [("p", n) for n in range(rows)])
            wait_for(lambda: not served(pid))

    def served(pid: int) -> bool:
        with database.read() as connection:
            found = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
            return connection.exec_driver_sql(found, (pid,)).first() is not None

    try:
        with pytest.raises(UnavailableError, match="idle-in-transaction"):
            leave_open()
    finally:
        database.close()


def test_an_engine_that_starts_while_the_database_is_held_waits_for_its_turn(
    project: Shared, postgresql_schema: str
) -> None:
    """As while another program migrates it: the lock is held longer than is waited for it."""
    project.drop_some(0, 3)
    assert project.drain() == 0, project.log()
    project.drop_some(3, 3)
    hasty = f"{postgresql_schema}%20-clock_timeout%3D100ms"
    project.csv_to("parquet://out", f'[database]\nurl = "{hasty}"')
    hold = "SELECT pg_advisory_xact_lock(hashtext('casparian'), hashtext(current_schema()))"

    def waited() -> int:
        return project.log().count("the start waits")

    with psycopg.connect(project.url.replace("+psycopg", "")) as holder:
        holder.execute(hold)
        with project.running() as engine:
            wait_for(lambda: waited() > 1)
            assert "is held by another program" in project.log()
            holder.rollback()
            wait_for(lambda: project.rows() == all_rows(6))
            assert engine.poll() is None
        holder.execute(hold)
        before = waited()
        engine = project.start()
        wait_for(lambda: waited() > before)
        engine.terminate()
        assert engine.wait(30) == 0, project.log()


def test_the_longest_path_that_is_said_to_fit_does(postgresql_schema: str, tmp_path: Path) -> None:
    """With names that the server cannot compress, as it does with what is long."""
    stores = open_stores(postgresql_schema)
    try:
        stores.store.apply(Applied((os.fsencode(tmp_path),), (), (), ()))
        (root,) = stores.catalog.roots()
        longest = PostgresqlDialect.longest_path
        path = random.Random(1).randbytes(longest).replace(b"\0", b"x")
        sighting = Sighting(path, StatIdentity(1, 2, 3, 4, 5), "c" * 64)
        stores.catalog.record(root.id, [sighting], stores.store.routing())
        assert stores.catalog.find(root.id, path) is not None
    finally:
        stores.close()
