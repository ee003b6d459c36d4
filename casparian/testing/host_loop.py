"""A worker without a queue, to try a plugin host with: a router, a transport, a plugin."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

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
from casparian.domain.message_codec import decode_from_sidecar, encode
from casparian.domain.plugins import LivePlugin, PluginConfig, TopicConfig, code_hash
from casparian.domain.ports import PeerGone, PluginHost, SidecarExit, SidecarSpec, Transport
from casparian.domain.router import Router
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
