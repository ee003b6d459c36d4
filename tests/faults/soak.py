"""Engines, sidecars, readers and corrections for as long as asked, killed and stopped at random.

    python -m tests.faults.soak --seconds 600 --seed 7

A round ends with a drain: then every row must be there once, of the newest version, and the audit
of `casparian check --deep` must find nothing. Readers look without pause, the audit now and then
while engines run. Every five minutes all begins anew, with another seed: what is read after each
round grows with what was published. Prints the figures of each as JSON, and of all in the end, also
when it is interrupted. Ends with 1 where anything was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from casparian.domain.invariants import Invariant
from tests.faults.soak_readers import Reader, Rows, parquet_rows, sqlite_rows
from tests.support.audit import violations_of
from tests.support.project import Engine, Project

PLUGINS = {
    "tables": """
import pyarrow.csv as pc
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        table = pc.read_csv(file_path, read_options=pc.ReadOptions(use_threads=False))
        for start in range(0, table.num_rows, 2000):
            self.publish("output", table.slice(start, 2000))
        # An even version has nothing to say here: what the one before said is to go.
        if table["version"][0].as_py() % 2:
            self.publish("extra", table.slice(0, 40))
""",
    "history": """
import pyarrow.csv as pc
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        table = pc.read_csv(file_path, read_options=pc.ReadOptions(use_threads=False))
        self.publish("log", table.slice(0, 10))
""",
}
CONFIGURATION = """
[scout]
interval_s = 0.5
settle_s = 0
[worker]
lease_s = 3
renew_s = 1
sweep_s = 0.5
backoff_s = 0.1
# A kill is no fault of a file's.
max_attempts = 1000000
max_crashes = 1000000
[plugin_host]
sidecars = 1
# So that every version can be appended, also one that was corrected before it was read.
[archive]
directory = "kept"
[[source_root]]
path = "inbox"
[[rule]]
pattern = "*.csv"
tag = "csv"
[plugin.tables]
tags = ["csv"]
[plugin.tables.topics.output]
sink = "parquet://./out"
[plugin.tables.topics.extra]
sink = "sqlite://out.db/extra"
[plugin.history]
tags = ["csv"]
[plugin.history.topics.log]
sink = "parquet://./out"
mode = "append"
"""
ENGINES = 3
ROUND_S, RENEWED_S = 20.0, 300.0
SMALL, LARGE, EXTRA = 60, 9_000, 40


@dataclass
class Figures:
    seed: int
    seconds: float = 0.0
    rounds: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    stops: Counter[str] = field(default_factory=Counter)
    reads: int = 0
    audits_beside_engines: int = 0
    files: int = 0
    versions: int = 0
    jobs: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        for name, value in vars(other).items():
            if name != "seed":
                setattr(self, name, getattr(self, name) + value)


class Soak:
    def __init__(self, directory: Path, seed: int) -> None:
        self.project = Project(directory)
        for name, code in PLUGINS.items():
            self.project.plugin(name, code)
        self.project.configure(CONFIGURATION)
        self.chance = random.Random(seed)
        self.figures = Figures(seed)
        self.versions: dict[str, int] = {}
        self.engines: list[Engine] = []
        self.stopped: dict[int, float] = {}
        self.readers = [
            Reader(lambda: parquet_rows(directory / "out" / "output"), self.size, lasting=True),
            Reader(lambda: sqlite_rows(directory / "out.db"), lambda _: EXTRA, lasting=False),
        ]

    def size(self, name: str) -> int:
        return LARGE if int(name[4:]) % 5 == 0 else SMALL

    # --- files ----------------------------------------------------------------------------

    def write(self, name: str) -> None:
        """The next version of a file, whole when it appears."""
        version = self.versions[name] = self.versions.get(name, 0) + 1
        lines = "".join(f"{name},{version},{n}\n" for n in range(self.size(name)))
        part = self.project.directory / f"{name}.part"
        part.write_text(f"name,version,n\n{lines}")
        os.replace(part, self.project.inbox / f"{name}.csv")

    # --- chaos ----------------------------------------------------------------------------

    def start_missing(self) -> None:
        self.engines = [e for e in self.engines if e.poll() is None]
        while len(self.engines) < ENGINES:
            scouts = any("worker" not in e.args for e in self.engines)
            self.engines.append(self.project.start(*(("--role", "worker") if scouts else ())))

    def act(self) -> None:
        name = self.chance.choices(
            ["kill engine", "kill sidecar", "kill server", "stop engine", "stop sidecar",
             "pause engine", "write", "new"],
            [30, 20, 5, 4, 8, 8, 30, 8 if len(self.versions) < 60 else 0],
        )[0]  # fmt: skip
        if name == "new":
            self.write(f"file{len(self.versions)}")
        elif name == "write":
            for file in self.chance.sample(sorted(self.versions), min(3, len(self.versions))):
                self.write(file)
        else:
            self.signal(*name.split())

    def signal(self, what: str, whom: str) -> None:
        engine = self.chance.choice(self.engines)
        pids = {
            "engine": lambda: [engine.pid],
            "server": lambda: self.project.fork_servers(engine.pid),
            "sidecar": lambda: self.project.sidecar_pids(engine.pid),
        }[whom]()
        if engine.poll() is not None or not pids:
            return
        pid = self.chance.choice(pids)
        if what == "kill":
            send(pid, signal.SIGKILL)
            self.figures.kills[whom] += 1
            if whom == "engine":
                engine.wait()
            return
        # Past its lease; or for a moment, in which others may come to what it is at.
        until = self.chance.uniform(4, 7) if what == "stop" else self.chance.uniform(0.01, 0.5)
        send(pid, signal.SIGSTOP)
        self.stopped[pid] = time.monotonic() + until
        self.figures.stops[whom] += 1

    def wake(self, everyone: bool = False) -> None:
        for pid, until in list(self.stopped.items()):
            if everyone or until <= time.monotonic():
                del self.stopped[pid]
                send(pid, signal.SIGCONT)

    # --- rounds ---------------------------------------------------------------------------

    def run(self, seconds: float, most_kills: int) -> Figures:
        began = time.monotonic()
        for n in range(10):
            self.write(f"file{n}")
        for reader in self.readers:
            reader.start()
        try:
            while time.monotonic() < began + seconds and not self.figures.wrong:
                self.round(min(time.monotonic() + ROUND_S, began + seconds))
                if self.figures.kills.total() >= most_kills:
                    break
        finally:
            self.end_all()
            for reader in self.readers:
                reader.end()
                self.figures.reads += reader.reads
                self.figures.wrong += reader.wrong
        self.figures.seconds = round(time.monotonic() - began, 1)
        return self.figures

    def round(self, until: float) -> None:
        audit_at = self.chance.uniform(time.monotonic(), until)
        while time.monotonic() < until:
            self.start_missing()
            self.wake()
            self.act()
            if audit_at is not None and time.monotonic() > audit_at and self.project.statuses():
                self.audit_beside_engines()
                audit_at = until
            threading.Event().wait(self.chance.uniform(0, 0.3))
        self.end_all()
        code = self.project.drain()
        self.figures.rounds += 1
        if code:
            self.figures.wrong.append(f"the drain ended with {code}")
        self.check()

    def audit_beside_engines(self) -> None:
        found = violations_of(self.project.database)
        # Stagings of killed engines wait for the next sweep.
        self.figures.wrong += [v for v in found if not v.startswith(f"{Invariant.NO_ORPHANS} ")]
        self.figures.audits_beside_engines += 1

    def check(self) -> None:
        wrong, project = self.figures.wrong, self.project
        due = {(name, version): self.size(name) for name, version in self.versions.items()}
        compare("output", parquet_rows(project.directory / "out" / "output"), due, wrong)
        extra = {key: EXTRA for key in due if key[1] % 2}
        compare("extra", sqlite_rows(project.directory / "out.db"), extra, wrong)
        wrong += violations_of(project.database)
        wrong += [f"staging left: {staging}" for staging in project.stagings()]
        recorded = project.query(
            "select l.path, v.ordinal from file_version v "
            "join file_location l on l.id = v.location_id"
        )
        log = parquet_rows(project.directory / "out" / "log")
        # A version that no scan met is none; those that one met are numbered by the queue.
        compare_counts(recorded, log, wrong)
        wrong += [
            f"job {job_id} is {status} ({error}) after a drain"
            for job_id, status, error in project.query(
                "select id, status, error_class from processing_job "
                "where status not in ('COMPLETED', 'SUPERSEDED')"
            )
        ]
        self.figures.files = len(self.versions)
        ((self.figures.versions,),) = project.query("select count(*) from file_version")
        ((self.figures.jobs,),) = project.query("select count(*) from processing_job")

    def end_all(self) -> None:
        self.wake(everyone=True)
        for engine in self.engines:
            engine.kill()
            engine.wait()
            self.figures.kills["engine"] += 1
        self.engines = []


def compare(topic: str, found: Rows, due: dict[tuple[str, int], int], wrong: list[str]) -> None:
    """Rows by (name, version), with how many of them are different ones."""
    wrong += [f"{topic}: {key} is not there" for key in sorted(due.keys() - found.keys())]
    wrong += [f"{topic}: {key} should not be there" for key in sorted(found.keys() - due.keys())]
    for key in found.keys() & due.keys():
        if found[key] != (due[key], due[key]):
            wrong.append(f"{topic}: {key} has {found[key]} rows and different rows of {due[key]}")


def compare_counts(recorded: list[tuple[bytes, int]], log: Rows, wrong: list[str]) -> None:
    """Of each file as many versions are appended as were recorded, each whole."""
    due = Counter(path.decode().removesuffix(".csv") for path, _ in recorded)
    found = Counter(name for name, _ in log)
    wrong += [
        f"log: {found[name]} of {due[name]} versions of {name} are there"
        for name in sorted(due.keys() | found.keys())
        if due[name] != found[name]
    ]
    wrong += [f"log: {key} has {rows} rows" for key, rows in log.items() if rows != (10, 10)]


def send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def soak(directory: Path, seed: int, seconds: float, most_kills: int = sys.maxsize) -> Figures:
    return Soak(directory, seed).run(seconds, most_kills)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--kills", type=int, default=sys.maxsize, help="end after so many")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = random.randrange(1 << 30) if options.seed is None else options.seed
    total, ends = Figures(seed), time.monotonic() + options.seconds
    with contextlib.suppress(KeyboardInterrupt):
        while not total.wrong and time.monotonic() < ends and total.kills.total() < options.kills:
            directory = Path(tempfile.mkdtemp(prefix="soak-"))
            seconds = min(ends - time.monotonic(), RENEWED_S)
            most = options.kills - total.kills.total()
            figures = soak(directory / "project", seed, seconds, most)
            print(json.dumps(vars(figures)), file=sys.stderr, flush=True)
            total.add(figures)
            seed += 1
            if figures.wrong:
                print(f"All of it is left in {directory}", file=sys.stderr)
            else:
                shutil.rmtree(directory)
    print(json.dumps(vars(total)))
    return 1 if total.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
