"""What a plugin does to its process, and signals to the engine's: the others never notice."""

from __future__ import annotations

import contextlib
import signal
import subprocess

import psutil
import pytest

from tests.support.project import UNBOUND, Project, documents, wait_for

CONFIGURATION = (
    """
[scout]
settle_s = 0
interval_s = 0.5
[worker]
backoff_s = 0.1
max_crashes = 1
lease_s = 6
[[source_root]]
path = "inbox"
[[rule]]
pattern = "*.csv"
tag = "csv"
[plugin.wild]
tags = ["csv"]
settings = { pids = "PIDS" }
[plugin.wild.topics.output]
sink = "parquet://./output"
"""
    + UNBOUND
)

WILD = """
import os, pathlib, signal, subprocess, sys, threading, time
import pyarrow as pa
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        name = pathlib.Path(file_path).stem
        self.publish("output", pa.table({"name": [name]}))
        self.note(os.getpid())
        getattr(self, name.rstrip("0123456789"))(file_path)

    def note(self, pid):
        with open(self.config["pids"], "a") as file:
            file.write(f"{pid}\\n")

    def good(self, path):
        pass

    def forks(self, path):
        # The child goes on by itself, and must not speak in this process's name.
        child = os.fork()
        if child == 0:
            time.sleep(3600)
        self.note(child)

    def fork_returns(self, path):
        # The child comes back from execute() like the parent.
        child = os.fork()
        if child:
            self.note(child)

    def starts(self, path):
        command = [sys.executable, "-c", "import time; time.sleep(3600)"]
        self.note(subprocess.Popen(command).pid)

    def logs(self, path):
        line = "x" * 1023
        for number in range(8 * 1024):
            self.ctx.logger.info("%d %s", number, line)

    def one_line(self, path):
        os.write(2, b"y" * (8 << 20))

    def killed(self, path):
        os.kill(os.getpid(), signal.SIGKILL)

    def segfault(self, path):
        os.kill(os.getpid(), signal.SIGSEGV)

    def os_exit(self, path):
        os._exit(0)

    def kills_group(self, path):
        os.killpg(0, signal.SIGTERM)

    def threads(self, path):
        def run():
            while True:
                time.sleep(60)
        for _ in range(50):
            threading.Thread(target=run).start()

    def changes_directory(self, path):
        os.chdir("/")
"""

ENDS = {
    "killed": ("CRASH", "signal 9"),
    "segfault": ("CRASH", "signal 11"),
    "os_exit": ("CRASH", "exit code 0"),
    "kills_group": ("CRASH", "signal 15"),
}
PUBLISHES = ["forks", "fork_returns", "starts", "logs", "one_line", "threads", "changes_directory"]


@pytest.mark.slow
def test_what_a_plugin_does_to_its_process_stays_there(project: Project) -> None:
    project.plugin("wild", WILD)
    project.configure(CONFIGURATION.replace("PIDS", str(project.directory / "pids")))
    good = [f"good{n}" for n in range(5)]
    for name in [*ENDS, *PUBLISHES, *good]:
        project.drop(f"{name}.csv", name)

    assert project.drain() == 1, project.log()[-5000:]

    errors = project.errors()
    assert set(errors) == {f"{name}.csv" for name in ENDS}
    for name, (kind, said) in ENDS.items():
        assert errors[f"{name}.csv"][0] == kind, errors[f"{name}.csv"]
        assert said in errors[f"{name}.csv"][1], errors[f"{name}.csv"]
    # Each once: what a fork was given back to has nothing to say.
    assert sorted(project.parquet()["name"].to_pylist()) == sorted([*PUBLISHES, *good])
    assert project.stagings() == []
    noted = (project.directory / "pids").read_text().split()
    assert len(noted) >= len(ENDS) + len(PUBLISHES) + len(good)
    for pid in noted:
        wait_for(lambda pid=int(pid): not _lives(pid))


def _lives(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@pytest.mark.slow
def test_the_log_has_all_that_a_plugin_logs_and_no_line_without_end(project: Project) -> None:
    project.plugin("wild", WILD)
    project.configure(CONFIGURATION.replace("PIDS", str(project.directory / "pids")))
    project.drop("logs.csv", "x")
    project.drop("one_line.csv", "x")
    assert project.drain() == 0
    said = [line["line"] for line in documents(project.log()) if line["event"] == "plugin output"]
    numbers = [int(line.split("] ")[1].split()[0]) for line in said if "job=" in line]
    assert numbers == list(range(8 * 1024))
    assert sum(line.count("y") for line in said if set(line) == {"y"}) == 8 << 20
    assert max(map(len, said)) <= 2_000


# --- signals to the engine --------------------------------------------------------------

WAITS = """
import os, pathlib, time
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        self.publish("output", [{"a": 1}])
        pathlib.Path(self.config["started"]).touch()
        while not os.path.exists(self.config["go"]):
            time.sleep(0.01)
"""


@pytest.fixture
def waiting(project: Project) -> Project:
    """One file, whose plugin waits until `go` is there."""
    project.csv_to("parquet://./output", UNBOUND)
    project.plugin("csv_table", WAITS)
    file = project.directory / "casparian.toml"
    settings = "\n".join(f'{name} = "{project.directory / name}"' for name in ("started", "go"))
    file.write_text(f"{file.read_text()}\n[plugin.csv_table.settings]\n{settings}\n")
    project.drop("a.csv", "a\n1\n")
    return project


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_the_running_job_finish(waiting: Project, number: signal.Signals) -> None:
    # Whoever runs the tests may ignore it, as nohup does, and so would the engine.
    before = signal.signal(number, signal.SIG_DFL)
    with contextlib.ExitStack() as stack:
        try:
            engine = stack.enter_context(waiting.running())
        finally:
            signal.signal(number, before)
        wait_for((waiting.directory / "started").exists)
        engine.send_signal(number)
        (waiting.directory / "go").touch()
        assert engine.wait(60) == 0, waiting.log()
    assert waiting.statuses() == {"COMPLETED": 1}
    assert waiting.parquet()["a"].to_pylist() == [1]
    assert waiting.stagings() == []


@pytest.mark.slow
def test_a_second_signal_ends_at_once_and_loses_nothing(waiting: Project) -> None:
    with waiting.running() as engine:
        wait_for((waiting.directory / "started").exists)
        # Two that are pending at once count as one, and one more while the interpreter ends would
        # kill it: so again until it has ended its sidecars, which comes before.
        while waiting.sidecar_pids(engine.pid):
            engine.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                engine.wait(1)
        engine.wait(60)
        assert engine.returncode == 0, waiting.log()
    assert waiting.statuses() == {"RUNNING": 1}
    assert waiting.parquet().num_rows == 0
    (waiting.directory / "go").touch()
    assert waiting.drain() == 0, waiting.log()
    assert waiting.statuses() == {"COMPLETED": 1}
    assert waiting.parquet()["a"].to_pylist() == [1]
    assert waiting.stagings() == []


@pytest.mark.slow
def test_under_nohup_the_end_of_the_terminal_is_not_heard(project: Project) -> None:
    project.csv_to("parquet://./output")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        engine = project.start()
    finally:
        signal.signal(signal.SIGHUP, before)
    try:
        wait_for(lambda: "worker started" in project.log())
        engine.send_signal(signal.SIGHUP)
        project.drop("a.csv", "a\n1\n")
        wait_for(lambda: project.statuses() == {"COMPLETED": 1})
        engine.send_signal(signal.SIGTERM)
        assert engine.wait(60) == 0
    finally:
        engine.kill()
        engine.wait()
