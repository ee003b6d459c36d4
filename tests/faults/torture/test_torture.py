"""A hostile drop, a real engine, and a score: rows lost, doubled, wrong. All three are nothing.

`make torture` runs it at full size; what CI runs has a smaller sparse file and fewer entries in
the largest directory.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.torture import kinds_contents, kinds_names, kinds_places, kinds_times
from tests.faults.torture.drop import Drop, Score, Story, Wait, score
from tests.support.project import Project, read_parquet, wait_for

# Root, but held to what a file's mode says.
PLAIN = ("--bounding-set", "-dac_override,-dac_read_search")
UNPRIVILEGED = ("setpriv", *PLAIN, "--inh-caps", PLAIN[1])
FULL = os.environ.get("CASPARIAN_TORTURE") == "full"
MANY = 65_536 if FULL else 3_000
SPARSE = 4 << 30 if FULL else 256 << 20
STORY_S = 180 if FULL else 30
DRAIN_S = 2 * STORY_S
HOUR = 3600
PLUGINS = Path(__file__).parents[3] / "plugins"
SHIM = Path(__file__).with_name("clock_shim.c")
KINDS: list[Callable[[Drop], Story]] = [
    *kinds_times.KINDS,
    *kinds_names.KINDS,
    *kinds_places.KINDS,
    *kinds_contents.KINDS,
]
SINKS = {"parquet": "parquet://./output", "sqlite": "sqlite://out.db/{}"}
CONFIGURATION = """
[scout]
interval_s = 0.4
settle_s = 0.3
[worker]
backoff_s = 0.1
[[source_root]]
path = "inbox"
[[rule]]
pattern = "**/*.csv"
tag = "csv"
[[rule]]
pattern = "**/*.slow"
tag = "slow"
"""
PLUGIN = """
[plugin.{name}]
tags = ["{tag}"]
max_rejects = 1.0
settings = {{ types = {{ key = "string", n = "int64", value = "double" }}, required = ["key"] }}
[plugin.{name}.topics.output]
sink = "{sink}"
mode = "replace"
"""
WHY = """
import json, sys
from typer.testing import CliRunner
from casparian.app.cli.operator import app
told = {}
for path in json.load(sys.stdin):
    result = CliRunner().invoke(app, ["why", "--", path])
    told[path] = result.output + repr(result.exception)
json.dump(told, sys.stdout)
"""


class Clock:
    """The engine's clock, seconds off the real one."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(8))
        self.path = path
        with path.open("r+b") as file:
            self._mapped = mmap.mmap(file.fileno(), 8)

    def off_by(self, seconds: int) -> None:
        self._mapped[:] = struct.pack("=q", seconds)


class Torture:
    """A project whose engine has a plain user's rights, and whose inbox is a symbolic link."""

    def __init__(self, directory: Path, kind: str, shim: Path) -> None:
        self.project, self.kind = Project(directory), kind
        self.project.inbox.rmdir()
        real, outside = directory / "real", directory / "outside"
        real.mkdir()
        outside.mkdir()
        self.project.inbox.symlink_to("real")
        self.drop = Drop(os.fsencode(real), self.project.database, outside, MANY, SPARSE)
        self.clock = Clock(directory / "clock")
        self._configure()
        self._environment = {
            **os.environ, "LD_PRELOAD": str(shim), "CLOCK_OFFSET": str(self.clock.path)
        }  # fmt: skip

    def _configure(self) -> None:
        csv = (PLUGINS / "csv_table.py").read_text()
        self.project.plugin("csv_table", csv)
        slow = csv.replace(
            "    def execute(self, file_path: str) -> None:\n",
            "    def execute(self, file_path: str) -> None:\n        import time\n"
            "        time.sleep(0.3)\n        self._slowly(file_path)\n        time.sleep(0.3)\n\n"
            "    def _slowly(self, file_path: str) -> None:\n",
        )
        assert slow != csv
        self.project.plugin("slow_table", slow)
        sink = SINKS[self.kind]
        self.project.configure(
            CONFIGURATION
            + PLUGIN.format(name="csv_table", tag="csv", sink=sink.format("fast"))
            + PLUGIN.format(name="slow_table", tag="slow", sink=sink.format("slow")).replace(
                "parquet://./output", "parquet://./slow"
            )
        )

    # --- the engine, unprivileged --------------------------------------------------------------

    def start(self, *command: str, **options: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*(UNPRIVILEGED if os.geteuid() == 0 else []), *command],
            cwd=self.project.directory, env=self._environment, **options,  # type: ignore[call-overload]
        )  # fmt: skip

    def engine(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.project.directory / "engine.log").open("ab") as log:
            return self.start(
                *self.project.command("casparian-engine", "run", *arguments),
                stdout=subprocess.DEVNULL, stderr=log,
            )  # fmt: skip

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        engine = self.engine()
        try:
            yield engine
        finally:
            engine.terminate()
            try:
                engine.wait(60)
            finally:
                if engine.poll() is None:
                    engine.kill()
                    engine.wait()

    def drain(self) -> int | None:
        """The exit code; None where it would not end."""
        engine = self.engine("--drain")
        try:
            return engine.wait(DRAIN_S)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if engine.poll() is None:
                engine.kill()
                engine.wait()

    def why(self, places: list[bytes]) -> dict[bytes, str]:
        asked = json.dumps([os.fsdecode(place) for place in places])
        process = self.start(
            sys.executable, "-c", WHY,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        told, errors = process.communicate(asked.encode(), timeout=100)
        assert process.returncode == 0, errors.decode()
        return {os.fsencode(path): text for path, text in json.loads(told).items()}

    # --- what came out ----------------------------------------------------------------------

    def rows(self) -> list[tuple[int, str, int, float]]:
        names = ("_casparian_job_id", "key", "n", "value")
        if self.kind == "parquet":
            rows = []
            for root in ("output", "slow"):
                table = read_parquet(self.project.directory / root / "output")
                if table.num_rows:
                    rows += list(zip(*(table[name].to_pylist() for name in names), strict=True))
            return rows
        connection = sqlite3.connect(self.project.directory / "out.db")
        try:
            select = "select {} from {}"
            return [
                tuple(row)
                for table in ("fast", "slow")
                for row in connection.execute(select.format(", ".join(names), table))
            ]
        finally:
            connection.close()


def tell(stories: dict[str, Story], clock: Callable[[float], None]) -> dict[str, str]:
    """Run all stories side by side; returns those that waited for something in vain."""
    began = time.monotonic()
    waits: dict[str, Wait] = dict.fromkeys(stories, 0.0)
    since = dict.fromkeys(stories, began)
    stuck: dict[str, str] = {}
    while waits:
        clock(time.monotonic() - began)
        for name, wait in list(waits.items()):
            waited = time.monotonic() - since[name]
            if callable(wait):
                if not wait() and waited < STORY_S:
                    continue
                if waited >= STORY_S:
                    stuck[name] = f"waited {STORY_S} s in vain"
                    del waits[name]
                    continue
            elif waited < wait:
                continue
            try:
                waits[name] = next(stories[name])
                since[name] = time.monotonic()
            except StopIteration:
                del waits[name]
        time.sleep(0.01)
    return stuck


@pytest.fixture
def clock_shim(tmp_path: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: the shim that moves the clock cannot be built")
    library = tmp_path / "clock_shim.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", library, SHIM, "-ldl"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return library


JUMPS = {"still": [], "jumping": [(2.0, HOUR), (4.0, 0), (6.0, -HOUR), (8.0, 0)]}


@pytest.mark.slow
@pytest.mark.timeout(1200 if FULL else 240)
@pytest.mark.parametrize(("kind", "clock"), [("parquet", "still"), ("sqlite", "jumping")])
def test_nothing_is_lost_doubled_or_wrong(
    tmp_path: Path, clock_shim: Path, kind: str, clock: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torture = Torture(tmp_path / "project", kind, clock_shim)
    drop, jumps = torture.drop, list(JUMPS[clock])

    def move_clock(elapsed_s: float) -> None:
        while jumps and jumps[0][0] <= elapsed_s:
            torture.clock.off_by(jumps.pop(0)[1])

    try:
        with torture.running() as engine:
            wait_for(lambda: engine.poll() is not None or "worker started" in torture.project.log())
            stuck = tell({kind.__name__: kind(drop) for kind in KINDS}, move_clock)
            move_clock(HOUR)
            assert engine.poll() is None, torture.project.log()[-3000:]
        # Files are missing, unreadable or broken: that is said, and nothing else is wrong.
        code = torture.drain()
        assert code is not None, (torture.project.statuses(), torture.project.log()[-6000:])
        told = torture.why([*drop.refusals, *(place for place in drop.expected)])
    finally:
        drop.unmount()
        _let_remove(drop.root)
    found = score(drop, torture.rows())
    with capsys.disabled():
        print(f"\n{textwrap.indent(table(found, drop), '  ')}")
    untold = [
        f"{kind} {place[:80]!r}: no {why!r} in {told[place][-600:]}"
        for kind, place, why in [
            *((k, p, w) for p, (k, w) in drop.refusals.items()),
            *found.refused,
        ]
        if not re.search(why, told[place])
    ]
    problems = {"stuck": stuck, "rows": found.examples, "not told": untold}
    assert not any(problems.values()), json.dumps(problems, indent=1)
    assert code == 1
    assert torture.project.stagings() == []


def _let_remove(root: bytes) -> None:
    """Directories that nobody may enter would stay when pytest cleans up after another user."""
    for directory, names, _ in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            if len(path) < 4000 and not os.path.islink(path):
                os.chmod(path, 0o755)


def table(found: Score, drop: Drop) -> str:
    """The score, one line for each kind."""
    places = Counter(expected.kind for expected in drop.expected.values())
    refused = Counter(kind for kind, _ in drop.refusals.values())
    refused.update(kind for kind, _, _ in found.refused)
    lines = [f"{'kind':<12}{'places':>8}{'refused':>9}{'lost':>7}{'doubled':>9}{'wrong':>7}"]
    for kind, count in places.items():
        lost, doubled, wrong = found.of(kind)
        lines.append(f"{kind:<12}{count:>8}{refused[kind]:>9}{lost:>7}{doubled:>9}{wrong:>7}")
    lines += [f"{kind:<12}left out: {why}" for kind, why in drop.skipped.items()]
    return "\n".join(lines)
