"""Databases that are none, and disks without room: told in words, and nothing lost by them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from casparian import Engine, Settings
from casparian.app.cli._shared import exit_code
from casparian.domain.errors import CasparianError
from tests.support.audit import violations_of
from tests.support.disks import SmallDisk
from tests.support.project import Project, wait_for

PARQUET = "parquet://./output"


# --- the queue's database ---------------------------------------------------------------


def no_database(file: Path) -> None:
    file.write_bytes(b"a letter to somebody\n" * 1000)


def truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def cut_in_its_first_page(file: Path) -> None:
    os.truncate(file, 1000)


def overwritten_in_the_middle(file: Path) -> None:
    with file.open("r+b") as database:
        database.seek(4096)
        database.write(b"\xff" * (file.stat().st_size - 4096))


def newer(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("update alembic_version set version_num = '9999'")
        db.commit()


def of_another_program(file: Path) -> None:
    file.unlink()
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("create table processing_job (id integer, mine text)")
        db.commit()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (no_database, 2, "no SQLite database"),
        (truncated, 3, "malformed"),
        (cut_in_its_first_page, 3, "malformed"),
        (overwritten_in_the_middle, 3, "malformed"),
        (newer, 2, "casparian upgrade"),
        (of_another_program, 2, "another program"),
    ],
)
def test_a_database_that_cannot_be_used_is_left_as_it_is(
    project: Project, made: bytes, spoil: Callable[[Path], None], code: int, said: str
) -> None:
    project.csv_to(PARQUET)
    project.drop("a.csv", "a\n1\n")
    project.database.write_bytes(made)
    spoil(project.database)
    before = project.database.read_bytes()
    engine = Engine(Settings.load(project.directory / "casparian.toml"))
    with pytest.raises(CasparianError, match=said) as caught:
        engine.drain()
    engine.close()
    assert exit_code(caught.value) == code
    assert project.database.read_bytes() == before
    assert not list(project.directory.rglob("*.parquet"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a database with a queue in it."""
    project = Project(tmp_path_factory.mktemp("t") / "project")
    project.csv_to(PARQUET)
    for number in range(20):
        project.drop(f"{number}.csv", f"a\n{number}\n")
    assert project.drain() == 0, project.log()
    with contextlib.closing(sqlite3.connect(project.database)) as db:
        db.execute("pragma wal_checkpoint(truncate)")
    return project.database.read_bytes()


# --- disks ------------------------------------------------------------------------------


ROWS = 100_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "sink", ["parquet://./disk/output", "sqlite://disk/out.db/{topic}"], ids=["parquet", "sqlite"]
)
def test_a_full_disk_is_waited_out(project: Project, disk: SmallDisk, sink: str) -> None:
    """The engine lives, other sinks go on, the job costs no try and ends once there is room."""
    project.csv_to(sink.format(topic="output"))
    project.plugin("other", (project.plugins / "csv_table.py").read_text())
    file = project.directory / "casparian.toml"
    file.write_text(
        file.read_text()
        + f'[plugin.other]\ntags = ["csv"]\n[plugin.other.topics.output]\nsink = "{PARQUET}"\n'
    )
    with project.running() as engine:
        wait_for(lambda: "worker started" in project.log())
        disk.fill(leaving=64 << 10)
        project.drop("a.csv", "a\n" + "".join(f"{n * 7919 % 1000003}\n" for n in range(ROWS)))
        waits = "select error_class, tries from processing_job where plugin_name = 'csv_table'"
        wait_for(lambda: project.statuses() and project.query(waits) == [("INFRASTRUCTURE", 0)])
        wait_for(lambda: project.statuses().get("COMPLETED") == 1)
        assert project.parquet().num_rows == ROWS
        assert engine.poll() is None
        disk.make_room()
        wait_for(lambda: project.statuses() == {"COMPLETED": 2})
        assert engine.poll() is None
    assert engine.returncode == 0
    if sink.startswith("parquet"):
        rows = project.parquet(root="disk/output")["a"].to_pylist()
        assert os.listdir(disk.path / ".output.casparian" / "staging") == []
    else:
        with contextlib.closing(sqlite3.connect(disk.path / "out.db")) as db:
            rows = [a for (a,) in db.execute("select a from output")]
    assert sorted(rows) == sorted(n * 7919 % 1000003 for n in range(ROWS))


def _refused_status(project: Project) -> subprocess.CompletedProcess[str] | None:
    """What `casparian status` says once it ends with 3."""
    with contextlib.suppress(AssertionError):
        return project.casparian("status", code=3)
    return None


@pytest.mark.slow
def test_a_full_disk_of_the_queue_is_waited_out(project: Project, disk: SmallDisk) -> None:
    project.csv_to(PARQUET, '[database]\nurl = "sqlite:///disk/queue.sqlite3"\n')
    file = project.directory / "casparian.toml"
    file.write_text(file.read_text().replace("[worker]", "[worker]\nrenew_s = 0.5"))
    queue = disk.path / "queue.sqlite3"

    def statuses() -> dict[str, int]:
        with contextlib.closing(sqlite3.connect(queue, timeout=30)) as db:
            return dict(
                db.execute("select status, count(*) from processing_job group by status").fetchall()
            )

    with project.running() as engine:
        wait_for(lambda: "worker started" in project.log())
        project.drop("a.csv", "a\n1\n")
        wait_for(lambda: statuses() == {"COMPLETED": 1})
        disk.fill()
        for number in range(300):
            project.drop(f"more/{number}.csv", f"a\n{number}\n")
        wait_for(lambda: "full" in project.log(), timeout=60)
        assert engine.poll() is None
        shown = wait_for(lambda: _refused_status(project))
        assert "the disk is full" in shown.stderr
        assert "the disk is full" in shown.stdout
        disk.make_room()
        wait_for(lambda: statuses() == {"COMPLETED": 301}, timeout=100)
        assert engine.poll() is None, project.log()
    assert engine.returncode == 0
    assert sorted(project.parquet()["a"].to_pylist()) == sorted([1, *range(300)])


@pytest.mark.slow
def test_a_queue_database_that_is_taken_away_is_waited_for(project: Project) -> None:
    """SQLite would go on in the file that nobody sees any more: what is published then would be
    known to no queue after the next start."""
    project.csv_to("parquet://./output")
    project.drop("a.csv", "n\n1\n")
    aside = project.directory / "aside.sqlite3"
    with project.running() as engine:
        wait_for(lambda: project.statuses().get("COMPLETED") == 1)
        project.database.rename(aside)
        project.drop("b.csv", "n\n2\n")
        wait_for(lambda: "was removed or renamed since it was opened" in project.log())
        assert not project.database.exists(), "an empty one was made in its place"
        assert project.parquet()["n"].to_pylist() == [1]
        assert engine.poll() is None
        aside.rename(project.database)
        wait_for(lambda: project.statuses().get("COMPLETED") == 2)
    assert sorted(project.parquet()["n"].to_pylist()) == [1, 2]
    assert violations_of(project.database) == []


@pytest.mark.slow
def test_a_queue_database_that_is_replaced_is_not_written_to(project: Project) -> None:
    project.csv_to("parquet://./output")
    project.drop("a.csv", "n\n1\n")
    with project.running():
        wait_for(lambda: project.statuses().get("COMPLETED") == 1)
        other = project.directory / "other.sqlite3"
        with closing(sqlite3.connect(project.database)) as db:
            db.execute("vacuum into ?", (str(other),))
        os.replace(other, project.database)
        project.drop("b.csv", "n\n2\n")
        wait_for(lambda: "is another file than the one that was opened" in project.log())
        assert project.parquet()["n"].to_pylist() == [1]
    assert project.drain() == 0, project.log()
    assert sorted(project.parquet()["n"].to_pylist()) == [1, 2]
    assert violations_of(project.database) == []
