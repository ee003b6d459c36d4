"""Arrow streams for the fuzz: valid ones of every type, mutated where their structure is.

Guidance by coverage is blind inside of Arrow, so the mutations know what lies where: lengths and
offsets in heads, offsets and indices in bodies, messages of a stream. What is accepted is staged
in full and read back, so that nothing that validation passed can hurt later.
"""

from __future__ import annotations

import contextlib
import datetime
import decimal
import io
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from casparian.adapters.sink.memory import MemorySinkFactory, MemoryStore
from casparian.app.payloads import GarbledPayload
from casparian.app.targets import Targets
from casparian.app.worker_context import WorkerContext
from casparian.domain.errors import JobError
from casparian.domain.messages import TopicTotals
from casparian.domain.plugins import TopicConfig
from casparian.domain.publish import Target
from casparian.domain.wire import DEFAULT_LIMITS, Flag
from tests.support.router import claim, live

MOST_READ_BACK = 1 << 20
NUMBERS = (0, 1, -1, 2, 7, 8, 63, 64, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, -(2**63))

_DAY = datetime.date(2026, 1, 31)
_TIME = datetime.datetime(2026, 1, 31, 10, 0, 0, 5)
_THREE = decimal.Decimal(3)
_KEYS = pa.list_(pa.dictionary(pa.int8(), pa.string()))
_RUNS = pa.RunEndEncodedArray.from_arrays(pa.array([2, 5], pa.int32()), pa.array(["a", "b"]))
_EITHER = pa.UnionArray.from_sparse(
    pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]
)
COLUMNS: tuple[dict[str, Any], ...] = (
    {"n": [1, 2, None], "s": ["a", None, "ccc"]},
    {"b": [b"x", b"", None], "f": [1.5, None, -0.0], "t": [True, None, False]},
    {"l": [[1, 2], None, []], "m": [[["a"], []], [], None]},
    {"r": [{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}]},
    {"d": pa.array(["a", "b", "a", None]).dictionary_encode()},
    {"l": pa.array([["a"], ["b", "a"]], _KEYS)},
    {
        "d": [decimal.Decimal("1.50"), None],
        "w": pa.array([decimal.Decimal(3), None], pa.decimal256(40, 0)),
    },
    {
        "day": [_DAY, None],
        "at": [_TIME, None],
        "z": pa.array([_TIME, None], pa.timestamp("ns", "UTC")),
    },
    {"m": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int32()))},
    {"f": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int16(), 2))},
    {"x": pa.array([b"ab", None, b"cd"], pa.binary(2))},
    {"v": pa.array(["short", "longer than twelve bytes", None], pa.string_view())},
    {"w": pa.array([["a"], None, ["b", "c"]], pa.list_view(pa.string()))},
    {"e": _RUNS},
    {"u": _EITHER},
    {
        "g": pa.array(["x", None], pa.large_string()),
        "h": pa.array([[1], None], pa.large_list(pa.int8())),
    },
    {"none": pa.nulls(5)},
    {"n": list(range(200)), "s": [f"text {n}" for n in range(200)]},
)
SEEDS = (*map(pa.record_batch, COLUMNS), pa.record_batch({"n": [1]}).select([]))


@dataclass(slots=True)
class Message:
    """An encapsulated message, taken apart."""

    head: bytes
    body: bytes

    def __bytes__(self) -> bytes:
        return b"\xff\xff\xff\xff" + struct.pack("<i", len(self.head)) + self.head + self.body


END = b"\xff\xff\xff\xff\0\0\0\0"


def taken_apart(batches: Sequence[pa.RecordBatch]) -> list[Message]:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    messages = []
    for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(sink.getvalue())):
        head = message.metadata.to_pybytes()
        padding = -(len(head) + 8) % 8
        body = message.body.to_pybytes() if message.body is not None else b""
        messages.append(Message(head + bytes(padding), body))
    return messages


class Streams:
    """`case` sends one stream, or a schema and a batch, through all that reads and stages it."""

    def __init__(self) -> None:
        self._store = MemoryStore()
        self._targets = Targets({"memory": MemorySinkFactory(self._store)})
        self._plugin = live(topics=(TopicConfig("rows", "memory://out"),))
        self._seeds = [taken_apart([batch]) for batch in SEEDS]
        self._seeds += [taken_apart([batch, batch.slice(1)]) for batch in SEEDS[:4]]

    def case(self, chance: random.Random) -> str:
        seed = chance.choice(self._seeds)
        messages = [Message(m.head, m.body) for m in seed]
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            chance.choice(MUTATIONS)(messages, chance, self._seeds)
        if chance.random() < 0.3 and len(messages) == 2:
            return self._send([(Flag.SCHEMA, bytes(messages[0])), (Flag(0), bytes(messages[1]))])
        whole = b"".join(map(bytes, messages)) + chance.choice((b"", END, END, b"\0" * 8))
        if chance.random() < 0.05:
            whole = whole[: chance.randrange(len(whole) + 1)]
        return self._send([(Flag.STREAM, whole)])

    def _send(self, frames: Sequence[tuple[Flag, bytes]]) -> str:
        context = WorkerContext(claim(1), self._plugin, "f" * 32, self._targets, _unknown)
        try:
            for flag, payload in frames:
                context.frame("rows", flag, payload)
            rows = sum(state.rows for state in context._topics.values())
            assert rows <= DEFAULT_LIMITS.rows
            context.finish({"rows": TopicTotals(1, rows, 0)})
            self._read_back()
        except GarbledPayload as error:
            return f"garbled: {error}"
        except JobError as error:
            return f"{error.error_class}: {error.message}"
        finally:
            context.discard()
        return "accepted"

    def _read_back(self) -> None:
        for tables in self._store.staged.values():
            for table in tables.values():
                table.validate(full=True)
                if table.nbytes < MOST_READ_BACK and table.num_rows < 1000:
                    with contextlib.suppress(pa.ArrowException, OSError):
                        pq.write_table(table, io.BytesIO())


def _unknown(_: Target) -> None:
    return None


# --- mutations ----------------------------------------------------------------------------

Mutation = Callable[[list[Message], random.Random, list[list[Message]]], None]


def _head_number(messages: list[Message], chance: random.Random, _: object) -> None:
    """A length, an offset, a count: heads are mostly numbers of 2, 4 and 8 bytes."""
    message = chance.choice(messages)
    form = chance.choice(("<h", "<i", "<q", "<q"))
    size = struct.calcsize(form)
    if len(message.head) < size:
        return
    at = chance.randrange(0, len(message.head) - size + 1, min(size, 4))
    number = chance.choice(NUMBERS)
    if chance.random() < 0.5:
        number = struct.unpack_from(form, message.head, at)[0] + chance.choice((-8, -1, 1, 8))
    packed = struct.pack("<q", (number + 2**63) % 2**64 - 2**63)[:size]
    message.head = message.head[:at] + packed + message.head[at + size :]


def _body_number(messages: list[Message], chance: random.Random, _: object) -> None:
    """An offset, an index, a length of a view: whatever lies there."""
    bodies = [m for m in messages if len(m.body) >= 8]
    if not bodies:
        return
    message = chance.choice(bodies)
    form = chance.choice(("<b", "<i", "<i", "<q"))
    size = struct.calcsize(form)
    at = chance.randrange(0, len(message.body) - size + 1, size)
    packed = struct.pack("<q", chance.choice(NUMBERS))[:size]
    message.body = message.body[:at] + packed + message.body[at + size :]


def _flip(messages: list[Message], chance: random.Random, _: object) -> None:
    message = chance.choice(messages)
    changed = bytearray(message.head if chance.random() < 0.5 or not message.body else message.body)
    whole = bytes(changed)
    for _n in range(chance.choice((1, 2, 8))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    if whole == message.head:
        message.head = bytes(changed)
    else:
        message.body = bytes(changed)


def _resize_body(messages: list[Message], chance: random.Random, _: object) -> None:
    message = chance.choice(messages)
    if chance.random() < 0.5:
        message.body = message.body[: chance.randrange(len(message.body) + 1)]
    else:
        message.body += bytes(chance.choice((1, 8, 64)))


def _swap(messages: list[Message], chance: random.Random, seeds: list[list[Message]]) -> None:
    """A message, or a part of it, of another stream."""
    other = chance.choice(chance.choice(seeds))
    at = chance.randrange(len(messages))
    match chance.randrange(3):
        case 0:
            messages[at] = Message(other.head, other.body)
        case 1:
            messages[at] = Message(messages[at].head, other.body)
        case _:
            messages[at] = Message(other.head, messages[at].body)


def _order(messages: list[Message], chance: random.Random, _: object) -> None:
    at = chance.randrange(len(messages))
    match chance.randrange(3):
        case 0 if len(messages) > 1:
            del messages[at]
        case 1:
            messages.insert(at, Message(messages[at].head, messages[at].body))
        case _:
            chance.shuffle(messages)


MUTATIONS: tuple[Mutation, ...] = (
    _head_number, _head_number, _head_number, _body_number, _body_number, _flip, _resize_body,
    _swap, _order,
)  # fmt: skip
