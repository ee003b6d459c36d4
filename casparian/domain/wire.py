"""The outer form of protocol v2: a fixed header and metadata in JSON, not what they mean.

A message is two frames, [head][payload]; a head is the 16 bytes of HEADER and then the metadata.
Whatever a peer sends, reading it raises RemoteProtocolError or nothing; what this side would send
wrongly raises LocalProtocolError before a byte of it is made.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any, NamedTuple, TypeAlias

from casparian.domain.errors import CasparianError

VERSION = 2
HEADER = struct.Struct("!BBHIQ")

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


class RemoteProtocolError(CasparianError):
    """The peer sent what the protocol does not allow."""


class LocalProtocolError(CasparianError):
    """This side tried to send what the protocol does not allow: a bug here, not in the peer."""


class OpCode(IntEnum):
    REG = 1
    EXEC = 2
    DATA = 3
    ERR = 4
    DONE = 5
    HEARTBEAT = 6
    DEPLOY = 7


class Flag(IntFlag):
    SCHEMA = 1
    """The payload is the Arrow schema of a topic."""
    STREAM = 2
    """The payload is a whole Arrow IPC stream: a schema, and batches of it."""


class Header(NamedTuple):
    version: int
    opcode: OpCode
    flags: Flag
    meta_length: int
    """Bytes of metadata after the header."""
    job_id: int
    """0 where a message is about no job."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer may ask of the other. Sizes and windows in bytes."""

    message: int = 64 * 1024 * 1024
    """Payload of one message; a larger batch is split by its sender."""
    metadata: int = 64 * 1024
    nesting: int = 32
    """Depth of objects and lists in metadata, the outermost object counted."""
    columns: int = 10_000
    overhead: int = 4096
    """What each DATA uses of the credit beside its payload: frames and objects at both ends."""
    batches: int = 1024
    """Batches in one payload."""
    rows: int = 4 * 1024 * 1024
    """Rows in one payload: columns of nulls have rows without bytes, and each row gets lineage."""
    written_out: int = 256 * 1024 * 1024
    """Bytes of a payload's values, those written out that a dictionary, a run or a view of a list
    says once for many rows."""
    session_window: int = 64 * 1024 * 1024
    """Credit that one session may have used and not yet got back, in bytes."""
    total_window: int = 256 * 1024 * 1024
    """The same, of all sessions of one router together."""


DEFAULT_LIMITS = Limits()


def credit_for(payload_bytes: int) -> int:
    """What a DATA uses of its session's credit, in bytes: ever so many small ones are bounded,
    too."""
    return payload_bytes + DEFAULT_LIMITS.overhead


# Looking an enum up by value costs several times what the rest of a header does.
OPCODES: Mapping[int, OpCode] = {int(code): code for code in OpCode}
FLAGS: tuple[Flag, ...] = tuple(Flag(bits) for bits in range(int(Flag.SCHEMA | Flag.STREAM) + 1))

# Strings whole (the last one may lack its end), or one bracket. Every alternative that begins
# matches, so that the scan stays linear on hostile input.
_LEXEME = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{\]}]', re.DOTALL)
# Two halves that JSON would join: the text would come back as one other character.
_SPLIT_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


# --- the header --------------------------------------------------------------------------------


def pack_header(opcode: int, flags: int, meta_length: int, job_id: int) -> bytes:
    """The 16 bytes of a header. Raises LocalProtocolError for a value that has no place in it."""
    if opcode not in OPCODES or not 0 <= flags < len(FLAGS):
        raise LocalProtocolError(f"there is no opcode {opcode!r} with flags {flags!r}")
    try:
        return HEADER.pack(VERSION, opcode, flags, meta_length, job_id)
    except struct.error as error:
        raise LocalProtocolError(
            f"metadata length {meta_length!r} or job id {job_id!r} does not fit the header: {error}"
        ) from error


def unpack_header(buffer: bytes | bytearray | memoryview) -> Header:
    """The header that begins a buffer. Raises RemoteProtocolError if none does."""
    if len(buffer) < HEADER.size:
        raise RemoteProtocolError(
            f"a message begins with {HEADER.size} bytes of header, but only {len(buffer)} came"
        )
    version, opcode, flags, meta_length, job_id = HEADER.unpack_from(buffer)
    if version != VERSION:
        raise RemoteProtocolError(
            f"the peer speaks protocol version {version}, this side version {VERSION}"
        )
    known = OPCODES.get(opcode)
    if known is None:
        raise RemoteProtocolError(f"opcode {opcode} is unknown")
    if flags >= len(FLAGS):
        raise RemoteProtocolError(f"flags {flags:#06x} contain unknown bits")
    return Header(version, known, FLAGS[flags], meta_length, job_id)


# --- the whole head ----------------------------------------------------------------------------


def encode_head(
    opcode: int,
    flags: int,
    job_id: int,
    metadata: Mapping[str, Json],
    limits: Limits = DEFAULT_LIMITS,
) -> bytes:
    """Header and metadata of one message; empty metadata is no bytes at all, tuples become lists.

    Raises LocalProtocolError for metadata that JSON would change on its way (a key that is no
    text, NaN, an object of some class) or that a peer with the same limits would refuse.
    """
    body = _encode_metadata(metadata, limits) if metadata else b""
    if len(body) > limits.metadata:
        raise LocalProtocolError(
            f"{len(body)} bytes of metadata, at most {limits.metadata} can be sent: "
            "put what is long into the payload"
        )
    return pack_header(opcode, flags, len(body), job_id) + body


def decode_head(
    head: bytes | bytearray | memoryview, payload_size: int, limits: Limits = DEFAULT_LIMITS
) -> tuple[Header, dict[str, Json]]:
    """Header and metadata of a message that came with `payload_size` bytes of payload.

    Raises RemoteProtocolError, and nothing else, whatever the bytes are.
    """
    header = unpack_header(head)
    if header.meta_length > limits.metadata:
        raise RemoteProtocolError(
            f"{header.meta_length} bytes of metadata announced, at most {limits.metadata} allowed"
        )
    if len(head) != HEADER.size + header.meta_length:
        raise RemoteProtocolError(
            f"the header announces {header.meta_length} bytes of metadata, "
            f"{len(head) - HEADER.size} came"
        )
    if payload_size > limits.message:
        raise RemoteProtocolError(
            f"a payload of {payload_size} bytes, at most {limits.message} allowed"
        )
    if header.meta_length == 0:
        return header, {}
    return header, _decode_metadata(bytes(head[HEADER.size :]), limits)


# --- metadata ----------------------------------------------------------------------------------


def _encode_metadata(metadata: Mapping[str, Json], limits: Limits) -> bytes:
    _check_sendable(metadata, limits.nesting)
    # Paths are surrogateescape text, which UTF-8 cannot carry: ASCII escapes can.
    try:
        return json.dumps(metadata, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    except ValueError as error:
        raise LocalProtocolError(f"metadata cannot be written as JSON: {error}") from error


def _check_sendable(value: object, levels: int) -> None:
    """Refuses what json.dumps would coerce in silence."""
    match value:
        case None | bool() | int():
            return
        case str():
            if _SPLIT_PAIR.search(value):
                raise LocalProtocolError(
                    f"metadata text {value!r} holds a split surrogate pair, which JSON would join"
                )
        case float():
            if not math.isfinite(value):
                raise LocalProtocolError(f"metadata cannot carry the number {value!r}")
        case dict() | list() | tuple():
            if levels == 0:
                raise LocalProtocolError("metadata is nested deeper than the limit allows")
            for key in value if isinstance(value, dict) else ():
                if not isinstance(key, str):
                    raise LocalProtocolError(f"metadata key {key!r} is no text")
                _check_sendable(key, levels)
            for item in value.values() if isinstance(value, dict) else value:
                _check_sendable(item, levels - 1)
        case _:
            raise LocalProtocolError(f"metadata cannot carry a {type(value).__name__}: {value!r}")


def _decode_metadata(raw: bytes, limits: Limits) -> dict[str, Json]:
    _check_nesting(raw, limits.nesting)
    try:
        # Decoded here, since json would also take UTF-16 and UTF-32.
        metadata = _DECODER.decode(raw.decode("utf-8"))
    except ValueError as error:
        raise RemoteProtocolError(f"metadata is not UTF-8 JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise RemoteProtocolError(
            f"metadata must be a JSON object, a {type(metadata).__name__} came"
        )
    return metadata


def _check_nesting(raw: bytes, levels: int) -> None:
    """Before parsing, because the parser recurses."""
    if raw.count(b"{") + raw.count(b"[") <= levels:
        return
    depth = 0
    for lexeme in _LEXEME.finditer(raw):
        first = raw[lexeme.start()]
        if first in b"{[":
            depth += 1
            if depth > levels:
                raise RemoteProtocolError(f"metadata is nested deeper than {levels} levels")
        elif first in b"}]":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise RemoteProtocolError(f"metadata has the key {key!r} twice in one object")
        made[key] = value
    return made


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise RemoteProtocolError(f"metadata holds the number {text}, which is out of range")
    return number


def _no_constant(text: str) -> float:
    raise RemoteProtocolError(f"metadata holds {text}, which is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_finite, parse_constant=_no_constant
)
