"""A runtime of a sidecar on a bench: in a thread, with an engine that says what the test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pyarrow as pa

from casparian.adapters.transport import connection_for
from casparian.adapters.transport.memory import MemoryTransport
from casparian.domain.message_codec import decode_from_sidecar, encode
from casparian.domain.messages import (
    Control,
    Data,
    Done,
    Execute,
    Failed,
    FromRouter,
    FromSidecar,
    Register,
)
from casparian.domain.wire import Flag, credit_for
from casparian.sdk.plugin import BasePlugin, CaspPlugin
from casparian.sdk.runtime import Runtime

PATIENCE_S = 30.0
WINDOW = 1 << 20
SECRET = "the secret"
KIND = TypeVar("KIND")


class Engine:
    """The other side, by hand: hears all, says what the test says. Credit comes back only
    when `credit` is told to give it."""

    def __init__(self, name: str) -> None:
        self.transport = MemoryTransport(name)
        self.endpoint = self.transport.bind()
        self.peer = b""
        self.heard: list[tuple[FromSidecar, bytes]] = []
        self.returns_credit = True

    def say(self, message: FromRouter) -> None:
        self.transport.send(self.peer, encode(message))

    def job(self, number: int, path: str = "/in/f.csv") -> None:
        self.say(Execute(number, 1, path, path.lstrip("/"), 100 + number, "c" * 64))

    def listen(self) -> None:
        self.transport.poll(0.02)
        for peer, head, payload in self.transport.receive():
            self.peer = peer
            message = decode_from_sidecar(head, len(payload))
            self.heard.append((message, bytes(payload)))
            if isinstance(message, Data) and self.returns_credit:
                self.say(Control(credit=credit_for(len(payload))))

    def until(self, what: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not what():
            assert time.monotonic() < deadline, [message for message, _ in self.heard][-10:]
            self.listen()

    def of(self, kind: type[KIND]) -> list[KIND]:
        return [message for message, _ in self.heard if isinstance(message, kind)]

    def end(self, number: int) -> Done | Failed:
        """The end of a job, waited for."""

        def ends() -> list[Done | Failed]:
            found = [*self.of(Done), *self.of(Failed)]
            return [message for message in found if message.job_id == number]

        self.until(ends)
        (message,) = ends()
        return message

    def batches(self, topic: str = "rows") -> list[pa.RecordBatch]:
        """What arrived of a topic, each batch with the schema before it."""
        schema, found = None, []
        for message, payload in self.heard:
            if not isinstance(message, Data) or message.topic != topic:
                continue
            if message.flags & Flag.SCHEMA:
                schema = pa.ipc.read_schema(pa.py_buffer(payload))
            elif message.flags & Flag.STREAM:
                with pa.ipc.open_stream(pa.py_buffer(payload)) as reader:
                    schema = reader.schema
                    found += list(reader)
            else:
                found.append(pa.ipc.read_record_batch(pa.py_buffer(payload), schema))
        return found

    def payloads(self) -> list[int]:
        return [len(payload) for message, payload in self.heard if isinstance(message, Data)]


class Bench:
    """A runtime in a thread, registered, with its window granted."""

    def __init__(self, engine: Engine, handler: CaspPlugin, window: int = WINDOW) -> None:
        self.engine = engine
        self.begun: list[int] = []
        self.runtime = Runtime(connection_for(engine.endpoint), SECRET, 0.01, self.begun.append)
        self.raised: list[BaseException] = []
        self.thread = threading.Thread(target=self._run, args=(handler,))
        self.thread.start()
        engine.until(lambda: engine.of(Register))
        engine.say(Control(credit=window))

    def _run(self, handler: CaspPlugin) -> None:
        try:
            self.runtime.run("tested", "hash", 7, lambda: handler, {"a": 1})
        except BaseException as error:
            self.raised.append(error)

    def stop(self) -> None:
        self.engine.say(Control(stop=True))
        self.ended()

    def ended(self) -> None:
        self.engine.until(lambda: not self.thread.is_alive())


Start = Callable[..., Bench]


class Publishes(BasePlugin):
    """Publishes what it was made with."""

    def __init__(self, *data: Any) -> None:
        self.data = data
        self.rows: list[int] = []

    def execute(self, file_path: str) -> None:
        for data in self.data:
            self.rows.append(self.publish("rows", data))


TABLE = pa.table({"n": [1, 2, 3], "text": ["a", None, "c"]})
