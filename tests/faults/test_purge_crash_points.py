"""SIGKILL in place of calls by which a purge changes files: all rows go, or none."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import forked
from tests.support.audit import violations_of
from tests.support.crash_points import TIMEOUT_S, covered, seeded, struck, until_killed
from tests.support.project import FAST, Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(TIMEOUT_S)]
SINKS = {
    "parquet": {"output": "parquet://./out", "extra": "parquet://./out"},
    "sqlite": {"output": "sqlite://out.db/output", "extra": "sqlite://out.db/extra"},
    "both": {"output": "parquet://./out", "extra": "sqlite://out.db/extra"},
}
PLUGIN = """
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        with open(file_path) as file:
            text = file.read()
        for topic in ("output", "extra"):
            self.publish(topic, [{"v": text, "n": n} for n in range(5)])
"""


class Purges:
    """A project with a file that is purged again and again, and one that never is."""

    def __init__(self, project: Project, shim: Path, kind: str, mode: str) -> None:
        self.project, self.shim, self.kind, self.mode = project, shim, kind, mode
        topics = "".join(
            f'[plugin.lines.topics.{topic}]\nsink = "{uri}"\nmode = "{mode}"\n'
            for topic, uri in SINKS[kind].items()
        )
        project.plugin("lines", PLUGIN)
        project.configure(
            FAST.replace(
                "[worker]", "[worker]\nlease_s = 3\nrenew_s = 0.5\ngive_up_s = 2\nsweep_s = 0.5"
            )
            + '[[source_root]]\npath = "inbox"\n[[rule]]\npattern = "*.txt"\ntag = "text"\n'
            + '[plugin.lines]\ntags = ["text"]\n'
            + topics
        )
        project.drop("kept.txt", "kept")
        self.version = 0

    def publish(self) -> None:
        """The next version of the file stands."""
        self.version += 1
        self.project.drop("gone.txt", str(self.version))
        self.drain()

    def drain(self) -> None:
        assert self.project.drain() == 0, self.project.log()[-3000:]

    def purge(self, at: int | None = None) -> tuple[int, list[str]]:
        """The exit code, and the calls that were made: "number call path"."""
        log = self.project.directory / "calls"
        log.unlink(missing_ok=True)
        environment = {**os.environ, "CRASH_LOG": str(log)}
        if at is not None:
            environment["CRASH_AT"] = str(at)
        done = forked.run(
            "casparian", "purge", "--path", "gone.txt", "--yes",
            cwd=self.project.directory, env=environment, shim=self.shim,
        )  # fmt: skip
        return done.returncode, log.read_text(errors="replace").splitlines()

    def purge_undisturbed(self) -> None:
        self.project.casparian("purge", "--path", "gone.txt", "--yes")

    def rows(self, topic: str) -> dict[str, int]:
        """How many rows of each text a reader sees."""
        if SINKS[self.kind][topic].startswith("parquet"):
            table = self.project.parquet(topic, "out")
            values = table["v"].to_pylist() if table.num_rows else []
        else:
            with closing(sqlite3.connect(self.project.directory / "out.db")) as db:
                values = [row[0] for row in db.execute(f"select v from {topic}")]
        return {text: values.count(text) for text in set(values)}

    def newest_purge(self) -> tuple[int, str]:
        (found,) = self.project.query(
            "select id, status from processing_job where kind = 'PURGE' order by id desc limit 1"
        )
        return found

    def check(self, gone: bool) -> None:
        """Both topics show the same, and nothing is left lying about."""
        expected = {"kept": 5} | ({} if gone else {str(self.version): 5})
        assert [self.rows(topic) for topic in ("output", "extra")] == [expected, expected]
        assert self.project.stagings() == []
        assert violations_of(self.project.database) == []
        unfinished = "status in ('QUEUED', 'RUNNING', 'PROMOTING', 'BLOCKED')"
        assert self.project.query(f"select * from processing_job where {unfinished}") == []


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("parquet", "replace"), ("sqlite", "replace"), ("both", "append")],
)
def test_a_purge_that_is_killed(project: Project, shim: Path, kind: str, mode: str) -> None:
    """Killed before the decision the rows stay and nobody tries again; after it, they are gone
    when the next engine is done. Either way a second purge removes what is left."""
    purges = Purges(project, shim, kind, mode)
    purges.publish()
    code, calls = purges.purge()
    assert code == 0
    purges.check(gone=True)
    before = purges.newest_purge()[0]
    killed: Counter[str] = Counter()
    for at in until_killed(len(calls), seeded(), killed):
        purges.publish()
        code, calls = purges.purge(at)
        if struck(code, at, calls):
            killed[calls[-1].split()[1]] += 1
        else:
            assert code == 0, at
        purges.drain()
        job, status = purges.newest_purge()
        assert job == before or status in ("FAILED", "COMPLETED"), (at, status)
        purges.check(gone=job != before and status == "COMPLETED")
        purges.purge_undisturbed()
        purges.check(gone=True)
        before = purges.newest_purge()[0]
    covered(f"{kind} {mode}, purges", len(calls), killed)


def test_the_next_purge_finishes_what_was_decided(project: Project, shim: Path) -> None:
    """No engine need come: the command itself takes over what another left."""
    purges = Purges(project, shim, "parquet", "replace")
    purges.publish()
    _, calls = purges.purge()
    exchanges = [n for n, call in enumerate(calls) if " exchange " in call and "-lines" in call]
    purges.publish()
    # How often the database writes differs a little from run to run.
    for at in range(exchanges[0] - 2, exchanges[0] + 20, 2):
        code, _ = purges.purge(at)
        assert code == -signal.SIGKILL, "it was not killed between its decision and its end"
        if purges.newest_purge()[1] == "PROMOTING":
            break
    job = purges.newest_purge()[0]
    purges.purge_undisturbed()
    assert project.query("select status from processing_job where id = ?", job) == [("COMPLETED",)]
    purges.check(gone=True)
