"""SIGKILL in place of each call by which the engine changes files: every state a crash can leave.

A shim preloaded into the engine counts those calls and dies at the n-th. A normal run takes
points spread evenly, as many for each combination of sink and mode.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.audit import violations_of
from tests.support.crash_points import (
    POINTS,
    TIMEOUT_S,
    covered,
    seeded,
    struck,
    until_killed,
)
from tests.support.project import FAST, Project, read_parquet

ROWS = 50

PLUGIN = """
import pyarrow.csv as pc
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        table = pc.read_csv(file_path, read_options=pc.ReadOptions(use_threads=False))
        self.publish("output", table)
        # An even version has nothing to say here: what the one before said is to go.
        if table["version"][0].as_py() % 2:
            self.publish("extra", table.slice(0, 7))
"""

SINKS = {
    "parquet": {"output": "parquet://./out", "extra": "parquet://./out"},
    "sqlite": {"output": "sqlite://out.db/output", "extra": "sqlite://out.db/extra"},
    "both": {"output": "parquet://./out", "extra": "sqlite://out.db/extra"},
}

Group = tuple[str, int, int]
"""Name and version of a file, and its rows."""


@dataclass
class Crashes:
    """A project whose engine is killed at chosen calls. `versions`: what each file had so far."""

    project: Project
    shim: Path
    kind: str
    mode: str
    versions: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        topics = "".join(
            f'[plugin.lines.topics.{topic}]\nsink = "{uri}"\nmode = "{self.mode}"\n'
            for topic, uri in SINKS[self.kind].items()
        )
        self.project.plugin("lines", PLUGIN)
        self.project.configure(
            FAST.replace("[worker]", "[worker]\nlease_s = 3\nsweep_s = 0.5")
            + '[[source_root]]\npath = "inbox"\n[[rule]]\npattern = "*.csv"\ntag = "csv"\n'
            + '[plugin.lines]\ntags = ["csv"]\n'
            + topics
        )

    def write(self, name: str) -> None:
        """The next version of a file."""
        version = self.versions[name] = self.versions.get(name, 0) + 1
        lines = "".join(f"{name},{version},{n}\n" for n in range(ROWS))
        self.project.drop(f"{name}.csv", f"name,version,n\n{lines}")

    def drain(self, at: int | None = None) -> tuple[int, list[str]]:
        """The exit code, and the calls that were made: "number call path"."""
        log = self.project.directory / "calls"
        log.unlink(missing_ok=True)
        environment = {"CRASH_LOG": str(log)}
        if at is not None:
            environment["CRASH_AT"] = str(at)
        code = self.project.drain(shim=self.shim, **environment)
        return code, log.read_text(errors="replace").splitlines()

    def calls_before_sinks(self, calls: list[str]) -> int:
        """How many calls there are before the first that is about a place to publish to."""
        places = tuple(f"{self.project.directory}/{name}" for name in ("out", ".out"))
        about = (call.split(maxsplit=2)[-1].startswith(places) for call in calls)
        return list(about).index(True)

    def expected(self, topic: str) -> list[Group]:
        """What the topic's readers are to see once all is drained."""
        groups = []
        for name, newest in self.versions.items():
            for version in range(1, newest + 1) if self.mode == "append" else [newest]:
                if topic == "output":
                    groups.append((name, version, ROWS))
                elif version % 2:
                    groups.append((name, version, 7))
        return sorted(groups)

    def rows(self, topic: str) -> list[Group]:
        uri = SINKS[self.kind][topic]
        if uri.startswith("parquet"):
            table = read_parquet(self.project.directory / "out" / topic)
            rows = table.to_pylist()
        else:
            rows = self._sqlite_rows(topic)
        assert (
            max(Counter((r["name"], r["version"], r["n"]) for r in rows).values(), default=1) == 1
        )
        return sorted(
            (*key, n) for key, n in Counter((r["name"], r["version"]) for r in rows).items()
        )

    def _sqlite_rows(self, table: str) -> list[dict[str, object]]:
        connection = sqlite3.connect(self.project.directory / "out.db")
        connection.row_factory = sqlite3.Row
        try:
            if not connection.execute(
                "select 1 from sqlite_master where name = ?", (table,)
            ).fetchone():
                return []
            return [dict(row) for row in connection.execute(f"select * from {table}")]
        finally:
            connection.close()

    # --- what must hold -------------------------------------------------------------------

    def check(self) -> None:
        project = self.project
        for topic in ("output", "extra"):
            assert self.rows(topic) == self.expected(topic), topic
        assert project.stagings() == []
        assert project.statuses() == {"COMPLETED": sum(self.versions.values())}
        assert violations_of(project.database) == []
        left = [p.name for p in (project.directory / "out").glob(".*")]
        assert left == [], "something unpublished lies in the sink's directory"


@pytest.fixture
def chance() -> random.Random:
    return seeded()


COMBINATIONS = [("parquet", "replace"), ("sqlite", "append"), ("both", "replace")]
if POINTS == "all":
    COMBINATIONS += [("parquet", "append"), ("sqlite", "replace"), ("both", "append")]


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize(("kind", "mode"), COMBINATIONS)
def test_a_correction_survives_a_crash_at_any_call(
    tmp_path: Path, shim: Path, chance: random.Random, kind: str, mode: str
) -> None:
    """One project, corrected again and again: each correction is interrupted at another call,
    and every third time the recovery is, too."""
    crashes = Crashes(Project(tmp_path / "project"), shim, kind, mode)
    for name in "abcd":
        crashes.write(name)
    assert crashes.project.drain() == 0, crashes.project.log()
    calls = 0
    for _ in range(2):
        # With and without rows for the second topic.
        crashes.write("a")
        crashes.write("b")
        code, made = crashes.drain()
        assert code == 0, crashes.project.log()
        calls = max(calls, len(made))
    crashes.check()
    killed: Counter[str] = Counter()
    for number, point in enumerate(until_killed(calls, chance, killed)):
        crashes.write("a")
        crashes.write("b")
        points = [point] if number % 3 else [point, chance.randrange(1, calls)]
        _interrupt(crashes, points, killed)
    covered(f"{kind} {mode}, later versions", calls, killed)


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize(("kind", "mode"), COMBINATIONS)
def test_a_first_run_survives_a_crash_at_any_call(
    tmp_path: Path, shim: Path, chance: random.Random, kind: str, mode: str
) -> None:
    """From an empty directory: the database and the sinks are being made meanwhile."""
    counted = Crashes(Project(tmp_path / "counted"), shim, kind, mode)
    counted.write("a")
    counted.write("b")
    code, made = counted.drain()
    assert code == 0, counted.project.log()
    counted.check()
    # A queue is made in the same way beside any sink: its calls are taken once.
    made_queue = 0 if (kind, mode) == COMBINATIONS[0] else counted.calls_before_sinks(made)
    killed: Counter[str] = Counter()
    for point in until_killed(len(made), chance, killed, after=made_queue):
        directory = tmp_path / f"at-{point}"
        crashes = Crashes(Project(directory), shim, kind, mode)
        crashes.write("a")
        crashes.write("b")
        _interrupt(crashes, [point], killed)
        shutil.rmtree(directory)
    covered(f"{kind} {mode}, first versions", len(made) - made_queue, killed)


def _interrupt(crashes: Crashes, points: list[int], killed: Counter[str]) -> None:
    """Drain with a crash at each of these calls, then undisturbed, and check everything."""
    story = []
    for point in points:
        code, calls = crashes.drain(at=point)
        story.append(f"call {point}: {calls[-1] if calls else 'none was made'}, exit {code}")
        if struck(code, point, calls):
            killed[calls[-1].split()[1]] += 1
        else:
            assert code == 0, crashes.project.log()
    context = "\n".join(story)
    code = crashes.project.drain()
    assert code == 0, f"{context}\n{crashes.project.log()[-4000:]}"
    try:
        crashes.check()
    except AssertionError as error:
        error.add_note(f"{context}\n{crashes.project.log()[-4000:]}")
        raise


def test_the_check_can_fail(tmp_path: Path, shim: Path) -> None:
    """What a lost, doubled or orphaned row would look like is seen."""
    crashes = Crashes(Project(tmp_path / "project"), shim, "parquet", "replace")
    crashes.write("a")
    assert crashes.project.drain() == 0, crashes.project.log()
    crashes.check()
    (slot,) = (crashes.project.directory / "out" / "output").iterdir()
    (file,) = slot.glob("*.parquet")
    double = file.with_name("double.parquet")
    shutil.copy(file, double)
    with pytest.raises(AssertionError):
        crashes.check()
    double.unlink()
    marker = slot / "_casparian.json"
    text = marker.read_text()
    marker.write_text(text.replace('"attempt": 1', '"attempt": 2'))
    with pytest.raises(AssertionError):
        crashes.check()
    marker.write_text(text)
    crashes.check()
