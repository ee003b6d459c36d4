"""The engine's half of the wire over real ZMQ, against a sidecar that is driven by hand.

Frames are written out here byte by byte where that is the point, not by the engine's encoder.
"""

from __future__ import annotations

import json
import queue
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest
import zmq

from casparian import DrainResult, Engine, Settings
from casparian.domain.ports import SidecarExit, SidecarSpec
from casparian.domain.wire import DEFAULT_LIMITS
from tests.support.project import Project

PATIENCE_S = 30
REG, EXEC, DATA, ERR, DONE, HEARTBEAT, DEPLOY = range(1, 8)
SCHEMA = 1
TABLE = pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]})


def head(opcode: int, job: int = 0, flags: int = 0, **meta: Any) -> bytes:
    """Header and metadata as the protocol's document has them."""
    body = json.dumps(meta).encode()
    return struct.pack("!BBHIQ", 2, opcode, flags, len(body), job) + body


class HandHost:
    """A plugin host that starts nothing: the test is the sidecar."""

    def __init__(self, on_exit: Callable[[], None]) -> None:
        self.on_exit = on_exit
        self.specs: queue.SimpleQueue[SidecarSpec] = queue.SimpleQueue()
        self.killed: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._exits: queue.SimpleQueue[SidecarExit] = queue.SimpleQueue()
        self._running: set[str] = set()

    def start(self, spec: SidecarSpec) -> None:
        self._running.add(spec.session)
        self.specs.put(spec)

    def kill(self, session: str) -> None:
        self.killed.put(session)
        self.end(session)

    def end(self, session: str, code: int = -9, job_id: int | None = None) -> None:
        if session in self._running:
            self._running.remove(session)
            self._exits.put(SidecarExit(session, code, "", job_id=job_id))
            self.on_exit()

    def exits(self) -> list[SidecarExit]:
        ended = []
        while not self._exits.empty():
            ended.append(self._exits.get())
        return ended

    def close(self) -> None:
        for session in list(self._running):
            self.end(session)


class HandSidecar:
    """A raw socket, and the numbers that a sidecar keeps."""

    def __init__(self, context: zmq.Context[Any], spec: SidecarSpec) -> None:
        self.spec = spec
        self.session = spec.session
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 1000)
        self.socket.setsockopt(zmq.RCVTIMEO, PATIENCE_S * 1000)
        self.socket.connect(spec.endpoint)

    def send(self, first: bytes, payload: bytes = b"") -> None:
        self.socket.send_multipart([first, payload])

    def receive(self) -> tuple[int, int, int, dict[str, Any]]:
        """The next message: opcode, flags, job id, metadata."""
        first, payload = self.socket.recv_multipart()
        version, opcode, flags, length, job = struct.unpack_from("!BBHIQ", first)
        assert (version, len(first), payload) == (2, 16 + length, b"")
        return opcode, flags, job, json.loads(first[16:])

    def expect(self, opcode: int, **meta: Any) -> dict[str, Any]:
        """The next message of an opcode with at least this metadata, and its job id."""
        while True:
            came, flags, job, fields = self.receive()
            if came == opcode and meta.items() <= fields.items():
                assert flags == 0
                return {**fields, "job": job}

    def register(self) -> dict[str, Any]:
        """REG; returns the first job."""
        spec = self.spec
        self.send(
            head(
                REG, session=self.session, plugin=spec.plugin.name,
                plugin_hash=spec.plugin.content_hash, pid=1,
            )
        )  # fmt: skip
        assert self.expect(HEARTBEAT)["credit"] == 64 << 20
        return self.expect(EXEC)

    def data(self, job: dict[str, Any], sequence: int, payload: bytes, flags: int = 0) -> int:
        """One DATA; returns its payload's size."""
        about = {"session": self.session, "attempt": job["attempt"]}
        self.send(
            head(DATA, job["job"], flags, topic="output", sequence=sequence, **about), payload
        )
        return len(payload)

    def publish(self, job: dict[str, Any], table: pa.Table = TABLE) -> list[int]:
        """A schema and one batch; returns their totals as DONE has them."""
        (batch,) = table.to_batches()
        size = self.data(job, 0, table.schema.serialize().to_pybytes(), SCHEMA)
        size += self.data(job, 1, batch.serialize().to_pybytes())
        return [1, table.num_rows, size]

    def done(self, job: dict[str, Any], **topics: list[int]) -> None:
        self.send(
            head(DONE, job["job"], session=self.session, attempt=job["attempt"], topics=topics)
        )


class Bench:
    """An engine that drains in the background, and the sidecars it asks for."""

    def __init__(self, project: Project, transport: str) -> None:
        self.project = project
        project.csv_to("parquet://./output")
        file = project.directory / "casparian.toml"
        endpoint = 'endpoint = "127.0.0.1:0"' if transport == "zmq-tcp" else ""
        text = file.read_text().replace("backoff_s = 0.1", "backoff_s = 0.01\nmax_crashes = 2")
        text = text.replace("sidecars = 2", "sidecars = 1")
        file.write_text(f'{text}\n[transport]\nadapter = "{transport}"\n{endpoint}\n')
        self.context: zmq.Context[Any] = zmq.Context()
        self.sidecars: list[HandSidecar] = []
        self.host: HandHost | None = None
        self._made = threading.Event()
        self.engine = Engine(Settings.load(file), plugin_host=self._make_host)
        self._pool = ThreadPoolExecutor(1)
        self.result: Future[DrainResult] | None = None

    def _make_host(self, on_exit: Callable[[], None]) -> HandHost:
        self.host = HandHost(on_exit)
        self._made.set()
        return self.host

    def start(self) -> None:
        self.result = self._pool.submit(self.engine.drain)
        assert self._made.wait(PATIENCE_S)

    def sidecar(self) -> HandSidecar:
        """The next that the engine wants started."""
        assert self.host is not None
        made = HandSidecar(self.context, self.host.specs.get(timeout=PATIENCE_S))
        self.sidecars.append(made)
        return made

    def end(self) -> DrainResult:
        assert self.result is not None
        return self.result.result(PATIENCE_S)

    def close(self) -> None:
        if self.result is not None and not self.result.done():
            self.engine.stop()
            self.engine.stop()
            self.result.exception(PATIENCE_S)
        self._pool.shutdown()
        self.engine.close()
        for sidecar in self.sidecars:
            sidecar.socket.close(linger=0)
        self.context.term()


@pytest.fixture(params=["zmq-ipc", "zmq-tcp"])
def bench(project: Project, request: pytest.FixtureRequest) -> Iterator[Bench]:
    bench = Bench(project, request.param)
    project.drop("a.csv", "a,b\n")
    yield bench
    bench.close()


def test_a_job_from_reg_to_rows(bench: Bench) -> None:
    bench.start()
    sidecar = bench.sidecar()
    job = sidecar.register()
    assert job.keys() == {
        "job", "attempt", "input_path", "path", "file_version_id", "content_hash",
    }  # fmt: skip
    assert (job["attempt"], job["path"]) == (1, "a.csv")
    assert job["input_path"] == str(bench.project.inbox / "a.csv")
    totals = sidecar.publish(job)
    # What was consumed is credited, although DONE has not come.
    used = totals[2] + 2 * DEFAULT_LIMITS.overhead  # A schema and a batch.
    returned = 0
    while returned < used:
        returned += sidecar.expect(HEARTBEAT)["credit"]
    assert returned == used
    sidecar.done(job, output=totals)
    assert bench.end().jobs == {"COMPLETED": 1}
    assert bench.project.parquet().select(["a", "b"]).equals(TABLE)
    assert sidecar.expect(HEARTBEAT, stop=True)["credit"] == 0


def test_a_heartbeat_and_err(bench: Bench) -> None:
    bench.start()
    sidecar = bench.sidecar()
    job = sidecar.register()
    sidecar.publish(job)
    sidecar.send(head(HEARTBEAT, job["job"], session=sidecar.session))
    error = {"class": "DATA", "message": "line 3: no number", "detail": "Traceback"}
    sidecar.send(head(ERR, job["job"], session=sidecar.session, attempt=1, **error))
    result = bench.end()
    assert result.jobs == {"FAILED": 1}
    assert bench.project.errors() == {"a.csv": ("DATA", "line 3: no number")}
    assert bench.project.parquet().num_rows == 0
    assert bench.project.stagings() == []


def test_a_stranger_completes_nothing(bench: Bench) -> None:
    """Another peer at the same endpoint, who even knows the job."""
    bench.start()
    sidecar = bench.sidecar()
    job = sidecar.register()
    totals = sidecar.publish(job)
    stranger = HandSidecar(bench.context, sidecar.spec)
    bench.sidecars.append(stranger)
    stranger.done(job, output=totals)
    stranger.send(b"\xff" * 40)
    stranger.socket.send_multipart([b"one frame"])
    stranger.socket.send_multipart([b"three", b"frames", b"of it"])
    # DEPLOY is answered, so that what came before it was read.
    stranger.send(head(DEPLOY, plugin="x"), b"code")
    assert stranger.expect(ERR)["check"] == "form"
    assert bench.project.statuses() == {"RUNNING": 1}
    sidecar.done(job, output=totals)
    assert bench.end().jobs == {"COMPLETED": 1}
    assert bench.project.parquet().num_rows == 3


def test_half_a_stream_leaves_nothing_and_is_run_again(bench: Bench) -> None:
    bench.start()
    first = bench.sidecar()
    job = first.register()
    first.publish(job)
    assert bench.host is not None
    bench.host.end(first.session, job_id=job["job"])
    second = bench.sidecar()
    again = second.register()
    assert (again["job"], again["attempt"]) == (job["job"], 2)
    # The dead one's frames count no more, wherever they come from.
    first.done(job, output=[0, 0, 0])
    second.done(again, output=second.publish(again, TABLE.slice(0, 2)))
    assert bench.end().jobs == {"QUEUED": 1, "COMPLETED": 1}
    assert bench.project.parquet()["a"].to_pylist() == [1, 2]
    assert bench.project.query("select attempt, tries, crashes from processing_job") == [(2, 1, 1)]
    assert bench.project.stagings() == []


OFFENCES: dict[str, Callable[[HandSidecar, dict[str, Any]], None]] = {
    "version 1": lambda s, job: s.send(struct.pack("!BBHIQ", 1, DONE, 0, 0, job["job"])),
    "no opcode": lambda s, job: s.send(struct.pack("!BBHIQ", 2, 99, 0, 0, job["job"])),
    "flags": lambda s, job: s.send(head(HEARTBEAT, flags=0x8000, session=s.session)),
    "length": lambda s, job: s.send(head(HEARTBEAT, session=s.session) + b"x"),
    "no JSON": lambda s, job: s.send(struct.pack("!BBHIQ", 2, DONE, 0, 1, job["job"]) + b"{"),
    "no UTF-8": lambda s, job: s.send(struct.pack("!BBHIQ", 2, REG, 0, 2, 0) + b"\xff\xfe"),
    "another session": lambda s, job: s.send(head(HEARTBEAT, session="guessed")),
    "another attempt": lambda s, job: s.done({**job, "attempt": 2}),
    "totals": lambda s, job: s.done(job, output=[1, 3, 5]),
    "rows": lambda s, job: s.done(job, output=[*(lambda t: [t[0], 99, t[2]])(s.publish(job))]),
    "no Arrow": lambda s, job: (s.data(job, 0, b"not a schema", SCHEMA), None)[1],
    "sequence": lambda s, job: (s.data(job, 5, b"x", SCHEMA), None)[1],
}


@pytest.mark.parametrize("name", OFFENCES)
def test_an_offence_costs_the_sidecar_and_the_attempt(project: Project, name: str) -> None:
    bench = Bench(project, "zmq-ipc")
    try:
        project.drop("a.csv", "a,b\n")
        bench.start()
        assert bench.host is not None
        first = bench.sidecar()
        OFFENCES[name](first, first.register())
        assert bench.host.killed.get(timeout=PATIENCE_S) == first.session
        second = bench.sidecar()
        again = second.register()
        assert again["attempt"] == 2
        second.done(again, output=second.publish(again))
        assert bench.end().ok
        assert project.parquet().num_rows == 3
        ((kind, message),) = project.query(
            "select error_class, message from job_event where event = 'REQUEUED'"
        )
        assert (kind, "broke the protocol" in message) == ("PROTOCOL", True)
        assert project.stagings() == []
    finally:
        bench.close()


def test_a_large_batch_within_the_credit(bench: Bench) -> None:
    """30 MB in one message, as ZMQ carries it."""
    bench.start()
    sidecar = bench.sidecar()
    job = sidecar.register()
    table = pa.table({"a": pa.array(range(4_000_000), pa.int64())})
    sidecar.done(job, output=sidecar.publish(job, table))
    assert bench.end().ok
    assert bench.project.parquet().num_rows == 4_000_000
