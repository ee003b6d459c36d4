"""What is done about a sidecar that dies, stands still, or does too much, and how soon: with real
processes, each in its own way at the same moment.

`make discipline` prints the table. Times are held against the configured ones only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from casparian import Engine, Settings
from casparian.adapters.sink.memory import MemorySink, MemorySinkFactory, MemoryStore
from casparian.app import container
from casparian.domain.instructions import RouterRules
from casparian.domain.ports import Sink, StagedRows, StageRequest, Staging
from casparian.domain.publish import Target
from casparian.domain.schemas import TargetSchema
from casparian.domain.wire import DEFAULT_LIMITS
from tests.support.audit import violations_of
from tests.support.project import UNBOUND, Project, wait_for

pytestmark = pytest.mark.slow

SUSPECT_S, KILL_S, TIMEOUT_S = 0.5, 2.0, 2.0

PLUGIN = """
import ctypes, os, pathlib, time
import pyarrow as pa
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        path = pathlib.Path(file_path)
        self.publish("output", pa.table({"a": [1, 2, 3]}))
        note = path.parents[1] / path.stem
        note.with_suffix(".new").write_text(f"{os.getpid()} {time.monotonic()}")
        note.with_suffix(".new").rename(note)
        getattr(self, path.stem)()

    def killed(self):
        time.sleep(3600)

    def stopped(self):
        time.sleep(3600)

    def holds_the_gil(self):
        ctypes.PyDLL(None).sleep(3600)

    def loops(self):
        while True:
            time.sleep(0.01)

    def out_of_memory(self):
        self.big = [bytearray(64 << 20) for _ in range(24)]

    def half_a_stream(self):
        os._exit(0)
"""

CASES = {
    "killed": ("CRASH", "its process handle", 0.0),
    "half_a_stream": ("CRASH", "its process handle", 0.0),
    "out_of_memory": ("OOM", "the error that it meets", 0.0),
    "stopped": ("TIMEOUT", "no heartbeat", KILL_S),
    "holds_the_gil": ("TIMEOUT", "no heartbeat", KILL_S),
    "loops": ("TIMEOUT", "its deadline", TIMEOUT_S),
}
"""The class of the error, what it is seen by, and after how long it is to be."""


@pytest.fixture(autouse=True)
def rules(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = partial(RouterRules, suspect_s=SUSPECT_S, kill_s=KILL_S)
    monkeypatch.setattr(container, "RouterRules", quick)


@contextlib.contextmanager
def engine_of(project: Project, **adapters: Any) -> Iterator[Engine]:
    engine = Engine(Settings.load(project.directory / "casparian.toml"), **adapters)
    thread = threading.Thread(target=engine.run)
    thread.start()
    try:
        yield engine
        assert thread.is_alive(), "whatever a sidecar does, the engine lives"
    finally:
        engine.stop()
        thread.join()
        engine.close()


def test_each_is_seen_in_its_time(project: Project) -> None:
    text = "[scout]\nsettle_s = 0\n[worker]\nmax_crashes = 1\n[[source_root]]\npath = 'inbox'\n"
    for name in CASES:
        project.plugin(name, PLUGIN)
        more = "memory_mb = 1024\n" if name == "out_of_memory" else ""
        more += f"timeout_s = {TIMEOUT_S}\n" if name == "loops" else ""
        text += (
            f'[[rule]]\npattern = "{name}.csv"\ntag = "{name}"\n'
            f'[plugin.{name}]\ntags = ["{name}"]\n{more}'
            f'[plugin.{name}.topics.output]\nsink = "parquet://./output"\n'
        )
        project.drop(f"{name}.csv", "a\n")
    text = text.replace("max_crashes = 1", "max_crashes = 1\nmax_attempts = 1")
    project.configure(text + UNBOUND)
    with engine_of(project):
        seen = seen_after(project)
    print(f"\nsuspected after {SUSPECT_S} s, killed after {KILL_S} s, deadline {TIMEOUT_S} s")
    for name, (_, how, due) in CASES.items():
        told = f"{seen[name] / due:.2f} of {due} s" if due else f"{seen[name] * 1000:.0f} ms"
        print(f"{name}\tseen by {how}\tafter {told}")
        if due:
            assert seen[name] < 2 * due, (name, seen[name])
    # Whose end is seen by itself is not waited for until it is silent.
    assert max(seen[n] for n in ("killed", "half_a_stream")) < seen["stopped"]
    assert {kind for kind, _ in project.errors().values()} == {c for c, _, _ in CASES.values()}
    for path, (kind, message) in project.errors().items():
        assert kind == CASES[Path(path).stem][0], (path, message)
    assert project.parquet().num_rows == 0
    assert project.stagings() == []
    assert violations_of(project.database) == []


def seen_after(project: Project) -> dict[str, float]:
    """Seconds from what each sidecar does, or what is done to it, to the end of its job."""
    began: dict[str, float] = {}
    seen: dict[str, float] = {}
    failed = (
        "select l.path from processing_job j join file_version v on v.id = j.file_version_id "
        "join file_location l on l.id = v.location_id where j.status = 'FAILED'"
    )

    def all_seen() -> bool:
        for name in CASES.keys() - began.keys():
            with contextlib.suppress(FileNotFoundError):
                pid, at = (project.directory / name).read_text().split()
                began[name] = float(at)
                if name in ("killed", "stopped"):
                    began[name] = time.monotonic()
                    os.kill(int(pid), signal.SIGKILL if name == "killed" else signal.SIGSTOP)
        for (path,) in project.query(failed) if project.statuses() else ():
            name = Path(os.fsdecode(path)).stem
            seen.setdefault(name, time.monotonic() - began[name])
        return len(seen) == len(CASES)

    wait_for(all_seen, every=0.002)
    return seen


# --- a sink that is slow ----------------------------------------------------------------

MUCH = """
import pathlib
import pyarrow as pa
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        table = pa.table({"a": pa.array(range(131072), pa.int64())})
        for n in range(100):
            self.publish("output", table)
            (pathlib.Path(file_path).parents[1] / "published").write_text(str(n + 1))
"""
PUBLISHED = 131072 * 8


class Gated(MemorySinkFactory):
    """A sink in memory that takes rows once its gate is open."""

    def __init__(self, gate: threading.Event) -> None:
        self.store = MemoryStore()
        super().__init__(self.store)
        self._gate = gate

    def open(self, location: str) -> Sink:
        return _GatedSink(self.store, location, self._gate)


class _GatedSink(MemorySink):
    def __init__(self, store: MemoryStore, location: str, gate: threading.Event) -> None:
        super().__init__(store, location)
        self._gate = gate

    def stage(self, request: StageRequest, known: TargetSchema | None) -> Staging:
        return _GatedStaging(super().stage(request, known), self._gate)


class _GatedStaging:
    def __init__(self, inner: Staging, gate: threading.Event) -> None:
        self._inner, self._gate = inner, gate

    def write(self, batch: Any) -> None:
        self._gate.wait()
        self._inner.write(batch)

    def finish(self) -> StagedRows:
        return self._inner.finish()

    def discard(self) -> None:
        self._inner.discard()


def test_a_slow_sink_keeps_the_plugin_waiting_and_nobody_is_killed(project: Project) -> None:
    """Its credit is used up, so `publish` waits; heartbeats go on, for longer than silence may."""
    project.csv_to("memory://out", UNBOUND)
    project.plugin("csv_table", MUCH)
    project.drop("a.csv", "a\n1\n")
    gate, note = threading.Event(), project.directory / "published"
    factory = Gated(gate)
    with engine_of(project, sinks={"memory": factory}) as engine:
        try:
            stood = wait_for(lambda: _stands(note, KILL_S * 1.5))
            assert engine.reports.status()["jobs"].get("RUNNING") == 1
        finally:
            gate.set()
        wait_for(lambda: engine.reports.status()["jobs"]["COMPLETED"] == 1)
    print(f"\nslow sink\tpublish waited with {stood * PUBLISHED / 1e6:.0f} MB on their way")
    assert 0 < stood * PUBLISHED <= DEFAULT_LIMITS.session_window + PUBLISHED
    rows = factory.store.read(Target("memory", "out", "output"))
    assert rows.num_rows == 100 * 131072
    assert project.query("select attempt from processing_job") == [(1,)]


def _stands(note: Path, for_s: float) -> int:
    """How often was published, once that has not changed for so long; 0 before."""
    before = note.read_text() if note.exists() else ""
    end = time.monotonic() + for_s
    while before and time.monotonic() < end:
        if note.read_text() not in (before, ""):
            return 0
        time.sleep(0.05)
    return int(before or 0)
