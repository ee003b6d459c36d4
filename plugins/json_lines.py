"""JSON lines as a table: one object per line, its keys are the columns, a missing key is NULL.

    [plugin.json_lines]
    tags = ["jsonl"]
    settings = { types = { amount = "double", id = "string" } }

The file is read in blocks of whole lines; a key that first comes up in a later block is a new
column. Types are inferred block by block, text that looks like a time is one: name the types
of columns that are not alike in every block. Nothing is published of a file with a bad line.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
from pyarrow import json as arrow_json

from casparian.sdk import BasePlugin

DEFAULTS: dict[str, Any] = {
    # The topic's name. {stem} is the file's name up to its first dot, {folder} its directory's.
    "topic": "output",
    # Column name to type: int64, double, string, bool, date32, timestamp[us], ...
    "types": {},
    # A file of no bytes at all: "fail", or "accept" it as one without rows.
    "empty": "fail",
    # Bytes that are read and parsed at a time. A line may be longer.
    "block_bytes": 4 << 20,
}
# Arrow would make a float of a whole number that is too long for 64 bits.
LONG_NUMBER = re.compile(rb"[0-9]{19}")
INT64 = range(-(2**63), 2**63)


class Handler(BasePlugin):
    def configure(self, ctx: Any, config: Any) -> None:
        super().configure(ctx, config)
        unknown = sorted(set(config) - set(DEFAULTS))
        if unknown:
            raise ValueError(f"unknown settings {unknown}; known: {', '.join(DEFAULTS)}")
        self._settings = {**DEFAULTS, **config}
        if self._settings["empty"] not in ("fail", "accept"):
            raise ValueError(f"empty = {self._settings['empty']!r}: it is 'fail' or 'accept'")
        self._types = {c: pa.type_for_alias(t) for c, t in self._settings["types"].items()}

    def execute(self, file_path: str) -> None:
        topic = self._topic()
        line = 1
        with pa.input_stream(file_path, compression="detect") as stream:
            for block in whole_lines(stream, self._settings["block_bytes"]):
                table = self._parse(block, line)
                if table is not None:
                    self.publish(topic, table)
                line += block.count(b"\n")
        if line == 1 and self._settings["empty"] == "fail":
            raise ValueError(
                "the file is empty; settings.empty = 'accept' takes it as one without rows"
            )

    def _parse(self, block: bytes, first_line: int) -> pa.Table | None:
        """The rows of some whole lines; None where all of them are blank."""
        lines = [text for line in block.split(b"\n") if (text := line.strip())]
        if not lines:
            return None
        # Whatever does not begin like an object is kept from the parser.
        if not all(text[0] == ord("{") for text in lines) or LONG_NUMBER.search(block):
            self._check_lines(block, first_line)
        try:
            table = arrow_json.read_json(
                io.BytesIO(block),
                read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(block) + 1),
                parse_options=arrow_json.ParseOptions(
                    explicit_schema=pa.schema(list(self._types.items())),
                    unexpected_field_behavior="infer",
                ),
            )
            table.validate(full=True)
        except pa.ArrowInvalid as error:
            self._check_lines(block, first_line)
            last = first_line + block.count(b"\n") - 1
            raise ValueError(f"lines {first_line} to {last}: {error}") from error
        if table.num_rows != len(lines):
            self._check_lines(block, first_line)
            raise ValueError(
                f"{len(lines)} lines from line {first_line} on hold {table.num_rows} objects"
            )
        return table

    def _check_lines(self, block: bytes, first_line: int) -> None:
        """Raise ValueError for the first line that is not one JSON object."""
        for number, line in enumerate(block.split(b"\n"), first_line):
            if not line.strip():
                continue
            try:
                value = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except ValueError as error:
                raise ValueError(f"line {number} is no JSON: {error}") from error
            if not isinstance(value, dict):
                raise ValueError(f"line {number} holds a {type(value).__name__}, not an object")
            for key, inner in value.items():
                if key not in self._types and (big := too_long(inner)) is not None:
                    raise ValueError(
                        f"line {number}: {key!r} holds {big}, which 64 bits cannot; "
                        "name the column's type in settings.types, or write it as text"
                    )

    def _topic(self) -> str:
        path = PurePosixPath(self.ctx.path)
        topic: str = self._settings["topic"]
        return topic.replace("{stem}", path.name.split(".")[0]).replace(
            "{folder}", path.parent.name
        )


def whole_lines(stream: Any, block_bytes: int) -> Iterator[bytes]:
    """The stream in blocks that end with a line's end, as large as `block_bytes` or one line."""
    parts: list[bytes] = []
    while data := stream.read(block_bytes):
        end = data.rfind(b"\n") + 1
        if not end:
            parts.append(data)
            continue
        yield b"".join(parts) + data[:end]
        parts = [data[end:]]
    if rest := b"".join(parts):
        yield rest + b"\n"


def too_long(value: Any) -> int | None:
    """A whole number anywhere in `value` that int64 cannot hold."""
    if isinstance(value, int):
        return None if value in INT64 else value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((n for item in inner if (n := too_long(item)) is not None), None)
