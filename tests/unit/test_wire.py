"""What decode_head refuses, and that nothing else comes out of it than its result or its error."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from casparian.domain.wire import (
    HEADER,
    VERSION,
    Flag,
    Limits,
    LocalProtocolError,
    OpCode,
    RemoteProtocolError,
    decode_head,
    encode_head,
    pack_header,
    unpack_header,
)

# surrogateescape text: any character, and undecodable bytes as U+DC80 to U+DCFF.
TEXT = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.integers(0xDC80, 0xDCFF).map(chr)),
    max_size=12,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
METADATA = st.dictionaries(TEXT, JSON, max_size=5)


def head_of(body: bytes, **fields: int) -> bytes:
    values = {"version": VERSION, "opcode": OpCode.DATA, "flags": 0, "job_id": 1, **fields}
    length = values.get("length", len(body))
    return (
        HEADER.pack(values["version"], values["opcode"], values["flags"], length, values["job_id"])
        + body
    )


@given(
    opcode=st.sampled_from(OpCode),
    flags=st.sampled_from(list(Flag)),
    job_id=st.integers(0, 2**64 - 1),
    metadata=METADATA,
)
def test_what_is_encoded_comes_back(
    opcode: OpCode, flags: Flag, job_id: int, metadata: dict[str, Any]
) -> None:
    header, decoded = decode_head(encode_head(opcode, flags, job_id, metadata), 0)
    assert (header.opcode, header.flags, header.job_id) == (opcode, flags, job_id)
    assert decoded == metadata
    assert json.dumps(decoded) == json.dumps(metadata), "a value changed its type on the way"


@given(st.binary(max_size=200), st.integers(0, 2**33))
def test_no_bytes_raise_anything_but_the_protocol_error(head: bytes, size: int) -> None:
    try:
        decode_head(head, size)
    except RemoteProtocolError:
        return


@given(st.binary(max_size=300) | st.text('{}[]":,\\\udc80 0123eE+-.tfnul', max_size=300))
@example(b'{"a":1e999}')
@example(b'{"a":NaN}')
@example(b'{"a":' + b"9" * 5000 + b"}")
@example(b"\xff\xfe{\x00}\x00")
@example(b"\xef\xbb\xbf{}")
@example(b'"\\')
def test_no_metadata_raises_anything_but_the_protocol_error(body: bytes | str) -> None:
    raw = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
    try:
        _, metadata = decode_head(head_of(raw), 0)
    except RemoteProtocolError:
        return
    assert isinstance(metadata, dict)


@given(METADATA, st.data())
def test_a_head_with_one_byte_changed_is_read_or_refused(
    metadata: dict[str, Any], data: st.DataObject
) -> None:
    head = bytearray(encode_head(OpCode.EXEC, 0, 5, metadata))
    head[data.draw(st.integers(0, len(head) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_head(bytes(head), 0)
    except RemoteProtocolError:
        return


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (b"", "only 0 came"),
        (head_of(b"")[:15], "only 15 came"),
        (head_of(b"", version=1), "version 1"),
        (head_of(b"", opcode=0), "opcode 0"),
        (head_of(b"", opcode=8), "opcode 8"),
        (head_of(b"", flags=4), "unknown bits"),
        (head_of(b"", flags=0x8001), "unknown bits"),
        (head_of(b"{}", length=3), "announces 3 bytes"),
        (head_of(b"{}", length=1), "announces 1 bytes"),
        (head_of(b"{}", length=65_537), "at most 65536"),
        (head_of(b"[]"), "a list came"),
        (head_of(b"1"), "a int came"),
        (head_of(b"{"), "not UTF-8 JSON"),
        (head_of(b'{"a":"\xff"}'), "not UTF-8 JSON"),
        (head_of(b'{"a":"\xed\xb3\xbf"}'), "not UTF-8 JSON"),
        (head_of('{"a":1}'.encode("utf-16")), "not UTF-8 JSON"),
        (head_of(b'{"a":1,"b":{"c":1,"c":2}}'), "'c' twice"),
        (head_of(b'{"a":NaN}'), "NaN"),
        (head_of(b'{"a":-Infinity}'), "-Infinity"),
        (head_of(b'{"a":1e999}'), "out of range"),
    ],
)  # fmt: skip
def test_refuses(head: bytes, text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        decode_head(head, 0)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 2):
        value = [value]
    return {"a": value}


class TestNesting:
    def test_the_limit_itself_passes_both_ways(self) -> None:
        assert decode_head(encode_head(OpCode.REG, 0, 0, nested(32)), 0)[1] == nested(32)

    def test_one_more_is_refused_both_ways(self) -> None:
        with pytest.raises(LocalProtocolError, match="nested deeper"):
            encode_head(OpCode.REG, 0, 0, nested(33))
        with pytest.raises(RemoteProtocolError, match="nested deeper"):
            decode_head(head_of(json.dumps(nested(33)).encode()), 0)

    def test_is_judged_before_the_parser_recurses(self) -> None:
        with pytest.raises(RemoteProtocolError, match="nested deeper"):
            decode_head(head_of(b'{"a":' + b"[" * 60_000), 0)

    def test_brackets_in_text_do_not_count(self) -> None:
        metadata = {"a": "[" * 500, "b": '\\"[[', "c": "]" * 9}
        assert decode_head(encode_head(OpCode.REG, 0, 0, metadata), 0)[1] == metadata

    def test_many_objects_side_by_side_do_not_count(self) -> None:
        metadata = {"a": [{}] * 500}
        assert decode_head(encode_head(OpCode.REG, 0, 0, metadata), 0)[1] == metadata

    @pytest.mark.timeout(10)
    @pytest.mark.parametrize("body", [b'"\\' * 32_000, b'\\"' * 32_000, b'"' + b"\\" * 60_000])
    def test_is_judged_in_linear_time(self, body: bytes) -> None:
        with pytest.raises(RemoteProtocolError):
            decode_head(head_of(b"[" * 33 + body)[: 16 + 65_536], 0)
        with pytest.raises(RemoteProtocolError):
            decode_head(head_of(b"[]" * 33 + body), 0)

    @pytest.mark.timeout(10)
    def test_a_late_duplicate_among_many_keys_is_found_in_linear_time(self) -> None:
        pairs = ",".join(f'"{number:x}":0' for number in range(6_000)) + ',"0":1'
        with pytest.raises(RemoteProtocolError, match="'0' twice"):
            decode_head(head_of(b"{" + pairs.encode() + b"}"), 0)


class TestPayloadSize:
    def test_the_limit_itself_passes(self) -> None:
        assert decode_head(head_of(b""), 100, Limits(message=100))

    def test_one_more_is_refused(self) -> None:
        with pytest.raises(RemoteProtocolError, match="payload of 101 bytes"):
            decode_head(head_of(b""), 101, Limits(message=100))


class TestSending:
    @pytest.mark.parametrize(
        "metadata",
        [
            {1: "key is no text"},
            {"a": {2: "key is no text"}},
            {"a": float("nan")},
            {"a": float("inf")},
            {"a": b"bytes"},
            {"a": {1, 2}},
            {"a": OrderedDict(b=object())},
            {"a": "\ud800\udc00"},
            {"\ud800\udc00": 1},
            {"a": 10**5000},
        ],
    )
    def test_refuses_what_json_would_change(self, metadata: Any) -> None:
        with pytest.raises(LocalProtocolError):
            encode_head(OpCode.EXEC, 0, 1, metadata)

    def test_refuses_metadata_a_peer_would_refuse(self) -> None:
        with pytest.raises(LocalProtocolError, match="at most 65536"):
            encode_head(OpCode.EXEC, 0, 1, {"a": "x" * 65_536})

    @pytest.mark.parametrize(
        "fields",
        [(0, 0, 0, 0), (8, 0, 0, 0), (1, 4, 0, 0), (1, -1, 0, 0), (1, 0, -1, 0),
         (1, 0, 2**32, 0), (1, 0, 0, -1), (1, 0, 0, 2**64), (1, 0, 0, 1.5)],
    )  # fmt: skip
    def test_refuses_a_header_that_does_not_exist(self, fields: tuple[Any, ...]) -> None:
        with pytest.raises(LocalProtocolError):
            pack_header(*fields)

    def test_a_header_is_sixteen_bytes(self) -> None:
        assert len(pack_header(1, 0, 0, 0)) == 16

    def test_a_header_is_read_from_any_buffer(self) -> None:
        head = pack_header(3, 1, 9, 2**40)
        for buffer in (head, bytearray(head), memoryview(head + b"more")):
            assert unpack_header(buffer) == (2, OpCode.DATA, Flag.SCHEMA, 9, 2**40)
