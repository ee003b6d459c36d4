"""The power of a running engine's disks goes in place of a call that changes files.

Every version says what it is. Meanwhile somebody watches the queue: what was seen COMPLETED
before the cut is COMPLETED after it.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.audit import violations_of
from tests.support.crash_points import TIMEOUT_S, seeded, struck, until_killed
from tests.support.disks import Disk
from tests.support.project import Project, read_parquet

ROWS = 200
FILES = "abcd"
SINKS = {"parquet": "parquet://./out/rows", "sqlite": "sqlite://out/rows.db/output"}
COMPLETED = "select id from processing_job where status = 'COMPLETED'"


class OnDisks(Project):
    """The queue on one disk, what is published on the other; the inbox is on neither."""

    def __init__(self, directory: Path, system: str, kind: str) -> None:
        super().__init__(directory)
        self.kind = kind
        self.disks = [Disk.made(directory / name, system) for name in ("queue", "out")]
        self.csv_to(SINKS[kind], '[database]\nurl = "sqlite:///queue/queue.sqlite3"\n')
        self.versions = dict.fromkeys(FILES, 0)

    @property
    def database(self) -> Path:
        return self.directory / "queue" / "queue.sqlite3"

    def correct(self, name: str) -> None:
        """The next version of a file."""
        self.versions[name] += 1
        lines = "".join(f"{name},{self.versions[name]},{n}\n" for n in range(ROWS))
        self.drop(f"{name}.csv", f"name,version,n\n{lines}")

    def published(self) -> Counter[tuple[str, int]]:
        """Rows of each version; none is there twice."""
        if self.kind == "parquet":
            rows = read_parquet(self.directory / "out" / "rows" / "output").to_pylist()
            seen = [(r["name"], r["version"], r["n"]) for r in rows]
        else:
            with contextlib.closing(sqlite3.connect(self.directory / "out" / "rows.db")) as db:
                seen = db.execute("select name, version, n from output").fetchall()
        assert len(set(seen)) == len(seen)
        return Counter((name, version) for name, version, _ in seen)

    def completed(self) -> set[int]:
        return {job for (job,) in self.query(COMPLETED)}

    def check(self) -> None:
        assert self.published() == dict.fromkeys(self.versions.items(), ROWS)
        assert self.statuses() == {"COMPLETED": sum(self.versions.values())}
        assert violations_of(self.database) == []


class Watcher(threading.Thread):
    """Which jobs were seen COMPLETED, as long as the queue can be read."""

    def __init__(self, database: Path) -> None:
        super().__init__(daemon=True)
        self.seen: set[int] = set()
        self._database, self._end = database, threading.Event()

    def run(self) -> None:
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(self._database, timeout=30)) as db,
        ):
            while not self._end.is_set():
                self.seen |= {job for (job,) in db.execute(COMPLETED)}

    def end(self) -> set[int]:
        self._end.set()
        self.join()
        return self.seen


@pytest.fixture
def chance() -> random.Random:
    return seeded()


@pytest.fixture
def on_disks(tmp_path: Path, system: str, kind: str) -> Iterator[OnDisks]:
    project = OnDisks(tmp_path / "project", system, kind)
    yield project
    for disk in project.disks:
        disk.remove()


CASES = [("ext4", "parquet"), ("xfs", "sqlite")]
if os.environ.get("CASPARIAN_POWER") == "full":
    CASES += [("xfs", "parquet"), ("ext4", "sqlite")]


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize(("system", "kind"), CASES)
def test_corrections_survive_a_power_cut_at_any_call(
    on_disks: OnDisks, shim: Path, chance: random.Random
) -> None:
    project = on_disks
    calls = project.directory / "calls"
    shimmed = {"CRASH_LOG": str(calls)}
    for name in FILES:
        project.correct(name)
    assert project.drain() == 0, project.log()
    for name in FILES:
        project.correct(name)
    assert project.drain(shim=shim, **shimmed) == 0, project.log()
    project.check()
    total = len(calls.read_text().splitlines())
    cut_at: Counter[str] = Counter()
    for point in until_killed(total, chance, cut_at):
        for name in FILES:
            project.correct(name)
        calls.unlink()
        watcher = Watcher(project.database)
        watcher.start()
        code = project.drain(
            shim=shim,
            **shimmed,
            CRASH_AT=str(point),
            CRASH_CUT=":".join(str(disk.path) for disk in project.disks),
        )
        said = watcher.end()
        made = calls.read_text(errors="replace").splitlines()
        story = f"call {point}: {made[-1]}"
        if struck(code, point, made):
            cut_at[made[-1].split()[1]] += 1
            for disk in project.disks:
                disk.power_up()
        assert said <= project.completed(), f"{story}: completed jobs are lost"
        assert project.drain() == 0, f"{story}\n{project.log()[-4000:]}"
        project.check()
    print(f"{total} calls, cut in {cut_at.total()}: {dict(cut_at)}")
