"""What it costs to begin: help, a first drain, the first job of an engine that runs.

    .venv/bin/python benchmarks/bench_start.py [--python PATH] [--rounds N]

Each round runs everything once, in turn, so that what the machine does meanwhile meets all. Medians
are printed, on the wall and in CPU time of the process without its sidecars, and as ratios: to
`python -c pass`, and to importing the libraries that an engine cannot do without. `--python` names
the interpreter of a plain installation: what tests and examples need lengthens the imports.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

LIBRARIES = "import dependency_injector.providers, pyarrow.parquet, pydantic, sqlalchemy, zmq"
ENGINE = "from casparian.app.cli.engine import main; main()"
OPERATOR = "from casparian.app.cli import main; main()"
PLUGIN = """
import time
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        self.publish("output", [{"began": time.time()}])
"""
CONFIGURATION = """
[[source_root]]
path = "inbox"
settle_s = 0

[[rule]]
pattern = "**"
tag = "any"

[plugin.clock]
tags = ["any"]

[plugin.clock.topics.output]
sink = "parquet://./rows"
mode = "append"
"""
BEGAN = """
import glob
import pyarrow.parquet as pq
for name in glob.glob("rows/**/*.parquet", recursive=True):
    print(*pq.ParquetFile(name).read()["began"].to_pylist())
"""
LOOK_S = 0.005


class Cost(NamedTuple):
    """Seconds; `first_job_s` is None where none was run."""

    wall_s: float
    cpu_s: float
    first_job_s: float | None = None


def run(command: Sequence[str], directory: Path, **variables: str) -> Cost:
    """One process from its start to its end."""
    began = time.perf_counter()
    process = start(command, directory, **variables)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command} ended with {process.returncode}")
    return Cost(time.perf_counter() - began, used.ru_utime + used.ru_stime)


def start(command: Sequence[str], directory: Path, **variables: str) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    environment = {**os.environ, **variables}
    return subprocess.Popen(command, cwd=directory, env=environment, stdout=quiet, stderr=quiet)


class Bench:
    """The measured programs, by name; a project is made anew for those that need one."""

    def __init__(self, python: str, directory: Path) -> None:
        self._python, self._directory = python, directory

    def programs(self) -> Mapping[str, Callable[[], Cost]]:
        return {
            "python -c pass": lambda: self._code("pass"),
            "import the libraries": lambda: self._code(LIBRARIES),
            "casparian --help": lambda: self._code(OPERATOR, "--help"),
            "casparian --version": lambda: self._code(OPERATOR, "--version"),
            "casparian <TAB>": self._completion,
            "casparian-engine --help": lambda: self._code(ENGINE, "--help"),
            "drain, new project, no file": lambda: self._new_drain(files=0),
            "drain, new project, one file": lambda: self._new_drain(files=1),
            "drain again, one more file": self._drain_again,
            "drain again, nothing new": lambda: self._code(ENGINE, "run", "--drain"),
            "run, new project, one file": self._run_until_first_job,
        }

    def _command(self, code: str, *arguments: str) -> list[str]:
        # -P: the package that is installed, and not the checkout this lies in.
        return [self._python, "-P", "-c", code, *arguments]

    def _code(self, code: str, *arguments: str) -> Cost:
        return run(self._command(code, *arguments), self._directory)

    def _completion(self) -> Cost:
        asked = {"_TYPER_COMPLETE_ARGS": "casparian ", "_CASPARIAN_COMPLETE": "complete_bash"}
        return run(self._command(OPERATOR), self._directory, COMP_WORDS="casparian ",
                   COMP_CWORD="1", **asked)  # fmt: skip

    # --- with a project -------------------------------------------------------------------

    def _new_project(self) -> None:
        for entry in self._directory.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        (self._directory / "inbox").mkdir()
        (self._directory / "plugins").mkdir()
        (self._directory / "plugins" / "clock.py").write_text(PLUGIN)
        (self._directory / "casparian.toml").write_text(CONFIGURATION)

    def _began(self) -> list[float]:
        """When each job began, by the plugin's own clock."""
        command = [self._python, "-c", BEGAN]
        done = subprocess.run(command, cwd=self._directory, capture_output=True, text=True)
        return sorted(float(line) for line in done.stdout.split())

    def _drain(self, jobs: int) -> Cost:
        before = time.time()
        cost = self._code(ENGINE, "run", "--drain")
        began = self._began()
        if len(began) != jobs:
            sys.exit(f"{len(began)} jobs were run, and not {jobs}")
        last = began[-1] - before if began and began[-1] > before else None
        return cost._replace(first_job_s=last)

    def _new_drain(self, files: int) -> Cost:
        self._new_project()
        for number in range(files):
            (self._directory / "inbox" / f"{number}.txt").write_text(f"{number}\n")
        return self._drain(files)

    def _drain_again(self) -> Cost:
        (self._directory / "inbox" / "more.txt").write_text("more\n")
        return self._drain(2)

    def _run_until_first_job(self) -> Cost:
        self._new_project()
        (self._directory / "inbox" / "0.txt").write_text("0\n")
        before = time.time()
        process = start(self._command(ENGINE, "run"), self._directory)
        while not any(self._directory.glob("rows/**/*.parquet")):
            if process.poll() is not None:
                sys.exit(f"the engine ended with {process.returncode}")
            time.sleep(LOOK_S)
        (began,) = self._began()
        process.send_signal(signal.SIGTERM)
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0
        return Cost(time.time() - before, used.ru_utime + used.ru_stime, began - before)


def show(costs: Mapping[str, list[Cost]]) -> None:
    def median(name: str, what: str) -> float:
        values = [v for cost in costs[name] if (v := getattr(cost, what)) is not None]
        return statistics.median(values) if values else 0.0

    print(f"{'':32} {'wall s':>7} {'CPU s':>7} {'first job':>9}  CPU: to pass, to libraries")
    for name in costs:
        cpu, first = median(name, "cpu_s"), median(name, "first_job_s")
        ratios = [cpu / median(n, "cpu_s") for n in ("python -c pass", "import the libraries")]
        job = f"{first:9.2f}" if first else " " * 9
        print(
            f"{name:32} {median(name, 'wall_s'):7.2f} {cpu:7.2f} {job}  "
            f"{ratios[0]:5.1f} {ratios[1]:5.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        programs = Bench(os.path.abspath(arguments.python), Path(directory)).programs()
        costs: dict[str, list[Cost]] = {name: [] for name in programs}
        for _ in range(arguments.rounds):
            for name, program in programs.items():
                costs[name].append(program())
    print(f"{arguments.rounds} rounds; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    show(costs)


if __name__ == "__main__":
    main()
