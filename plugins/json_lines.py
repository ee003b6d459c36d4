"""JSON lines as a table: one object per line, its keys are the columns, a missing key is NULL.

    [plugin.json_lines]
    tags = ["jsonl"]
    settings = { types = { amount = "double", id = "string" } }

The file is read in blocks of whole lines; a key that first comes up in a later block is a new
column. Types are inferred block by block, text that looks like a time is one: name the types
of columns that are not alike in every block.

A line that is no object, or whose values are not of the kind that the lines before it have, is
rejected, with its number, offset and bytes, and the rest published.
"""

from __future__ import annotations

import codecs
import io
import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
from pyarrow import json as arrow_json

from casparian.sdk import BasePlugin
from casparian.sdk.records import Record, is_text, whole_lines

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
WRITTEN = {"string": "text", "bool": "boolean", "double": "number", "int64": "number"}
# Lines that are searched together for those that do not fit.
SEARCHED = 256
CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}


def _opened(path: str) -> Any:
    """The file's bytes, decompressed where its name says so. Arrow takes only paths that are
    UTF-8, which a file's need not be."""
    codec = CODECS.get(os.path.splitext(path)[1])
    return pa.input_stream(pa.OSFile(os.fsencode(path)), compression=codec)


class Handler(BasePlugin):
    def configure(self, ctx: Any, config: Any) -> None:
        super().configure(ctx, config)
        unknown = sorted(set(config) - set(DEFAULTS))
        if unknown:
            raise ValueError(f"unknown settings {unknown}; known: {', '.join(DEFAULTS)}")
        self._settings = {**DEFAULTS, **config}
        if self._settings["empty"] not in ("fail", "accept"):
            raise ValueError(f"empty = {self._settings['empty']!r}: it is 'fail' or 'accept'")
        self._declared = {c: pa.type_for_alias(t) for c, t in self._settings["types"].items()}

    def execute(self, file_path: str) -> None:
        # What can be written in several ways is Arrow's to judge.
        self._kinds = {name: WRITTEN.get(str(t), "any") for name, t in self._declared.items()}
        self._topic = self._topic_of(PurePosixPath(self.ctx.path))
        self._published, self._not_text = False, 0
        line, offset = 1, 0
        size = self._settings["block_bytes"]
        with _opened(file_path) as stream:
            chunks = iter(lambda: stream.read(size), b"")
            for block in whole_lines(chunks, carriage_returns=False):
                self._take(block, line, offset)
                line += block.count(b"\n")
                offset += len(block)
        if not offset and self._settings["empty"] == "fail":
            raise ValueError(
                "the file is empty; settings.empty = 'accept' takes it as one without rows"
            )
        if self._not_text and not self._published:
            raise ValueError(
                f"the file is not JSON lines: it holds no object, and line {self._not_text} is "
                "not text in UTF-8"
            )

    def _take(self, block: bytes, line: int, offset: int) -> None:
        lines = [text for text in block.split(b"\n") if text.strip()]
        if not lines:
            return
        table = self._parsed(block, lines)
        if table is None:
            table = self._sifted(block, line, offset)
        if table is not None:
            for field in table.schema:
                if kind := kind_of_type(field.type):
                    self._kinds.setdefault(field.name, kind)
            self.publish(self._topic, table)
            self._published = True

    def _parsed(self, block: bytes, lines: Sequence[bytes]) -> pa.Table | None:
        """The rows of a block, None where not all of its lines can be one."""
        # Whatever does not begin like an object is kept from the parser.
        if not all(text.lstrip()[:1] == b"{" for text in lines) or LONG_NUMBER.search(block):
            return None
        try:
            table = self._read(block, self._declared)
        except (pa.ArrowInvalid, UnicodeDecodeError):
            return None
        fits = all(self._fits(f.name, kind_of_type(f.type)) for f in table.schema)
        return table if fits and table.num_rows == len(lines) else None

    def _fits(self, key: str, kind: str) -> bool:
        """True for a value of the kind that the key had before, where it had any."""
        return not kind or self._kinds.get(key, kind) in (kind, "any")

    def _read(self, data: bytes, types: dict[str, pa.DataType]) -> pa.Table:
        table = arrow_json.read_json(
            io.BytesIO(data),
            read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=arrow_json.ParseOptions(
                explicit_schema=pa.schema(list(types.items())), unexpected_field_behavior="infer"
            ),
        )
        table.validate(full=True)
        return table

    # --- line by line -----------------------------------------------------------------------

    def _sifted(self, block: bytes, line: int, offset: int) -> pa.Table | None:
        """The rows of those lines that are one; the others are rejected."""
        records: list[Record] = []
        start = 0
        for number, text in enumerate(block.split(b"\n")):
            if text.strip():
                records.append(Record(text.rstrip(b"\r"), number, start))
            start += len(text) + 1
        objects = {id(r): value for r in records if (value := self._object(r, line)) is not None}
        table = self._fitting(records, objects)
        for record in records:
            if record.problem:
                self.reject(
                    record.raw,
                    record.problem,
                    line=line + record.line,
                    offset=offset + record.start,
                    topic=self._topic,
                )
        return table

    def _object(self, record: Record, first_line: int) -> dict[str, Any] | None:
        """What a line holds; None where that cannot be a row, and the record says why."""
        line = first_line + record.line
        if not is_text(record.raw, "utf-8") or b"\0" in record.raw:
            self._not_text = self._not_text or line
        try:
            value = json.loads(record.raw.decode("utf-8-sig" if line == 1 else "utf-8"))
        except (ValueError, RecursionError) as error:
            record.problem = f"it is no JSON: {error}"
            return None
        if not isinstance(value, dict):
            record.problem = f"it holds a {type(value).__name__}, not an object"
            return None
        record.problem = self._misfit(value)
        return None if record.problem else value

    def _misfit(self, value: dict[str, Any]) -> str:
        """What keeps an object from being a row among the others. The first value of a key
        says of what kind the others are."""
        for key, inner in value.items():
            if key not in self._declared and (big := too_long(inner)) is not None:
                return (
                    f"{key!r} holds {big}, which 64 bits cannot; "
                    "name the column's type in settings.types, or write it as text"
                )
            kind = kind_of(inner)
            if not self._fits(key, kind):
                return f"{key!r} holds a {kind}, in other lines a {self._kinds[key]}"
        for key, inner in value.items():
            if kind := kind_of(inner):
                self._kinds.setdefault(key, kind)
        return ""

    def _fitting(self, records: list[Record], objects: dict[int, Any]) -> pa.Table | None:
        """The rows of the lines without a problem; those that Arrow cannot read get one."""
        good = [r for r in records if not r.problem]
        try:
            return self._whole(good, self._declared)
        except pa.ArrowInvalid:
            self._types = self._plain_types([objects[id(r)] for r in good]) | self._declared
        for start in range(0, len(good), SEARCHED):
            self._search(good[start : start + SEARCHED])
        return self._whole([r for r in good if not r.problem], self._types)

    def _whole(self, records: list[Record], types: dict[str, pa.DataType]) -> pa.Table | None:
        if not records:
            return None
        table = self._read(joined(records), types)
        if table.num_rows != len(records):
            first = records[0].raw[:40]
            raise ValueError(f"{len(records)} lines from {first!r} on are {table.num_rows} rows")
        return table

    def _plain_types(self, objects: Iterable[dict[str, Any]]) -> dict[str, pa.DataType]:
        """The types of texts and numbers in a whole block, whatever other values there are."""
        plain = [{k: v for k, v in o.items() if is_plain(v)} for o in objects]
        try:
            return known(self._read("\n".join(map(json.dumps, plain)).encode() + b"\n", {}), {})
        except pa.ArrowInvalid:
            return {}

    def _search(self, records: list[Record]) -> None:
        """Give a problem to each line that does not fit the types of those before it."""
        try:
            self._types |= known(self._read(joined(records), self._types), self._declared)
        except pa.ArrowInvalid as error:
            if len(records) == 1:
                records[0].problem = str(error)
                return
            middle = len(records) // 2
            self._search(records[:middle])
            self._search(records[middle:])

    def _topic_of(self, path: PurePosixPath) -> str:
        topic: str = self._settings["topic"]
        return topic.replace("{stem}", path.name.split(".")[0]).replace(
            "{folder}", path.parent.name
        )


def joined(records: Iterable[Record]) -> bytes:
    return b"\n".join([r.raw.removeprefix(codecs.BOM_UTF8) for r in records]) + b"\n"


def known(table: pa.Table, declared: dict[str, pa.DataType]) -> dict[str, pa.DataType]:
    """The types of a table's columns that have one, without those declared."""
    fields = [f for f in table.schema if f.name not in declared]
    return {f.name: f.type for f in fields if not pa.types.is_null(f.type)}


def is_plain(value: Any) -> bool:
    """True for what has a type by itself: texts, and numbers that Arrow can hold."""
    if isinstance(value, int):
        return value in INT64
    return isinstance(value, str) or (isinstance(value, float) and math.isfinite(value))


def kind_of(value: Any) -> str:
    """What JSON calls a value; empty for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list) else "object"


def kind_of_type(kind: pa.DataType) -> str:
    """What JSON calls the values of a type; empty for null."""
    types = pa.types
    if types.is_null(kind):
        return ""
    if types.is_boolean(kind):
        return "boolean"
    if types.is_integer(kind) or types.is_floating(kind):
        return "number"
    if types.is_list(kind):
        return "list"
    return "object" if types.is_struct(kind) else "text"


def too_long(value: Any) -> int | None:
    """A whole number anywhere in `value` that int64 cannot hold."""
    if isinstance(value, int):
        return None if value in INT64 else value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((n for item in inner if (n := too_long(item)) is not None), None)
