"""The contract of the port PluginHost. The numbers are those of the port's promises.

Every host derives from PluginHostContract; one whose sidecars are processes of their own from
ProcessHostContract, which asks for the promises that only a process can keep (3 to 5). Both
need the fixtures `open_host` and `transport`.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from casparian.domain.errors import ErrorClass
from casparian.domain.files import StatIdentity
from casparian.domain.instructions import (
    FailJob,
    FinishJob,
    Instruction,
    KillSidecar,
    RouterRules,
    Send,
    StageFrame,
    StartSidecar,
)
from casparian.domain.jobs import Claim
from casparian.domain.messages import decode_from_sidecar, encode
from casparian.domain.plugins import LivePlugin, PluginConfig, TopicConfig, code_hash
from casparian.domain.ports import PeerGone, PluginHost, SidecarExit, SidecarSpec, Transport
from casparian.domain.router import Router
from casparian.domain.sandbox import Grants
from casparian.domain.wire import Flag, credit_for

OpenHost = Callable[[Callable[[], None]], PluginHost]

PATIENCE_S = 60.0

# What a file is called is what is done with it. `go` is a file that lets those end who wait.
CODE = b"""
import os, signal, subprocess, sys, time
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        getattr(self, os.path.basename(file_path).partition(".")[0])(file_path)

    def lines(self, file_path):
        with open(file_path) as file:
            self.publish("rows", [{"line": line.strip()} for line in file])

    def fail(self, file_path):
        raise ValueError("no number in line 3")

    def wait(self, file_path):
        self.publish("rows", [{"pid": os.getpid()}])
        while not os.path.exists(self.config["go"]):
            time.sleep(0.01)

    def spin(self, file_path):
        self.publish("rows", [{"pid": os.getpid()}])
        while not os.path.exists(self.config["go"]):
            pass

    def freeze(self, file_path):
        self.publish("rows", [{"pid": os.getpid()}])
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGSTOP)

    def children(self, file_path):
        child = subprocess.Popen(["sleep", "1000"])
        self.publish("rows", [{"pid": os.getpid(), "child": child.pid}])
        if "leave" not in file_path:
            self.wait(file_path)

    def surroundings(self, file_path):
        directory = os.getcwd()
        self.publish("rows", [{
            "environment": sorted(os.environ),
            "home": os.environ["HOME"],
            "temporary": os.environ["TMPDIR"],
            "stdin": sys.stdin.read(),
            "directory": directory,
            "mode": os.stat(directory).st_mode & 0o777,
            "visible": [n for n in os.listdir(directory) if not n.startswith(".")],
            "open": [os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")],
            "group": os.getpgid(0),
            "pid": os.getpid(),
        }])

    def speak(self, file_path):
        print("said on standard output")
        os.write(1, b"written to descriptor 1\\n")
        sys.stderr.write("said on standard error\\n")
        self.ctx.logger.info("said to the logger")
        os._exit(4)

    def eat(self, file_path):
        self.big = [bytearray(64 << 20) for _ in range(64)]

    def open_many(self, file_path):
        self.files = [open(file_path) for _ in range(5000)]
"""


class Loop:
    """A router, a real transport and the host under test: a worker without a queue."""

    def __init__(
        self, transport: Transport, open_host: OpenHost, directory: Path, sidecars: int = 1
    ) -> None:
        self.transport = transport
        self.directory = directory
        self.endpoint = transport.bind()
        self.told = threading.Event()
        self.host = open_host(self._on_exit)
        rules = RouterRules(sidecars=sidecars, restart_s=0.01)
        self.router = Router(rules, lambda: secrets.token_hex(16))
        self.code = CODE
        self.specs: list[SidecarSpec] = []
        self.exits: list[SidecarExit] = []
        self.ends: dict[int, FinishJob | FailJob] = {}
        self.frames: list[StageFrame] = []

    def _on_exit(self) -> None:
        self.told.set()
        self.transport.wake()

    def configure(self, code: bytes = CODE, **limits: Any) -> None:
        """The one plugin: its code, and limits as in PluginConfig."""
        self.code = code
        topics = (TopicConfig("rows", "parquet:///nowhere"),)
        settings = {"go": str(self.directory / "go")}
        config = PluginConfig("tested", frozenset(), settings, topics, **limits)
        self.perform(self.router.configure([LivePlugin(config, code_hash(code))], time.monotonic()))

    def offer(self, *names: str) -> list[int]:
        """A job for each file; jobs are numbered from 1."""
        claims: list[Claim] = []
        for name in names:
            file = self.directory / name
            file.write_text("one\ntwo\n")
            number = len(self.ends) + self.router.pool.held() + len(claims) + 1
            claims.append(
                Claim(
                    number, "tested", "", 1, f"token-{number}", number, number, 1,
                    os.fsencode(self.directory), os.fsencode(name), "c" * 64,
                    StatIdentity(8, 1, 1, number, 1),
                )
            )  # fmt: skip
        self.perform(self.router.offer(claims, time.monotonic()))
        return [claim.job_id for claim in claims]

    def perform(self, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case StartSidecar(session, plugin):
                    readable = (str(self.directory),)
                    spec = SidecarSpec(
                        session, plugin, self.code, self.endpoint, 1 << 20, 0.1, readable=readable
                    )
                    self.specs.append(spec)
                    self.host.start(spec)
                case KillSidecar(session):
                    self.host.kill(session)
                case Send(peer, message):
                    try:
                        self.transport.send(peer, encode(message))
                    except PeerGone:
                        continue
                case StageFrame(session, claim, topic, flags, payload):
                    kept = StageFrame(session, claim, topic, flags, bytes(payload))
                    self.frames.append(kept)
                    self.perform(self.router.consumed(session, credit_for(len(payload))))
                case FinishJob(claim) | FailJob(claim):
                    assert claim.job_id not in self.ends
                    self.ends[claim.job_id] = instruction

    def turn(self) -> None:
        self.transport.poll(0.05)
        exits = self.host.exits()
        while arrived := self.transport.receive():
            for peer, head, payload in arrived:
                message = decode_from_sidecar(head, len(payload))
                self.perform(self.router.received(peer, message, payload, time.monotonic()))
        for exit_ in exits:
            self.exits.append(exit_)
            self.perform(self.router.exited(exit_, time.monotonic()))
        self.perform(self.router.tick(time.monotonic()))

    def until(self, what: Callable[[], Any]) -> None:
        """Turn until it is true; fails the test if it never is."""
        deadline = time.monotonic() + PATIENCE_S
        while not what():
            assert time.monotonic() < deadline, (self.ends, self.exits)
            self.turn()

    def run(self, *names: str) -> list[FinishJob | FailJob]:
        """Offer these, wait for their ends."""
        numbers = self.offer(*names)
        self.until(lambda: set(numbers) <= set(self.ends))
        return [self.ends[number] for number in numbers]

    def rows(self, job_id: int) -> list[dict[str, Any]]:
        """What a job has published so far."""
        schema: pa.Schema | None = None
        rows: list[dict[str, Any]] = []
        for frame in self.frames:
            if frame.claim.job_id != job_id:
                continue
            buffer = pa.py_buffer(bytes(frame.payload))
            if frame.flags & Flag.SCHEMA:
                schema = pa.ipc.read_schema(buffer)
            elif frame.flags & Flag.STREAM:
                with pa.ipc.open_stream(buffer) as stream:
                    schema, rows = stream.schema, rows + stream.read_all().to_pylist()
            else:
                rows += pa.ipc.read_record_batch(buffer, schema).to_pylist()
        return rows

    def started(self, name: str) -> tuple[int, dict[str, Any]]:
        """Offer one file, wait for its first row: (job id, row)."""
        (number,) = self.offer(name)
        self.until(lambda: self.rows(number))
        return number, self.rows(number)[0]

    def close(self) -> None:
        (self.directory / "go").touch()
        self.host.close()
        self.transport.close()


class PluginHostContract:
    """What every host does, whatever a sidecar is to it."""

    @pytest.fixture
    def open_host(self) -> OpenHost:
        """Makes the host under test from the function it calls on an exit."""
        raise NotImplementedError

    @pytest.fixture
    def transport(self) -> Transport:
        """A transport, not yet bound, whose endpoints the sidecars of this host can reach."""
        raise NotImplementedError

    @pytest.fixture
    def loop(self, transport: Transport, open_host: OpenHost, tmp_path: Path) -> Iterator[Loop]:
        loop = Loop(transport, open_host, tmp_path)
        yield loop
        loop.close()

    def test_1_a_sidecar_does_the_jobs_it_is_given(self, loop: Loop) -> None:
        loop.configure()
        first, failed, last = loop.run("lines.csv", "fail.csv", "lines.txt")
        assert isinstance(first, FinishJob)
        assert first.topics["rows"].rows == 2
        assert loop.rows(1) == loop.rows(3) == [{"line": "one"}, {"line": "two"}]
        assert isinstance(failed, FailJob)
        assert failed.error_class is ErrorClass.DATA
        assert failed.message == "ValueError: no number in line 3"
        assert isinstance(last, FinishJob)
        assert len(loop.specs) == 1

    def test_1_start_returns_at_once(self, loop: Loop, tmp_path: Path) -> None:
        """The plugin's import does not end before this test does."""
        wait = f"import os, time\nwhile not os.path.exists({str(tmp_path / 'go')!r}):\n"
        loop.configure(wait.encode() + b"    time.sleep(0.01)\n")
        loop.offer("lines.csv")
        assert loop.host.exits() == []

    def test_1_what_cannot_start_is_an_exit(self, loop: Loop) -> None:
        loop.endpoint = "nothing://nowhere"
        loop.configure()
        (failed,) = loop.run("lines.csv")
        assert isinstance(failed, FailJob)
        assert "could not be started 3 times" in failed.message
        assert "nothing://nowhere" in failed.detail
        assert all(exit_.code != 0 for exit_ in loop.exits)

    def test_1_code_that_cannot_be_loaded_says_why(self, loop: Loop) -> None:
        loop.configure(b"import there_is_no_such_module\n")
        (failed,) = loop.run("lines.csv")
        assert isinstance(failed, FailJob)
        assert failed.error_class is ErrorClass.PLUGIN
        assert "No module named 'there_is_no_such_module'" in failed.message
        assert "line 1" in failed.detail

    def test_2_an_exit_is_told_and_returned_once(self, loop: Loop) -> None:
        loop.configure()
        loop.run("lines.csv")
        assert not loop.told.is_set()
        out, _ = loop.router.stop()
        loop.perform(out)
        loop.until(lambda: loop.exits)
        assert loop.told.is_set()
        assert [(e.session, e.code) for e in loop.exits] == [(loop.specs[0].session, 0)]
        assert loop.host.exits() == []

    def test_2_sidecars_live_side_by_side(
        self, transport: Transport, open_host: OpenHost, tmp_path: Path
    ) -> None:
        loop = Loop(transport, open_host, tmp_path, sidecars=2)
        try:
            loop.configure()
            numbers = loop.offer("wait.1", "wait.2")
            loop.until(lambda: all(loop.rows(number) for number in numbers))
            assert len({frame.session for frame in loop.frames}) == 2
            (tmp_path / "go").touch()
            loop.until(lambda: len(loop.ends) == 2)
        finally:
            loop.close()

    def test_3_a_kill_is_an_exit_told_once(self, loop: Loop) -> None:
        loop.configure()
        loop.started("wait.csv")
        session = loop.specs[0].session
        loop.host.kill(session)
        loop.host.kill(session)
        loop.host.kill("nobody")
        loop.until(lambda: loop.ends)
        assert [(e.session, e.code) for e in loop.exits] == [(session, -9)]
        assert loop.host.exits() == []
        (failed,) = loop.ends.values()
        assert isinstance(failed, FailJob)
        assert failed.error_class is ErrorClass.CRASH

    def test_6_close_ends_all_and_says_so(self, loop: Loop) -> None:
        loop.configure()
        loop.started("wait.csv")
        loop.host.close()
        assert [e.session for e in loop.host.exits()] == [loop.specs[0].session]
        loop.host.close()


class ProcessHostContract(PluginHostContract):
    """And what one does whose sidecars are processes."""

    @pytest.fixture
    def start_engine(self) -> Callable[[Path], subprocess.Popen[str]]:
        """Starts a process with a host and one sidecar at work; see `engine_with_a_sidecar`."""
        raise NotImplementedError

    @pytest.mark.parametrize("how", ["wait", "spin", "freeze"])
    def test_3_kill_ends_it_however_it_hangs(self, loop: Loop, how: str) -> None:
        loop.configure()
        number, row = loop.started(f"{how}.csv")
        if how == "freeze":
            loop.until(lambda: state_of(row["pid"]) == "T")
        loop.host.kill(loop.specs[0].session)
        loop.until(lambda: loop.exits)
        assert state_of(row["pid"]) is None
        (exit_,) = loop.exits
        assert (exit_.code, exit_.job_id) == (-signal.SIGKILL, number)

    @pytest.mark.parametrize("end", ["kill", "leave"])
    def test_3_what_it_started_ends_with_it(self, loop: Loop, end: str) -> None:
        loop.configure(grants=Grants(allow_subprocess=True))
        _, row = loop.started(f"children.{end}")
        assert state_of(row["child"]) is not None
        if end == "kill":
            loop.host.kill(loop.specs[0].session)
        else:
            loop.until(lambda: loop.ends)
            loop.perform(loop.router.stop()[0])
        loop.until(lambda: loop.exits)
        loop.until(lambda: state_of(row["child"]) is None)

    def test_3_a_death_by_another_hand_is_seen(self, loop: Loop) -> None:
        loop.configure()
        _, row = loop.started("wait.csv")
        os.kill(row["pid"], signal.SIGSEGV)
        loop.until(lambda: loop.ends)
        (failed,) = loop.ends.values()
        assert isinstance(failed, FailJob)
        assert failed.message.endswith("died of signal 11")

    @pytest.mark.parametrize("how", ["wait", "freeze"])
    def test_4_sidecars_end_with_an_engine_that_is_killed(
        self, start_engine: Callable[[Path], subprocess.Popen[str]], tmp_path: Path, how: str
    ) -> None:
        (tmp_path / "how").write_text(how)
        with start_engine(tmp_path) as engine:
            assert engine.stdout is not None
            said = json.loads(engine.stdout.readline())
            assert state_of(said["pid"]) is not None
            engine.kill()
        deadline = time.monotonic() + PATIENCE_S
        while state_of(said["pid"]) is not None:
            assert time.monotonic() < deadline, "the sidecar outlived its engine"
            time.sleep(0.01)

    def test_5_its_surroundings_are_its_own(
        self,
        transport: Transport,
        open_host: OpenHost,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("CASPARIAN_DATABASE__URL", "sqlite:///secret")
        monkeypatch.setenv("SECRET", "secret")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        private = tmp_path / "private of the engine"
        private.write_text("x")
        loop = Loop(transport, open_host, tmp_path)
        try:
            with private.open() as file:
                os.set_inheritable(file.fileno(), True)
                loop.configure()
                loop.run("surroundings.csv")
            (seen,) = loop.rows(1)
            allowed = {"PATH", "LANG", "HOME", "TMPDIR", "TZ", "CASPARIAN_PURE"}
            # How memory is allocated, and how many threads work, is the host's to say.
            tuning = ("MALLOC_", "MIMALLOC_", "JE_ARROW_", "OMP_", "OPENBLAS_")
            named = {n for n in seen["environment"] if not n.startswith(tuning)}
            assert named <= allowed
            assert seen["stdin"] == ""
            assert seen["directory"] == seen["home"] == seen["temporary"]
            assert (seen["mode"], seen["visible"]) == (0o700, [])
            assert not Path(seen["directory"]).is_relative_to(Path.cwd())
            assert str(private) not in seen["open"]
            assert seen["group"] == seen["pid"]
            loop.perform(loop.router.stop()[0])
            loop.until(lambda: loop.exits)
            assert not Path(seen["directory"]).exists()
        finally:
            loop.close()

    def test_5_what_it_says_is_kept_although_it_dies_at_once(self, loop: Loop) -> None:
        loop.configure()
        (failed,) = loop.run("speak.csv")
        assert isinstance(failed, FailJob)
        assert failed.message.endswith("exit code 4")
        for where in ("on standard output", "on standard error", "to the logger"):
            assert f"said {where}" in failed.detail
        assert "written to descriptor 1" in failed.detail
        assert "job=1 attempt=1" in failed.detail

    def test_5_memory_is_limited(self, loop: Loop) -> None:
        loop.configure(memory_mb=512)
        failed, after = loop.run("eat.csv", "lines.csv")
        assert isinstance(failed, FailJob)
        assert failed.error_class is ErrorClass.OOM
        assert "MemoryError" in failed.message
        assert isinstance(after, FinishJob)

    def test_5_open_files_are_limited(self, loop: Loop) -> None:
        loop.configure()
        (failed,) = loop.run("open_many.csv")
        assert isinstance(failed, FailJob)
        assert "Too many open files" in failed.message

    def test_6_close_ends_the_processes(self, loop: Loop) -> None:
        loop.configure(grants=Grants(allow_subprocess=True))
        _, row = loop.started("children.csv")
        loop.host.close()
        assert state_of(row["pid"]) is None
        loop.until(lambda: state_of(row["child"]) is None)


def engine_with_a_sidecar(transport: Transport, open_host: OpenHost, directory: Path) -> None:
    """For a process that is going to be killed: start a sidecar, print its pid as JSON, hang.

    The file `how` in the directory says what the sidecar is doing meanwhile.
    """
    loop = Loop(transport, open_host, directory)
    loop.configure()
    how = (directory / "how").read_text()
    _, row = loop.started(f"{how}.csv")
    if how == "freeze":
        loop.until(lambda: state_of(row["pid"]) == "T")
    print(json.dumps(row), flush=True)
    threading.Event().wait()


def state_of(pid: int) -> str | None:
    """The letter of a process's state; None when it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    letter = stat.rpartition(")")[2].split()[0]
    return None if letter in "ZX" else letter
