"""Messages: what is sent comes back, what is foreign is refused in one way, texts always fit."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from casparian.domain.clipping import clip
from casparian.domain.errors import ErrorClass
from casparian.domain.message_codec import decode_from_router, decode_from_sidecar, encode
from casparian.domain.messages import (
    LARGEST,
    LONGEST_DETAIL_TEXT,
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
    HEADER,
    Flag,
    OpCode,
    RemoteProtocolError,
    encode_head,
)

COUNT = st.integers(0, LARGEST)
NAME = st.text(max_size=60)
TEXT = st.text(max_size=200)
PATH = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.integers(0xDC80, 0xDCFF).map(chr)),
    max_size=60,
)
ERRORS = st.sampled_from(sorted(SIDECAR_ERRORS))
TOTALS = st.builds(TopicTotals, COUNT, COUNT, COUNT)
# Every code point there is, lone halves of pairs included.
ANYTHING = st.text(st.integers(0, 0x10FFFF).map(chr), max_size=40)

FIELDS = [
    "session", "plugin", "plugin_hash", "pid", "failure", "attempt", "topic", "sequence", "class",
    "message", "detail", "topics", "input_path", "path", "file_version_id", "content_hash",
    "credit", "abandon", "stop", "sandbox", "version", "check", "unknown",
]  # fmt: skip

FROM_SIDECAR = st.one_of(
    st.builds(Register, NAME, NAME, NAME, COUNT, TEXT, NAME),
    st.builds(Data, NAME, COUNT, COUNT, NAME, COUNT, st.sampled_from(list(Flag))),
    st.builds(Failed, NAME, COUNT, COUNT, ERRORS, TEXT, TEXT),
    st.builds(Done, NAME, COUNT, COUNT, st.dictionaries(NAME, TOTALS, max_size=4)),
    st.builds(Alive, NAME, COUNT),
    st.builds(Deploy, st.dictionaries(NAME, TEXT, max_size=3)),
)
FROM_ROUTER = st.one_of(
    st.builds(Execute, COUNT, COUNT, PATH, PATH, COUNT, NAME),
    st.builds(Control, COUNT, COUNT, st.booleans()),
    st.builds(Deployed, NAME, COUNT, NAME),
    st.builds(DeployRefused, NAME, TEXT),
)


@given(FROM_SIDECAR)
def test_what_a_sidecar_sends_comes_back(message: FromSidecar) -> None:
    assert decode_from_sidecar(encode(message), 0) == message


@given(FROM_ROUTER)
def test_what_the_router_sends_comes_back(message: FromRouter) -> None:
    assert decode_from_router(encode(message)) == message


class TestForeignBytes:
    @given(st.binary(max_size=300), st.integers(0, 2**33))
    def test_raise_the_protocol_error_or_nothing(self, head: bytes, size: int) -> None:
        for decode in (decode_from_sidecar, decode_from_router):
            try:
                decode(head, size)
            except RemoteProtocolError:
                continue

    @given(
        opcode=st.sampled_from(OpCode),
        flags=st.integers(0, 3),
        job_id=st.integers(0, 2**64 - 1),
        meta=st.dictionaries(
            st.sampled_from(FIELDS),
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.sampled_from(["DATA", "OOM", "CRASH", "x" * 2000])
            | st.dictionaries(NAME, st.lists(st.integers(-1, 5), max_size=4), max_size=3),
        ),
        size=st.sampled_from([0, 1, DEFAULT_LIMITS.message + 1]),
    )
    def test_well_formed_heads_of_any_meaning(
        self, opcode: OpCode, flags: int, job_id: int, meta: dict[str, Any], size: int
    ) -> None:
        head = encode_head(opcode, flags, job_id, meta)
        for decode in (decode_from_sidecar, decode_from_router):
            try:
                message = decode(head, size)
            except RemoteProtocolError:
                continue
            # What is taken means exactly what was said.
            again = encode(message)
            assert decode(again, size) == message

    @given(FROM_SIDECAR, st.data())
    def test_one_changed_byte(self, message: FromSidecar, data: st.DataObject) -> None:
        head = bytearray(encode(message))
        head[data.draw(st.integers(0, len(head) - 1))] = data.draw(st.integers(0, 255))
        try:
            decode_from_sidecar(bytes(head), 0)
        except RemoteProtocolError:
            return


def head_of(opcode: OpCode, job_id: int = 1, flags: int = 0, **meta: Any) -> bytes:
    return encode_head(opcode, flags, job_id, meta)


DATA_META = {"session": "s", "attempt": 1, "topic": "t", "sequence": 0}

REFUSED = {
    "unknown metadata": (head_of(OpCode.HEARTBEAT, session="s", credit=5), "unknown metadata"),
    "missing": (head_of(OpCode.DONE, session="s", attempt=1), "needs 'topics' as dict, nothing"),
    "wrong type": (head_of(OpCode.DATA, **{**DATA_META, "attempt": "1"}), "a str came"),
    "a bool is no count": (head_of(OpCode.DATA, **{**DATA_META, "attempt": True}), "a bool came"),
    "negative": (head_of(OpCode.DATA, **{**DATA_META, "sequence": -1}), "a count was expected"),
    "too large": (head_of(OpCode.DATA, **{**DATA_META, "sequence": 2**63}), "a count was expected"),
    "job id": (head_of(OpCode.DATA, 2**63, **DATA_META), "out of range"),
    "long name": (head_of(OpCode.HEARTBEAT, session="x" * 1001), "at most 1000"),
    "long message": (
        head_of(
            OpCode.ERR, session="s", attempt=1, **{"class": "DATA"}, message="x" * 8001, detail=""
        ),
        "at most 8000",
    ),
    "a class that is the engine's to say": (
        head_of(OpCode.ERR, session="s", attempt=1, **{"class": "INFRASTRUCTURE"}, message="m"),
        "error class 'INFRASTRUCTURE'",
    ),
    "totals": (
        head_of(OpCode.DONE, session="s", attempt=1, topics={"a": [1, 2]}),
        "not three counts",
    ),
    "totals of text": (
        head_of(OpCode.DONE, session="s", attempt=1, topics={"a": [1, 2, "3"]}),
        "a count was expected",
    ),
    "many topics": (
        head_of(
            OpCode.DONE,
            session="s",
            attempt=1,
            topics={str(n): [0, 0, 0] for n in range(MOST_TOPICS + 1)},
        ),
        "at most 500",
    ),
    "an EXEC from below": (
        head_of(OpCode.EXEC, attempt=1),
        "a sidecar does not send EXEC",
    ),
    "flags": (head_of(OpCode.DONE, flags=1, session="s", attempt=1, topics={}), "has no flags"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_words(name: str) -> None:
    head, text = REFUSED[name]
    with pytest.raises(RemoteProtocolError) as caught:
        decode_from_sidecar(head, 0)
    assert text in str(caught.value)


def test_a_payload_comes_with_data_and_deploy_only() -> None:
    for message in (Register("s", "p", "h", 1), Done("s", 1, 1), Alive("s")):
        with pytest.raises(RemoteProtocolError, match="carries no payload"):
            decode_from_sidecar(encode(message), 1)
    assert decode_from_sidecar(encode(Data("s", 1, 1, "t", 0)), 10)
    assert decode_from_sidecar(encode(Deploy({})), 10)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (Register("s", "p", "h", 1), "a router does not send"),
        (Data("s", 1, 1, "t", 0), "a router does not send"),
        (Done("s", 1, 1), "DONE needs 'plugin'"),
        (Failed("s", 1, 1, ErrorClass.DATA, "m"), "ERR needs 'check'"),
    ],
)
def test_what_a_router_does_not_send(message: FromSidecar, problem: str) -> None:
    with pytest.raises(RemoteProtocolError, match=problem):
        decode_from_router(encode(message))


HARD_TEXTS = [
    "\x00" * 50_000,
    "\U0001f600" * 50_000,
    "\ud800\udc00" * 30_000,
    "\udcff" * 50_000,
    "é" * 50_000,
    "\U0001f600" * 30_000 + "a" * 3_000_000,
    "a" * 3_000_000 + "\x01" * 30_000,
    "\U0001f600" * 20_000 + "a" * 3_000_000 + "\ud83d" * 20_000,
    "\\" * 100_000,
    '"' * 100_000,
    "x" * (LONGEST_MESSAGE_TEXT - 2),
    "x" * LONGEST_DETAIL_TEXT,
]


class TestTexts:
    @given(st.lists(st.tuples(ANYTHING, st.integers(1, 5000)), max_size=5).map(
        lambda parts: "".join(text * times for text, times in parts)
    ), ANYTHING)  # fmt: skip
    @example("".join(HARD_TEXTS), "x")
    def test_of_any_length_and_alphabet_are_sent(self, long: str, short: str) -> None:
        self.check(long, short)

    @pytest.mark.parametrize("number", range(len(HARD_TEXTS)))
    def test_that_are_hard(self, number: int) -> None:
        self.check(HARD_TEXTS[number], HARD_TEXTS[number])

    def check(self, long: str, short: str) -> None:
        for message, detail in ((long, short), (short, long), (long, long)):
            failed = decode_from_sidecar(
                encode(Failed("s", 1, 1, ErrorClass.DATA, message, detail)), 0
            )
            assert isinstance(failed, Failed)
            assert len(json.dumps(failed.message)) <= LONGEST_MESSAGE_TEXT
            assert len(json.dumps(failed.detail)) <= LONGEST_DETAIL_TEXT
            register = decode_from_sidecar(encode(Register("s", "p", "h", 1, message)), 0)
            assert isinstance(register, Register)

    def test_short_ones_are_left_alone(self) -> None:
        assert clip("line 3: kein Ü\n", 100) == "line 3: kein Ü\n"

    def test_long_ones_keep_both_ends_and_say_what_is_gone(self) -> None:
        text = "begin " + "x" * 10_000 + " end"
        short = clip(text, 500)
        assert short.startswith("begin x")
        assert short.endswith("x end")
        gone = int(short.partition("[... ")[2].partition(" ")[0])
        kept = short.partition(" [...")[0] + short.rpartition("...] ")[2]
        assert gone + len(kept) == len(text)
        assert 400 < len(short) <= 500

    @given(ANYTHING, st.integers(200, 300))
    def test_half_pairs_are_shown(self, text: str, longest: int) -> None:
        clip(text, longest).encode("utf-8")


def test_the_header_is_what_the_opcodes_say() -> None:
    assert encode(Alive("s", 7))[: HEADER.size] == HEADER.pack(2, OpCode.HEARTBEAT, 0, 15, 7)
