"""kill -9 at any moment, files corrected in place meanwhile: rows exact, readers never misled."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from casparian import Settings
from tests.support import postgresql_sink
from tests.support.audit import violations_by
from tests.support.project import Project, read_parquet, wait_for

FILES = 12
ROWS = 400
ROUNDS = 3

SINKS = {"parquet": "parquet://./output", "sqlite": "sqlite://out.db/output"}


def content(name: str, version: int, rows: int = ROWS) -> str:
    """A file all of whose rows say which file and version they are of."""
    lines = "".join(f"{name},{version},{n}\n" for n in range(rows))
    return f"name,version,n\n{lines}"


def groups_parquet(project: Project) -> list[tuple[str, int, int]]:
    table = read_parquet(project.directory / "output" / "output")
    if table.num_rows == 0:
        return []
    counts = table.group_by(["name", "version"]).aggregate(
        [("n", "count_distinct"), ("n", "count")]
    )
    rows = counts.to_pylist()
    assert all(r["n_count"] == r["n_count_distinct"] for r in rows), f"doubled rows: {rows}"
    return [(r["name"], r["version"], r["n_count"]) for r in rows]


def groups_sqlite(project: Project) -> list[tuple[str, int, int]]:
    path = project.directory / "out.db"
    if not path.exists():
        return []
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    try:
        rows = connection.execute(
            "select name, version, count(*), count(distinct n) from output group by 1, 2"
        ).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        raise
    finally:
        connection.close()
    assert all(r[2] == r[3] for r in rows), f"doubled rows: {rows}"
    return [(r[0], r[1], r[2]) for r in rows]


def groups_postgresql(project: Project) -> list[tuple[str, int, int]]:
    url, schema = project.server, project.schema
    with postgresql_sink.connected(url) as session:
        if not session.rows(f"SELECT 1 WHERE to_regclass('{schema}.output') IS NOT NULL"):
            return []
        rows = session.rows(
            f"SELECT name, version, count(*), count(DISTINCT n) FROM {schema}.output GROUP BY 1, 2"
        )
    assert all(r[2] == r[3] for r in rows), f"doubled rows: {rows}"
    return [(r[0], r[1], r[2]) for r in rows]


READERS = {
    "parquet": groups_parquet,
    "sqlite": groups_sqlite,
    "postgresql": groups_postgresql,
}


@pytest.fixture
def publishing(project: Project, kind: str, request: pytest.FixtureRequest) -> Iterator[Project]:
    """The project, with the sink configured."""
    if kind != "postgresql":
        project.csv_to(SINKS[kind])
        yield project
        return
    project.server = request.getfixturevalue("postgresql_url")
    with postgresql_sink.random_schema(project.server) as project.schema:
        server = f'[sinks.postgresql]\nurl = "{project.server}"'
        project.csv_to(f"postgresql://{project.schema}.output", server)
        yield project


class Reader(threading.Thread):
    """Reads without pause, and notes every state that must never be seen."""

    def __init__(self, project: Project, kind: str) -> None:
        super().__init__(daemon=True)
        self.project, self.read = project, READERS[kind]
        self.stop = threading.Event()
        self.reads, self.wrong = 0, []

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                groups = self.read(self.project)
            except AssertionError as error:
                self.wrong.append(str(error))
                continue
            self.reads += 1
            names = Counter(name for name, _, _ in groups)
            torn = [g for g in groups if g[2] != ROWS]
            mixed = [name for name, count in names.items() if count > 1]
            if torn or mixed:
                self.wrong.append(f"torn {torn} mixed {mixed}")


VICTIMS = [(kind, v) for kind in SINKS for v in ("engine", "sidecar", "both")]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "victims"), [*VICTIMS, ("postgresql", "both")])
def test_killed_at_random(publishing: Project, kind: str, victims: str) -> None:
    project = publishing
    seed = int(os.environ.get("CASPARIAN_TEST_SEED", random.randrange(1 << 30)))
    chance = random.Random(seed)
    versions = {f"file{n}": 1 for n in range(FILES)}
    publish_atomically(project, versions)

    reader = Reader(project, kind)
    reader.start()
    try:
        for _ in range(ROUNDS):
            with project.running() as engine:
                wait_for(lambda: project.database.exists() and "worker started" in project.log())
                for name in chance.sample(sorted(versions), 4):
                    versions[name] += 1
                    publish_atomically(project, {name: versions[name]})
                threading.Event().wait(chance.uniform(0.05, 1.5))
                if victims in ("sidecar", "both"):
                    for pid in project.sidecar_pids(engine.pid):
                        kill(pid)
                if victims in ("engine", "both"):
                    kill(engine.pid)
                    engine.wait()
        code = project.drain()
    finally:
        reader.stop.set()
        reader.join()

    context = f"seed {seed}\n{project.log()[-3000:]}"
    assert code == 0, context
    assert sorted(READERS[kind](project)) == sorted(
        (name, version, ROWS) for name, version in versions.items()
    ), context
    assert project.stagings() == [], context
    settings = Settings.load(project.directory / "casparian.toml")
    assert violations_by(settings) == [], context
    assert reader.wrong == [], context
    assert reader.reads > 0


def publish_atomically(project: Project, versions: dict[str, int]) -> None:
    """Write beside the inbox, then rename: each version is whole when it appears."""
    for name, version in versions.items():
        part = project.directory / f"{name}.csv"
        part.write_text(content(name, version))
        os.replace(part, project.inbox / f"{name}.csv")


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_reader_helper_sees_what_is_wrong(tmp_path: Path) -> None:
    """The reader above must be able to fail."""
    project = Project(tmp_path / "p")
    import pyarrow as pa

    place = project.directory / "output" / "output" / "x"
    place.mkdir(parents=True)
    pq.write_table(
        pa.table({"name": ["a", "a"], "version": [1, 2], "n": [0, 0]}), place / "x.parquet"
    )
    reader = Reader(project, "parquet")
    reader.start()
    wait_for(lambda: reader.wrong)
    reader.stop.set()
    reader.join()
