"""Messages of protocol v2 as bytes, and back: each opcode's metadata, checked on arrival.

`encode` gives the head of a message, `decode_...` its meaning. What a sidecar sends is foreign:
every field is checked for presence, type and range, and unknown fields are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from casparian.domain.clipping import clip
from casparian.domain.errors import ErrorClass
from casparian.domain.messages import (
    LARGEST,
    LONGEST_DETAIL_TEXT,
    LONGEST_LEVEL,
    LONGEST_MESSAGE_TEXT,
    MOST_TOPICS,
    SIDECAR_ERRORS,
    Alive,
    Control,
    Data,
    Deploy,
    Deployed,
    DeployRefused,
    Done,
    Execute,
    Failed,
    FromRouter,
    FromSidecar,
    Register,
    TopicTotals,
)
from casparian.domain.wire import (
    DEFAULT_LIMITS,
    Json,
    Limits,
    OpCode,
    RemoteProtocolError,
    decode_head,
    encode_head,
)


def encode(message: FromSidecar | FromRouter) -> bytes:
    """The head of a message; DATA's payload travels in the second frame."""
    match message:
        case Register(session, plugin, plugin_hash, pid, failure, sandbox):
            meta: dict[str, Json] = {
                "session": session,
                "plugin": plugin,
                "plugin_hash": plugin_hash,
                "pid": pid,
            }
            if failure:
                meta["failure"] = clip(failure, LONGEST_DETAIL_TEXT)
            if sandbox:
                meta["sandbox"] = sandbox
            return encode_head(OpCode.REG, 0, 0, meta)
        case Execute(job_id, attempt, input_path, path, version, content_hash):
            return encode_head(
                OpCode.EXEC,
                0,
                job_id,
                {
                    "attempt": attempt,
                    "input_path": input_path,
                    "path": path,
                    "file_version_id": version,
                    "content_hash": content_hash,
                },
            )
        case Data(session, job_id, attempt, topic, sequence, flags):
            return encode_head(
                OpCode.DATA,
                flags,
                job_id,
                {"session": session, "attempt": attempt, "topic": topic, "sequence": sequence},
            )
        case Failed(session, job_id, attempt, error_class, text, detail):
            return encode_head(
                OpCode.ERR,
                0,
                job_id,
                {
                    "session": session,
                    "attempt": attempt,
                    "class": str(error_class),
                    "message": clip(text, LONGEST_MESSAGE_TEXT),
                    "detail": clip(detail, LONGEST_DETAIL_TEXT),
                },
            )
        case Done(session, job_id, attempt, topics):
            totals = {name: [t.batches, t.rows, t.bytes] for name, t in topics.items()}
            return encode_head(
                OpCode.DONE,
                0,
                job_id,
                {"session": session, "attempt": attempt, "topics": totals},
            )
        case Alive(session, job_id):
            return encode_head(OpCode.HEARTBEAT, 0, job_id, {"session": session})
        case Control(credit, abandon, stop):
            return encode_head(
                OpCode.HEARTBEAT, 0, 0, {"credit": credit, "abandon": abandon, "stop": stop}
            )
        case Deploy(metadata):
            return encode_head(OpCode.DEPLOY, 0, 0, metadata)
        case Deployed(plugin, version, content_hash):
            installed: dict[str, Json] = {
                "plugin": plugin,
                "version": version,
                "content_hash": content_hash,
            }
            return encode_head(OpCode.DONE, 0, 0, installed)
        case DeployRefused(check, text):
            refused = {"check": check, "message": clip(text, LONGEST_MESSAGE_TEXT)}
            return encode_head(OpCode.ERR, 0, 0, refused)


def decode_from_sidecar(
    head: bytes | bytearray | memoryview, payload_size: int, limits: Limits = DEFAULT_LIMITS
) -> FromSidecar:
    """The meaning of a message to the router. Raises RemoteProtocolError, and nothing else."""
    header, meta = decode_head(head, payload_size, limits)
    job_id = header.job_id
    if job_id > LARGEST:
        raise RemoteProtocolError(f"job id {job_id} is out of range")
    if payload_size and header.opcode not in (OpCode.DATA, OpCode.DEPLOY):
        raise RemoteProtocolError(f"{header.opcode.name} carries no payload, but one came")
    if header.flags and header.opcode is not OpCode.DATA:
        raise RemoteProtocolError(f"{header.opcode.name} has no flags, {header.flags!r} came")
    if header.opcode is OpCode.DEPLOY:
        return Deploy(meta)
    fields = _Fields(header.opcode.name, meta)
    message: FromSidecar
    match header.opcode:
        case OpCode.REG:
            message = Register(
                fields.text("session"),
                fields.text("plugin"),
                fields.text("plugin_hash"),
                fields.count("pid"),
                fields.text("failure", default="", longest=LONGEST_DETAIL_TEXT),
                fields.text("sandbox", default="", longest=LONGEST_LEVEL),
            )
        case OpCode.DATA:
            message = Data(
                fields.text("session"),
                job_id,
                fields.count("attempt"),
                fields.text("topic"),
                fields.count("sequence"),
                header.flags,
            )
        case OpCode.ERR:
            message = Failed(
                fields.text("session"),
                job_id,
                fields.count("attempt"),
                fields.error_class("class"),
                fields.text("message", longest=LONGEST_MESSAGE_TEXT),
                fields.text("detail", default="", longest=LONGEST_DETAIL_TEXT),
            )
        case OpCode.DONE:
            message = Done(
                fields.text("session"), job_id, fields.count("attempt"), fields.totals("topics")
            )
        case OpCode.HEARTBEAT:
            message = Alive(fields.text("session"), job_id)
        case _:
            raise RemoteProtocolError(f"a sidecar does not send {header.opcode.name}")
    fields.expect_no_more()
    return message


def decode_from_router(head: bytes | bytearray | memoryview, payload_size: int = 0) -> FromRouter:
    """The meaning of a message to a sidecar. Raises RemoteProtocolError, and nothing else."""
    header, meta = decode_head(head, payload_size)
    fields = _Fields(header.opcode.name, meta)
    message: FromRouter
    match header.opcode:
        case OpCode.EXEC:
            message = Execute(
                header.job_id,
                fields.count("attempt"),
                fields.text("input_path", longest=DEFAULT_LIMITS.metadata),
                fields.text("path", longest=DEFAULT_LIMITS.metadata),
                fields.count("file_version_id"),
                fields.text("content_hash"),
            )
        case OpCode.HEARTBEAT:
            message = Control(fields.count("credit"), fields.count("abandon"), fields.flag("stop"))
        case OpCode.DONE:
            message = Deployed(
                fields.text("plugin"), fields.count("version"), fields.text("content_hash")
            )
        case OpCode.ERR:
            message = DeployRefused(
                fields.text("check"), fields.text("message", longest=LONGEST_MESSAGE_TEXT)
            )
        case _:
            raise RemoteProtocolError(f"a router does not send {header.opcode.name}")
    fields.expect_no_more()
    return message


_T = TypeVar("_T")


class _Fields:
    """Takes typed fields out of metadata, each at most once."""

    def __init__(self, opcode: str, meta: Mapping[str, Any]) -> None:
        self._opcode, self._left = opcode, dict(meta)

    def _take(self, name: str, kind: type[_T], default: _T | None) -> _T:
        value = self._left.pop(name, default)
        if type(value) is not kind:
            came = "nothing" if value is None else f"a {type(value).__name__}"
            raise RemoteProtocolError(
                f"{self._opcode} needs {name!r} as {kind.__name__}, {came} came"
            )
        return value

    def text(self, name: str, default: str | None = None, longest: int = 1_000) -> str:
        value = self._take(name, str, default)
        if len(value) > longest:
            raise RemoteProtocolError(
                f"{self._opcode} has {len(value)} characters in {name!r}, at most {longest}"
            )
        return value

    def count(self, name: str) -> int:
        return self._checked_count(name, self._take(name, int, None))

    def flag(self, name: str) -> bool:
        return self._take(name, bool, None)

    def error_class(self, name: str) -> ErrorClass:
        value = self._take(name, str, None)
        if value not in SIDECAR_ERRORS:
            raise RemoteProtocolError(f"{self._opcode} has the unknown error class {value!r:.80}")
        return ErrorClass(value)

    def totals(self, name: str) -> dict[str, TopicTotals]:
        raw = self._take(name, dict, None)
        if len(raw) > MOST_TOPICS:
            raise RemoteProtocolError(f"{len(raw)} topics in one job, at most {MOST_TOPICS}")
        totals: dict[str, TopicTotals] = {}
        for topic, counts in raw.items():
            if not isinstance(counts, list) or len(counts) != 3:
                raise RemoteProtocolError(f"the totals of topic {topic!r:.80} are not three counts")
            batches, rows, size = (self._checked_count(f"totals of {topic}", c) for c in counts)
            totals[topic] = TopicTotals(batches, rows, size)
        return totals

    def _checked_count(self, name: str, value: object) -> int:
        if type(value) is not int or not 0 <= value <= LARGEST:
            raise RemoteProtocolError(
                f"{self._opcode} has {value!r:.40} as {name!r:.80}, a count was expected"
            )
        return value

    def expect_no_more(self) -> None:
        if self._left:
            names = ", ".join(sorted(repr(name)[:40] for name in self._left)[:5])
            raise RemoteProtocolError(f"{self._opcode} has unknown metadata: {names}")
