"""Inputs that are grown towards code that none has reached yet, by atheris (libFuzzer).

    python -m tests.faults.fuzz_coverage frames -max_total_time=600

What follows the target is libFuzzer's. Where nothing is wrong it ends with 0; else the input is
kept in a file `crash-...` of the current directory, and given as an argument it is run again.

`tests/faults/fuzz.py` throws more cases, but does not see which code they reach.
"""

from __future__ import annotations

import importlib
import os
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

atheris: Any = importlib.import_module("atheris")
INSTRUMENTED = [
    "casparian.domain",
    *(f"casparian.app.settings{part}" for part in ("", "_base", "_file", "_errors", "_roots")),
    "casparian.sdk.records",
]
with atheris.instrument_imports(include=INSTRUMENTED):
    from casparian.app.settings import Settings
    from casparian.domain.errors import ConfigurationError, ErrorClass, IllegalTransitionError
    from casparian.domain.message_codec import decode_from_router, decode_from_sidecar, encode
    from casparian.domain.messages import Control, Execute
    from casparian.domain.routing import compile_glob
    from casparian.domain.session import Session
    from casparian.domain.wire import (
        FLAGS,
        LocalProtocolError,
        RemoteProtocolError,
        decode_head,
        encode_head,
    )
    from casparian.sdk.records import Grammar, line_ends
    from tests.faults.fuzz_frames import Frames

TOML = Path(tempfile.mkdtemp()) / "casparian.toml"
LONGEST_PATH = 40


class Chance(random.Random):
    """Every choice is taken from the input, so that it can be steered; then always the first."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._data, self._at = data, 0

    def left(self) -> int:
        return len(self._data) - self._at

    def getrandbits(self, k: int, /) -> int:
        size = (k + 7) // 8
        some = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(some.ljust(size, b"\0"), "little") & ((1 << k) - 1)

    def random(self) -> float:
        return self.getrandbits(16) / (1 << 16)


# --- what is fed ------------------------------------------------------------------------


def heads(data: bytes) -> None:
    """Any bytes: what is read can be sent again, and says the same."""
    for decode in (decode_from_sidecar, decode_from_router):
        try:
            message = decode(data, 0)
        except RemoteProtocolError:
            continue
        assert decode(encode(message), 0) == message
    try:
        header, metadata = decode_head(data, 0)
    except RemoteProtocolError:
        return
    try:
        again = encode_head(header.opcode, header.flags, header.job_id, metadata)
    except LocalProtocolError as error:
        # Written in ASCII it may be longer than is allowed; and what was split would be joined.
        if "bytes of metadata" not in str(error) and "surrogate" not in str(error):
            raise
        return
    assert decode_head(again, 0)[1] == metadata


def frames(data: bytes) -> None:
    """A conversation of valid and mutated messages with router and session."""
    chance, conversation = Chance(data), Frames()
    while chance.left() > 0:
        conversation.case(chance)


def session(data: bytes) -> None:
    """Orders of a router and steps of a plugin, in any order; what is sent can be read."""
    chance, it = Chance(data), Session("secret")
    steps: tuple[Callable[[], object], ...] = (
        lambda: it.handle(Execute(chance.randrange(9), 1, "/in/f", "f", 1, "c" * 64)),
        lambda: it.handle(
            Control(chance.getrandbits(24), chance.randrange(9), chance.random() < 0.1)
        ),
        it.begin,
        lambda: it.data(
            "t" * (1 + chance.getrandbits(9)) + str(chance.getrandbits(8)),
            FLAGS[chance.randrange(len(FLAGS))],
            chance.getrandbits(20),
            chance.getrandbits(24),
        ),
        it.done,
        lambda: it.failed(ErrorClass.PLUGIN, "x" * chance.getrandbits(15), "\udc80"),
    )
    while chance.left() > 0:
        try:
            said: Any = chance.choice(steps)()
        except (IllegalTransitionError, LocalProtocolError):
            continue
        finally:
            assert it.credit >= 0
        if said is not None and not isinstance(said, Execute):
            decode_from_sidecar(encode(said), 0)


def settings(data: bytes) -> None:
    """A configuration file: it is read, or refused in one sentence."""
    TOML.write_bytes(data)
    try:
        Settings.load(TOML)
    except ConfigurationError:
        return


def globs(data: bytes) -> None:
    """A pattern and a path: matched, or refused in one sentence."""
    text = data.decode("utf-8", "surrogateescape")
    pattern, _, path = text.partition("\n")
    try:
        compiled = compile_glob(pattern)
    except ConfigurationError:
        return
    matched = compiled.fullmatch(path[:LONGEST_PATH]) is not None
    if not set(pattern) & set("*?["):
        assert matched == (pattern == path[:LONGEST_PATH])


def records(data: bytes) -> None:
    """Records follow one another; none is lost, and lines are counted."""
    text = data if data.endswith((b"\n", b"\r")) else data + b"\n"
    grammar = Grammar(",")
    found, end = grammar.records(text, 0, None)
    assert end == len(text)
    position = 0
    for record in found:
        between = text[position : record.start]
        assert not between.strip(b"\r\n"), between
        assert text.startswith(record.raw, record.start)
        assert record.line == line_ends(text, 0, record.start)
        position = record.start + len(record.raw)
    assert not text[position:].strip(b"\r\n")


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (heads, frames, session, settings, globs, records)
}
SEEDS: dict[str, list[bytes]] = {
    "heads": [
        encode(Execute(7, 1, "/in/f", "f", 1, "c" * 64)),
        encode(Control(1 << 20, 3, stop=True)),
    ],
    "settings": [
        (Path(__file__).parents[2] / "casparian/app/cli/templates/casparian.toml").read_bytes(),
        b'[[source_root]]\npath = "in"\nafter = "delete"\n[[rule]]\npattern = "*"\ntag = "x"\n',
    ],
    "globs": [b"**/*.csv\na/b.csv", b"a[!b-d]?/**\nax/y"],
    "records": [b'a,b\n"x,""y",2\n"open\nline",3\r\n"broken"x,4\n'],
}


def main() -> None:
    names = ", ".join(TARGETS)
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        raise SystemExit(f"Name one of {names}, and then what libFuzzer is to be told.")
    name = sys.argv.pop(1)
    corpus = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    for number, seed in enumerate(SEEDS.get(name, [os.urandom(64)])):
        (corpus / str(number)).write_bytes(seed)
    atheris.Setup([sys.argv[0], "-timeout=20", *sys.argv[1:], str(corpus)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
