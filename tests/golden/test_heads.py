"""The bytes of protocol v2, one head or more for each opcode. They change only with VERSION.

Each case is written out by hand: header fields in hex with a blank between them, then the JSON.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from casparian.domain.wire import Flag, Header, Json, OpCode, decode_head, encode_head


class Golden(NamedTuple):
    name: str
    opcode: OpCode
    flags: Flag
    job_id: int
    metadata: dict[str, Json]
    header: str
    body: bytes


NO = Flag(0)

CASES = [
    Golden(
        "reg", OpCode.REG, NO, 0, {"plugin": "csv_table", "pid": 4242},
        "02 01 0000 00000021 0000000000000000", b'{"plugin":"csv_table","pid":4242}',
    ),
    Golden(
        "exec, undecodable byte in the path", OpCode.EXEC, NO, 7,
        {"path": "inbox/\udcff\u00e9.csv", "attempt": 1},
        "02 02 0000 0000002d 0000000000000007",
        rb'{"path":"inbox/\udcff\u00e9.csv","attempt":1}',
    ),
    Golden(
        "data, schema of a topic", OpCode.DATA, Flag.SCHEMA, 7, {"topic": "output", "attempt": 1},
        "02 03 0001 0000001e 0000000000000007", b'{"topic":"output","attempt":1}',
    ),
    Golden(
        "data, batch", OpCode.DATA, NO, 2**63 - 1, {"topic": "output", "sequence": 0},
        "02 03 0000 0000001f 7fffffffffffffff", b'{"topic":"output","sequence":0}',
    ),
    Golden(
        "data, whole stream", OpCode.DATA, Flag.STREAM, 7, {"topic": "output"},
        "02 03 0002 00000012 0000000000000007", b'{"topic":"output"}',
    ),
    Golden(
        "err", OpCode.ERR, NO, 7, {"class": "DATA", "message": "line 3: no number"},
        "02 04 0000 0000002e 0000000000000007",
        b'{"class":"DATA","message":"line 3: no number"}',
    ),
    Golden(
        "done", OpCode.DONE, NO, 7, {"topics": {"output": [2, 250, 8192]}},
        "02 05 0000 00000022 0000000000000007", b'{"topics":{"output":[2,250,8192]}}',
    ),
    Golden(
        "heartbeat without metadata", OpCode.HEARTBEAT, NO, 0, {},
        "02 06 0000 00000000 0000000000000000", b"",
    ),
    Golden(
        "heartbeat, credit", OpCode.HEARTBEAT, NO, 7, {"credit": 1048576, "stop": False},
        "02 06 0000 0000001f 0000000000000007", b'{"credit":1048576,"stop":false}',
    ),
    Golden(
        "deploy", OpCode.DEPLOY, NO, 0, {"plugin": "csv_table", "share": 0.5, "note": None},
        "02 07 0000 0000002e 0000000000000000",
        b'{"plugin":"csv_table","share":0.5,"note":null}',
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
class TestGoldenHeads:
    def test_encodes_to_these_bytes(self, case: Golden) -> None:
        head = encode_head(case.opcode, case.flags, case.job_id, case.metadata)
        assert head[:16].hex() == case.header.replace(" ", "")
        assert head[16:] == case.body

    def test_decodes_from_these_bytes(self, case: Golden) -> None:
        head = bytes.fromhex(case.header) + case.body
        header, metadata = decode_head(head, 0)
        assert header == Header(2, case.opcode, case.flags, len(case.body), case.job_id)
        assert metadata == case.metadata


def test_every_opcode_has_a_golden_head() -> None:
    assert {case.opcode for case in CASES} == set(OpCode)
