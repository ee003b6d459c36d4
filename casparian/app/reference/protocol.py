"""The reference of the wire between engine and sidecar, from its header, messages and limits."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from casparian.domain import message_codec, messages, wire
from casparian.domain.errors import ErrorClass

HEAD = """\
# Protocol

<!-- Made from the code by `python -m casparian.app.reference docs/reference`. -->

What an engine and its sidecars say to each other, version {version}. It matters to those who write
a transport or a plugin host; plugins do not see it. The rules of each side are code without I/O:
`casparian.domain.router` and `casparian.domain.session`.

A message is two frames, `[head][payload]`. The head is a header of {size} bytes in network order
and then metadata, one JSON object in UTF-8. The payload is empty but for `DATA`: Arrow IPC,
the schema of a topic once per job, then its record batches.

## Header

| field | bytes | meaning |
|---|---|---|
| version | 1 | {version}; a peer of another version is refused |
| opcode | 1 | what the message is |
| flags | 2 | of `DATA` |
| metadata length | 4 | bytes of metadata after the header |
| job id | 8 | 0 where a message is about no job |
"""

# An example of each message, in the order in which a job meets them.
SESSION = "5e55"
EXAMPLES: tuple[tuple[str, Any], ...] = (
    ("sidecar to engine", messages.Register(SESSION, "csv_table", "ab12", 4711, sandbox="full")),
    ("engine to sidecar", messages.Execute(7, 1, "/data/in/a.csv", "a.csv", 3, "cd34")),
    ("sidecar to engine", messages.Data(SESSION, 7, 1, "output", 0, wire.Flag.SCHEMA)),
    (
        "sidecar to engine",
        messages.Done(SESSION, 7, 1, {"output": messages.TopicTotals(1, 2, 640)}),
    ),
    (
        "either way",
        messages.Failed(SESSION, 7, 1, ErrorClass.DATA, "ValueError: line 4 has no semicolon"),
    ),
    ("sidecar to engine", messages.Alive(SESSION, 7)),
    ("engine to sidecar", messages.Control(credit=1_048_576)),
    (
        "operator to engine",
        messages.Deploy({"key_id": "office", "body": "eyJ2...", "signature": "mZ3k..."}),
    ),
    ("engine to operator", messages.Deployed("csv_table", 3, "ab12")),
    ("engine to operator", messages.DeployRefused("nonce", "This very deployment came before.")),
)

TAIL = """\
## Rules

- A frame counts only if it comes from the session that holds the job at that attempt.
- The totals of `DONE` must agree with what arrived, or the attempt fails.
- Unknown fields, unknown opcodes, metadata that is not JSON: the attempt fails and the sidecar is
  ended. The engine goes on, whatever arrives.
- A sidecar sends no more than it was granted as credit; `publish` waits meanwhile. A DATA uses the
  bytes of its payload and `overhead`, so that ever so many small ones fill nobody's memory. Credit
  is given back as the writer takes batches.
- Batches are not compressed: what a payload becomes is bounded by what came.
- `DEPLOY` carries a plugin's code as its payload, and is answered by `DONE` or `ERR`; whoever sends
  it does not register. What is signed is the pre-authentication encoding of DSSE over the bytes of
  `body`. From a sidecar it is an offence: the sidecar is ended.
- A sidecar sends a heartbeat every second, a busy one too; every frame counts as one.
"""


# What the docstrings of these members say, which cannot be read at run time.
FLAGS = {
    wire.Flag.SCHEMA: "The payload is the Arrow schema of a topic.",
    wire.Flag.STREAM: "The payload is a whole Arrow IPC stream: a schema, and batches of it.",
}
LIMITS = {
    "message": "Bytes of one payload; a larger batch is split by its sender.",
    "metadata": "Bytes of metadata of one message.",
    "nesting": "Depth of objects and lists in metadata, the outermost object counted.",
    "columns": "Columns of a schema.",
    "overhead": "What each DATA uses of the credit beside its payload, in bytes.",
    "batches": "Batches in one payload; several come as a stream, and count as one.",
    "rows": "Rows in one payload; a longer batch is split by its sender.",
    "written_out": "Bytes of its values, with those written out that are said once for many rows.",
    "session_window": "Credit that one session may have used and not yet got back, in bytes.",
    "total_window": "The same, of all sessions of one engine together.",
}


def reference() -> str:
    """The whole page."""
    head = HEAD.format(version=wire.VERSION, size=wire.HEADER.size)
    return "\n".join([head, *_opcodes(), *_messages(), *_limits(), TAIL])


def _opcodes() -> Iterator[str]:
    codes = [f"| {code.value} | `{code.name}` |" for code in wire.OpCode]
    yield "\n".join(["## Opcodes\n", "| opcode | name |", "|---|---|", *codes, ""])
    flags = [f"| {flag.value} | `{flag.name}` | {FLAGS[flag]} |" for flag in wire.Flag]
    yield "\n".join(["| flag | name | meaning |", "|---|---|---|", *flags, ""])


def _messages() -> Iterator[str]:
    yield "## Messages\n"
    for direction, example in EXAMPLES:
        head = message_codec.encode(example)
        header = wire.unpack_header(head)
        meaning = (inspect.getdoc(type(example)) or "").partition(": ")[2]
        yield f"### {header.opcode.name}, {direction}\n"
        yield f"{meaning[0].upper()}{meaning[1:]}\n"
        yield "Header, then metadata, of an example:\n"
        body = head[wire.HEADER.size :].decode("ascii")
        yield f"```text\n{head[: wire.HEADER.size].hex(' ')}\n{body}\n```\n"


def _limits() -> Iterator[str]:
    rows = [
        f"| `{f.name}` | {getattr(wire.DEFAULT_LIMITS, f.name):,} | {LIMITS[f.name]} |"
        for f in fields(wire.Limits)
    ]
    yield "\n".join(["## Limits\n", "| limit | value | meaning |", "|---|---|---|", *rows, ""])
