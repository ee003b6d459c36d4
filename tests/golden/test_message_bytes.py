"""The bytes of every message of protocol v2, both ways. They change only with VERSION."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from casparian.domain.errors import ErrorClass
from casparian.domain.message_codec import decode_from_router, decode_from_sidecar, encode
from casparian.domain.messages import (
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
from casparian.domain.wire import Flag, OpCode

SECRET = "0123456789abcdef0123456789abcdef"


class Golden(NamedTuple):
    name: str
    message: FromSidecar | FromRouter
    header: str
    body: bytes


UP = [
    Golden(
        "reg", Register(SECRET, "csv_table", "ab" * 32, 4242),
        "02 01 0000 0000009f 0000000000000000",
        b'{"session":"0123456789abcdef0123456789abcdef","plugin":"csv_table","plugin_hash":"'
        + b"ab" * 32 + b'","pid":4242}',
    ),
    Golden(
        "reg of a plugin that cannot be loaded", Register("s", "p", "h", 1, "no module\n  line"),
        "02 01 0000 00000054 0000000000000000",
        b'{"session":"s","plugin":"p","plugin_hash":"h","pid":1,"failure":"no module\\n  line"}',
    ),
    Golden(
        "reg of a sandboxed sidecar", Register("s", "p", "h", 1, sandbox="full"),
        "02 01 0000 00000047 0000000000000000",
        b'{"session":"s","plugin":"p","plugin_hash":"h","pid":1,"sandbox":"full"}',
    ),
    Golden(
        "data, schema", Data("s", 7, 2, "output", 0, Flag.SCHEMA),
        "02 03 0001 00000039 0000000000000007",
        b'{"session":"s","attempt":2,"topic":"output","sequence":0}',
    ),
    Golden(
        "data, batch", Data("s", 2**63 - 1, 1, "caf\u00e9", 12),
        "02 03 0000 0000003d 7fffffffffffffff",
        b'{"session":"s","attempt":1,"topic":"caf\\u00e9","sequence":12}',
    ),
    Golden(
        "data, whole stream", Data("s", 7, 1, "output", 3, Flag.STREAM),
        "02 03 0002 00000039 0000000000000007",
        b'{"session":"s","attempt":1,"topic":"output","sequence":3}',
    ),
    Golden(
        "err", Failed("s", 7, 1, ErrorClass.DATA, "line 3: no number", "Traceback"),
        "02 04 0000 0000005d 0000000000000007",
        b'{"session":"s","attempt":1,"class":"DATA","message":"line 3: no number",'
        b'"detail":"Traceback"}',
    ),
    Golden(
        "done", Done("s", 7, 1, {"output": TopicTotals(2, 250, 8192), "_rejects": TopicTotals()}),
        "02 05 0000 0000004f 0000000000000007",
        b'{"session":"s","attempt":1,"topics":{"output":[2,250,8192],"_rejects":[0,0,0]}}',
    ),
    Golden(
        "done without rows", Done("s", 7, 1),
        "02 05 0000 00000027 0000000000000007", b'{"session":"s","attempt":1,"topics":{}}',
    ),
    Golden(
        "heartbeat at a job", Alive("s", 7),
        "02 06 0000 0000000f 0000000000000007", b'{"session":"s"}',
    ),
    Golden(
        "heartbeat, idle", Alive("s"),
        "02 06 0000 0000000f 0000000000000000", b'{"session":"s"}',
    ),
    Golden(
        "deploy", Deploy({"plugin": "csv_table", "signature": "c2ln"}),
        "02 07 0000 00000029 0000000000000000",
        b'{"plugin":"csv_table","signature":"c2ln"}',
    ),
]  # fmt: skip

DOWN = [
    Golden(
        "exec", Execute(7, 3, "/in/run/f.csv", "inbox/f.csv", 41, "cd" * 32),
        "02 02 0000 000000a6 0000000000000007",
        b'{"attempt":3,"input_path":"/in/run/f.csv","path":"inbox/f.csv","file_version_id":41,'
        b'"content_hash":"' + b"cd" * 32 + b'"}',
    ),
    Golden(
        "exec of a name that is no UTF-8", Execute(7, 1, "/in/\udcff", "\udcff", 1, "c"),
        "02 02 0000 0000005e 0000000000000007",
        b'{"attempt":1,"input_path":"/in/\\udcff","path":"\\udcff","file_version_id":1,'
        b'"content_hash":"c"}',
    ),
    Golden(
        "credit", Control(credit=64 << 20),
        "02 06 0000 0000002c 0000000000000000", b'{"credit":67108864,"abandon":0,"stop":false}',
    ),
    Golden(
        "a job to give up", Control(abandon=7),
        "02 06 0000 00000025 0000000000000000", b'{"credit":0,"abandon":7,"stop":false}',
    ),
    Golden(
        "the end", Control(stop=True),
        "02 06 0000 00000024 0000000000000000", b'{"credit":0,"abandon":0,"stop":true}',
    ),
    Golden(
        "err, to who sent DEPLOY", DeployRefused("nonce", "It came before."),
        "02 04 0000 0000002d 0000000000000000",
        b'{"check":"nonce","message":"It came before."}',
    ),
    Golden(
        "done, to who sent DEPLOY", Deployed("lines", 3, "cd34"),
        "02 05 0000 00000034 0000000000000000",
        b'{"plugin":"lines","version":3,"content_hash":"cd34"}',
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", [*UP, *DOWN], ids=lambda case: case.name)
def test_encodes_to_these_bytes(case: Golden) -> None:
    head = encode(case.message)
    assert head[16:] == case.body
    assert head[:16].hex() == case.header.replace(" ", "")


@pytest.mark.parametrize("case", UP, ids=lambda case: case.name)
def test_the_router_reads_these_bytes(case: Golden) -> None:
    assert decode_from_sidecar(bytes.fromhex(case.header) + case.body, 0) == case.message


@pytest.mark.parametrize("case", DOWN, ids=lambda case: case.name)
def test_the_sidecar_reads_these_bytes(case: Golden) -> None:
    assert decode_from_router(bytes.fromhex(case.header) + case.body) == case.message


def test_every_opcode_is_here() -> None:
    assert {encode(case.message)[1] for case in [*UP, *DOWN]} == set(OpCode)
