"""`casparian adopt`, killed in place of each call by which it changes files, then run again."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from casparian.adapters.queue import open_sqlite
from casparian.adapters.sink.parquet import ParquetSink
from casparian.adapters.sink.sqlite import SqliteSink
from casparian.app.sink_guard import owners
from casparian.domain.adoption import Owner
from tests.support import forked
from tests.support.audit import violations_of
from tests.support.crash_points import TIMEOUT_S, covered, seeded, struck, until_killed
from tests.support.project import FAST, Project, read_parquet

FILES = ("a", "b", "c")

PLUGIN = """
import pyarrow.csv as pc
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        table = pc.read_csv(file_path)
        self.publish("output", table)
        self.publish("extra", table)
"""

Row = tuple[str, int]


def rows(project: Project) -> tuple[Counter[Row], Counter[Row]]:
    """What readers see in both places."""
    table = read_parquet(project.directory / "out" / "output")
    parquet = Counter((r["name"], r["version"]) for r in table.to_pylist())
    with closing(sqlite3.connect(project.directory / "out.db")) as db:
        return parquet, Counter(db.execute("select name, version from extra"))


def station(project: Project, mode: str) -> None:
    """Rows of a queue that is lost, and a new one that has scanned the files."""
    project.plugin("lines", PLUGIN)
    project.configure(
        f"""{FAST}
[[source_root]]
path = "inbox"
[[rule]]
pattern = "*.csv"
tag = "csv"
[plugin.lines]
tags = ["csv"]
[plugin.lines.topics.output]
sink = "parquet://./out"
mode = "{mode}"
[plugin.lines.topics.extra]
sink = "sqlite://out.db/extra"
mode = "{mode}"
"""
    )
    for version in (1, 2):
        for name in FILES:
            project.drop(f"{name}.csv", f"name,version\n{name},{version}\n")
        assert project.drain() == 0
    for path in project.directory.glob("casparian_flow.sqlite3*"):
        path.unlink()
    project.drop("0.csv", "name,version\nnew,1\n")
    (project.inbox / "c.csv").unlink()
    project.casparian("scan")


def adopt(project: Project, shim: Path, at: int | None = None) -> tuple[int, list[str]]:
    """The exit code, and the calls that were made."""
    log = project.directory.parent / "calls"
    log.unlink(missing_ok=True)
    environment = {**os.environ, "CRASH_LOG": str(log)}
    if at is not None:
        environment["CRASH_AT"] = str(at)
    done = forked.run(
        "casparian", "adopt", "--all", "--yes",
        cwd=project.directory, env=environment, shim=shim,
    )  # fmt: skip
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode, log.read_text(errors="replace").splitlines()


def strangers(project: Project) -> set[Owner]:
    """Whose rows the targets hold."""
    with closing(open_sqlite(str(project.database), create=False)) as stores:
        sinks = (
            ParquetSink(str(project.directory / "out")),
            SqliteSink(str(project.directory / "out.db")),
        )
        return {owner for sink in sinks for _, _, owner in owners(sink, stores.ledger)}


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("mode", ["replace", "append"])
def test_a_killed_adoption_is_finished_by_the_next(
    project: Project, shim: Path, tmp_path: Path, mode: str
) -> None:
    station(project, mode)
    before = rows(project)
    pristine = tmp_path / "pristine"
    shutil.copytree(project.directory, pristine, symlinks=True)

    def reset() -> None:
        shutil.rmtree(project.directory)
        shutil.copytree(pristine, project.directory, symlinks=True)

    code, calls = adopt(project, shim)
    assert code == 0
    assert strangers(project) == {Owner.MINE}
    killed: Counter[str] = Counter()
    for at in until_killed(len(calls), seeded(), killed):
        reset()
        code, made = adopt(project, shim, at)
        if struck(code, at, made):
            killed[made[-1].split()[1]] += 1
        where = f"call {at} of {len(calls)}: {made[-1]}, exit {code}"
        assert rows(project) == before, where
        project.casparian("adopt", "--all", "--yes")
        assert rows(project) == before, where
        assert strangers(project) == {Owner.MINE}, where
        assert violations_of(project.database) == [], where
    covered(f"{mode}, adoptions", len(calls), killed)
    assert project.drain() == 0
    after = rows(project)
    new = Counter({("new", 1): 1})
    assert after == (before[0] + new, before[1] + new)
    assert violations_of(project.database) == []
    project.drop("c.csv", "name,version\nc,2\n")
    assert project.drain() == 0
    assert rows(project) == after
