"""A project in a temporary directory, run by the real programs as a user would."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support import forked

Engine = forked.Process | subprocess.Popen[bytes]

CSV_PLUGIN = """
import pyarrow.csv as pc
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        options = pc.ReadOptions(use_threads=False)
        self.publish("output", pc.read_csv(file_path, read_options=options))
"""

FAST = """
[scout]
interval_s = 0.5
settle_s = 0
[worker]
backoff_s = 0.1
[plugin_host]
sidecars = 2
"""

UNBOUND = '[plugins]\nsandbox = "off"\n'
"""For plugins that tell by a file where they are, or do what the sandbox would not let them."""


class Project:
    """A directory with configuration, plugins and an inbox."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.inbox = directory / "inbox"
        self.plugins = directory / "plugins"
        self.inbox.mkdir(parents=True)
        self.plugins.mkdir()

    def configure(self, text: str, name: str = "casparian.toml") -> None:
        (self.directory / name).write_text(textwrap.dedent(text))

    def plugin(self, name: str, code: str) -> None:
        (self.plugins / f"{name}.py").write_text(textwrap.dedent(code))

    def csv_to(self, sink: str, more: str = "", mode: str = "replace") -> None:
        """The usual set-up: every CSV file to one topic."""
        self.plugin("csv_table", CSV_PLUGIN)
        self.configure(
            f"""{FAST}
[[source_root]]
path = "inbox"
[[rule]]
pattern = "**/*.csv"
tag = "csv"
[plugin.csv_table]
tags = ["csv"]
[plugin.csv_table.topics.output]
sink = "{sink}"
mode = "{mode}"
{more}
"""
        )

    def drop(self, name: str, content: str | bytes) -> Path:
        """Write a file in place, as a careless producer would."""
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def move_in(self, name: str, content: str) -> Path:
        """Whole at once, as a careful producer would."""
        path = self.directory / name
        path.write_text(content)
        return path.rename(self.inbox / name)

    # --- programs -------------------------------------------------------------------------

    def command(self, program: str, *arguments: str) -> list[str]:
        module = "casparian.app.cli.engine" if program == "casparian-engine" else program
        return [sys.executable, "-m", module, *arguments]

    def start(self, *arguments: str, shim: Path | None = None, **environment: str) -> Engine:
        """Start `casparian-engine run`; its log goes to engine.log. With variables of its own it
        is a new interpreter, which some of them are for; not with those of the shim of faults."""
        with (self.directory / "engine.log").open("ab") as log:
            if shim is not None or not environment:
                return forked.start(
                    "casparian-engine",
                    "run",
                    *arguments,
                    cwd=self.directory,
                    stderr=log,
                    env={**os.environ, **environment},
                    shim=shim,
                )
            return subprocess.Popen(
                self.command("casparian-engine", "run", *arguments),
                cwd=self.directory,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, **environment},
            )

    @contextlib.contextmanager
    def running(self, *arguments: str, **environment: str) -> Iterator[Engine]:
        process = self.start(*arguments, **environment)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def drain(
        self,
        *arguments: str,
        timeout: float = 110,
        shim: Path | None = None,
        **environment: str,
    ) -> int:
        process = self.start("--drain", *arguments, shim=shim, **environment)
        try:
            return process.wait(timeout)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def casparian(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the operator's tool here, and see its exit code."""
        done = forked.run("casparian", *arguments, cwd=self.directory)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.directory / "engine.log").read_text(errors="replace")
        return ""

    # --- read-backs -----------------------------------------------------------------------

    @property
    def database(self) -> Path:
        return self.directory / "casparian_flow.sqlite3"

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.database, timeout=30)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def statuses(self) -> dict[str, int]:
        """Jobs by status; empty while an engine is still making the database."""
        if not self.database.exists():
            return {}
        with contextlib.suppress(sqlite3.OperationalError):
            self.query("select 1 from processing_job")
            return self._statuses()
        return {}

    def _statuses(self) -> dict[str, int]:
        return dict(self.query("select status, count(*) from processing_job group by status"))

    def errors(self) -> dict[str, tuple[str, str]]:
        """File name to (error class, message) of FAILED jobs."""
        rows = self.query(
            "select l.path, j.error_class, j.error_message from processing_job j "
            "join file_version v on v.id = j.file_version_id "
            "join file_location l on l.id = v.location_id where j.status = 'FAILED'"
        )
        return {os.fsdecode(path): (kind, message) for path, kind, message in rows}

    def parquet(self, topic: str = "output", root: str = "output") -> pa.Table:
        return read_parquet(self.directory / root / topic)

    def stagings(self) -> list[str]:
        """Everything that lies in any staging place."""
        places = self.directory.glob(".*.casparian/staging/*")
        return sorted(str(p.relative_to(self.directory)) for p in places)

    def sidecar_pids(self, engine: int) -> list[int]:
        """The engine's sidecars: its own child processes, or forked from one of these."""
        return [
            pid
            for parent in (engine, *self.fork_servers(engine))
            for pid in _children(parent, b"casparian.app.sidecar")
        ]

    def fork_servers(self, engine: int) -> list[int]:
        """What the engine's sidecars are forked from: one, once any is needed."""
        return _children(engine, b"casparian.app.fork_server")


def _children(parent: int, module: bytes) -> list[int]:
    """Those that run a module."""
    return [
        int(p.name)
        for p in Path("/proc").iterdir()
        if p.name.isdigit() and _is_child_of(p, parent, module)
    ]


def _is_child_of(process: Path, parent: int, module: bytes) -> bool:
    try:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        command = (process / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return int(fields[1]) == parent and module in command.split(b"\0")


def read_parquet(directory: Path) -> pa.Table:
    """All rows below a directory as a globbing reader gets them; lists again when a file is
    gone between its listing and its open."""
    while True:
        try:
            files = sorted(directory.glob("**/*.parquet"))
            tables = [pq.ParquetFile(f).read() for f in files]
        except FileNotFoundError:
            continue
        if not tables:
            return pa.table({})
        return pa.concat_tables(tables, promote_options="permissive")


def wait_for(what: Callable[[], Any], timeout: float = 60, every: float = 0.02) -> Any:
    """Poll another process's state until it is true; fail with what was last seen."""
    end = time.monotonic() + timeout
    while True:
        seen = what()
        if seen:
            return seen
        if time.monotonic() > end:
            raise AssertionError(f"still {seen!r} after {timeout} s")
        time.sleep(every)


def documents(text: str) -> list[dict[str, Any]]:
    """The JSON lines of a log."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
