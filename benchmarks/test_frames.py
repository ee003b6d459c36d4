"""Frames from a sidecar to the engine: by every transport, alone and as routed batches.

The sidecar is a thread here, so that both sides share one process and its interpreter lock: the
figures are for comparing transports, payloads and twins with one another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from casparian._fastpath import _pure
from casparian.adapters.transport import connection_for
from casparian.adapters.transport.memory import MemoryTransport
from casparian.adapters.transport.zmq_ipc import ZmqIpcTransport
from casparian.adapters.transport.zmq_tcp import ZmqTcpTransport
from casparian.domain.ports import Incoming, PeerBusy, Transport
from casparian.domain.wire import OpCode, encode_head

KIB = 1024
HEAD = encode_head(OpCode.DATA, 0, 7, {"topic": "output", "attempt": 1, "sequence": 17})

Forward = Callable[[bytes | memoryview, int], list[Incoming]]


@pytest.fixture(params=["zmq-ipc", "zmq-tcp", "memory"])
def transport(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Transport]:
    made: Transport
    if request.param == "zmq-ipc":
        made = ZmqIpcTransport(str(tmp_path_factory.mktemp("b") / "r.ipc"))
    elif request.param == "zmq-tcp":
        made = ZmqTcpTransport("127.0.0.1:0")
    else:
        made = MemoryTransport("benchmark")
    yield made
    made.close()


@pytest.fixture
def forward(transport: Transport) -> Iterator[Forward]:
    """Sends a payload so many times from another thread and receives all of them."""
    connection = connection_for(transport.bind())

    def send(payload: bytes | memoryview, count: int) -> None:
        for _ in range(count):
            while True:
                try:
                    connection.send(HEAD, payload)
                    break
                except PeerBusy:
                    connection.poll(0.001)

    def forward(payload: bytes | memoryview, count: int) -> list[Incoming]:
        sender = threading.Thread(target=send, args=(payload, count))
        sender.start()
        received: list[Incoming] = []
        while len(received) < count:
            transport.poll(1.0)
            received += transport.receive()
        sender.join()
        return received

    yield forward
    connection.close()


@pytest.mark.parametrize(
    ("size", "count"),
    [(0, 5_000), (64 * KIB, 1_000), (1024 * KIB, 100)],
    ids=["0B-x5000", "64KiB-x1000", "1MiB-x100"],
)
def test_forward(benchmark: Any, forward: Forward, size: int, count: int) -> None:
    payload = bytes(size)
    benchmark.extra_info["bytes"] = size * count
    received = benchmark.pedantic(forward, (payload, count), rounds=5, warmup_rounds=1)
    assert sum(len(message.payload) for message in received) == size * count


@pytest.fixture(params=["cython", "pure"])
def twin(request: pytest.FixtureRequest) -> ModuleType:
    if request.param == "pure":
        return _pure
    return pytest.importorskip("casparian._fastpath._speed")


@pytest.mark.parametrize(
    ("rows", "count"), [(800, 1_000), (13_000, 100)], ids=["64KiB-x1000", "1MiB-x100"]
)
@pytest.mark.parametrize("transport", ["zmq-ipc"], indirect=True)
def test_forward_and_route(
    benchmark: Any, forward: Forward, twin: ModuleType, rows: int, count: int
) -> None:
    """Frames to routed batches: head split, batch opened, validated, lineage appended."""
    batch = pa.record_batch({f"c{number}": pa.array(range(rows)) for number in range(10)})
    payload = memoryview(batch.serialize())

    def run() -> int:
        routed = 0
        for message in forward(payload, count):
            job_id = twin.split_head(message.head)[3]
            opened = twin.batch_from_frame(message.payload, batch.schema)
            opened.validate(full=True)
            routed += twin.add_lineage(opened, job_id, 8, routed).num_rows
        return routed

    benchmark.extra_info["bytes"] = len(payload) * count
    assert benchmark.pedantic(run, rounds=5, warmup_rounds=1) == rows * count
