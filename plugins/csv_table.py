"""CSV files as tables: one row of the file is one row of the topic, columns bound by header name.

    [plugin.csv_table]
    tags = ["csv"]
    settings = { delimiter = ";", null_values = ["", "NA"], types = { zip = "string" } }

Types are inferred from the values at the start of each file. Give a type to each column whose
values only look like numbers (zip codes, account numbers), and to each that has whole numbers
in one file and fractions in the next.

A row that cannot be read is rejected, with its line, offset and bytes, and the rest published:
one with too few or too many values, with a value that is not of its column's type, with bytes
that are not text, or with quotes that do not close.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
from pyarrow import csv

from casparian.sdk import BasePlugin
from casparian.sdk.records import (
    Grammar,
    Record,
    is_text,
    line_ends,
    usable_encoding,
    whole_lines,
)

DEFAULTS: dict[str, Any] = {
    "delimiter": ",",
    "encoding": "utf8",
    # The topic's name. {stem} is the file's name up to its first dot, {folder} its directory's.
    "topic": "output",
    # Values that mean "none", in text columns too; [] for pyarrow's own list, numbers only.
    "null_values": [],
    # Column name to type: int64, double, string, bool, date32, timestamp[us], ...
    "types": {},
    # Columns that a file must have; without one of them it fails.
    "required": [],
    # A file of no bytes at all: "fail", or "accept" it as one without rows.
    "empty": "fail",
    # Bytes that are read and parsed at a time, types are inferred from the first. A row within
    # quotes has to fit.
    "block_bytes": 1 << 20,
}
# Which of a record's columns Arrow could not convert, and why.
CONVERSION = re.compile(r"In CSV column #(\d+): (?:Row #(\d+): )?(.*)", re.DOTALL)
# Rows that are read anew for each that cannot be.
SIFTED = 256
# After so many of them in one column, all others are looked for at once.
MANY = 4
# What separates columns elsewhere: a header of one column with one of these is no header.
OTHER_DELIMITERS = ";\t|,"
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
        self._grammar = Grammar(self._settings["delimiter"])
        self._headers: dict[bytes, list[str]] = {}
        self._encoding, self._in_place = usable_encoding(self._settings["encoding"])

    def execute(self, file_path: str) -> None:
        self._topic = self._topic_of(PurePosixPath(self.ctx.path))
        self._names: list[str] = []
        self._types = dict(self._declared)
        self._line, self._offset = 1, 0
        self._published = False
        block, left = b"", b""
        with _opened(file_path) as stream:
            for block in whole_lines(self._chunks(stream)):
                left = self._take(left + block, last=False)
        if left:
            self._take(left, last=True)
        if not block and self._settings["empty"] == "accept":
            return
        if not self._names:
            raise ValueError(
                "the file is empty, not even a header is in it; "
                "settings.empty = 'accept' takes a file of no bytes as one without rows"
            )
        if not self._published:
            fields = [(name, self._types.get(name, pa.null())) for name in self._names]
            self.publish(self._topic, pa.schema(fields).empty_table())

    def _chunks(self, stream: Any) -> Iterator[bytes]:
        """The file's bytes; as UTF-8 where its own encoding cannot be taken apart as bytes."""
        size = self._settings["block_bytes"]
        if self._in_place:
            yield from iter(lambda: stream.read(size), b"")
            return
        decoder = codecs.getincrementaldecoder(self._settings["encoding"])("surrogateescape")
        while data := stream.read(size):
            yield decoder.decode(data).encode("utf-8", "surrogateescape")
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogateescape")

    # --- a block of whole lines ---------------------------------------------------------

    def _take(self, block: bytes, last: bool) -> bytes:
        """Publish or reject the rows of a block; returns what can only be read with the next."""
        start = 0 if self._names else self._take_header(block)
        end, most = len(block), None if last else self._settings["block_bytes"]
        lines = line_ends(block)
        clean = b"\0" not in block
        table = self._parsed(block, start, end) if clean else None
        if (
            clean
            and b'"' in block
            and not (
                table is not None
                and table.num_rows == lines - line_ends(block, 0, start)
                and self._grammar.is_closed(block)
            )
        ):
            # A quote may have taken up other lines, so each is looked at.
            end = self._grammar.well_formed_end(block, start, most)
            if table is None or end < len(block):
                table = self._parsed(block, start, end)
        if table is not None:
            self._publish(table)
        elif start < len(block):
            records, end = self._records(block, start, most)
            tables = list(self._sift(records))
            if tables:
                self._publish(pa.concat_tables(tables, promote_options="default"))
        self._line += lines if end == len(block) else line_ends(block, 0, end)
        self._offset += end
        return block[end:]

    def _take_header(self, block: bytes) -> int:
        """Bind the columns' names; returns where the header ends."""
        start = 3 if self._offset == 0 and block.startswith(codecs.BOM_UTF8) else 0
        while block[start : start + 1] in (b"\r", b"\n"):
            start += 1
        if start == len(block):
            return start
        end = self._grammar.record_end(block, start)
        header = block[start:end]
        if header not in self._headers:
            # Files of one kind have one header: the last is remembered.
            self._headers = {header: self._names_in(header)}
        self._names = self._headers[header]
        return end

    def _names_in(self, header: bytes) -> list[str]:
        if b"\0" in header or not is_text(header, self._encoding):
            raise ValueError(
                f"the file does not begin with a line of text in {self._settings['encoding']!r}: "
                f"{header[:40]!r}. Name its encoding in settings.encoding"
            )
        try:
            names: list[str] = self._read(header, None, {}).column_names
        except pa.ArrowInvalid as error:
            raise ValueError(f"the header {header[:200]!r} cannot be read: {error}") from error
        missing = [c for c in self._settings["required"] if c not in names]
        if missing:
            raise ValueError(f"the header lacks {missing}; it has {names}")
        if len(names) == 1 and names[0] not in self._settings["required"]:
            other = next((d for d in OTHER_DELIMITERS if d in names[0]), None)
            if other is not None:
                raise ValueError(
                    f"the header is one column, {names[0][:200]!r}: is {other!r} the delimiter? "
                    "Name it in settings.delimiter, or the column in settings.required"
                )
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the header has {twice} more than once")
        return names

    def _publish(self, table: pa.Table) -> None:
        # The first values of a column give its type, for the rest of the file.
        self._types.update({f.name: f.type for f in table.schema if not pa.types.is_null(f.type)})
        self.publish(self._topic, table)
        self._published = True

    # --- Arrow ----------------------------------------------------------------------------

    def _read(
        self,
        data: Any,
        names: list[str] | None,
        types: dict[str, pa.DataType],
        skip: Any = None,
        nulls: bool = False,
    ) -> pa.Table:
        """`skip` is called for each row of too few or too many values; with `nulls`, text can
        be NULL too."""
        settings = self._settings
        spellings = settings["null_values"]
        return csv.read_csv(
            pa.py_buffer(data),
            read_options=csv.ReadOptions(
                # Several sidecars share the cores.
                use_threads=False,
                block_size=len(data) + 1,
                column_names=names,
                encoding=self._encoding,
            ),
            parse_options=csv.ParseOptions(
                delimiter=settings["delimiter"], newlines_in_values=True, invalid_row_handler=skip
            ),
            convert_options=csv.ConvertOptions(
                column_types=types,
                null_values=spellings or None,
                strings_can_be_null=nulls or bool(spellings),
            ),
        )

    def _parsed(self, block: bytes, start: int, end: int) -> pa.Table | None:
        """All rows of a part of a block, None where not all of them can be read."""
        try:
            table = self._read(memoryview(block)[start:end], self._names, self._types)
        except (pa.ArrowInvalid, UnicodeDecodeError):
            return None
        bytes_found = any(
            pa.types.is_binary(f.type) and f.name not in self._declared for f in table.schema
        )
        return None if bytes_found else table

    # --- row by row -----------------------------------------------------------------------

    def _records(self, block: bytes, start: int, most: int | None) -> tuple[list[Record], int]:
        records, end = self._grammar.records(block, start, most)
        clean = b"\0" not in block and is_text(block, self._encoding)
        for record in () if clean else records:
            if b"\0" in record.raw:
                record.problem = "it holds a NUL byte"
            elif not self._may_hold_bytes() and not is_text(record.raw, self._encoding):
                encoding = self._settings["encoding"]
                record.problem = f"it is not text in {encoding!r}, the file's settings.encoding"
        self._infer([record for record in records if not record.problem])
        return records, end

    def _may_hold_bytes(self) -> bool:
        declared = any(pa.types.is_binary(t) for t in self._declared.values())
        return declared and self._encoding == "utf8"

    def _infer(self, records: list[Record]) -> None:
        """Types of columns that had no values so far, whatever the others hold."""
        if not records or self._types.keys() >= set(self._names):
            return
        as_bytes = dict.fromkeys(self._types, pa.binary())
        schema = self._read(_joined(records), self._names, as_bytes, _noting([])).schema
        for field in schema:
            if field.name not in self._types and not pa.types.is_null(field.type):
                binary = pa.types.is_binary(field.type)
                self._types[field.name] = pa.string() if binary else field.type

    def _sift(self, records: list[Record]) -> Iterator[pa.Table]:
        """The rows of those that can be read; the others are rejected, in the file's order."""
        step = len(records)
        try:
            table = self._read_good(records)
        except (pa.ArrowInvalid, UnicodeDecodeError):
            step = SIFTED
        for start in range(0, len(records), step or 1):
            part = records[start : start + step]
            if step == SIFTED:
                table = self._read_most(part)
            for record in part:
                if record.problem:
                    self._reject(record)
            if table is not None:
                yield table

    def _read_good(self, records: list[Record]) -> pa.Table | None:
        """The rows of those without a problem. Those of too few or too many values are given
        one; raises pa.ArrowInvalid where another has to be."""
        good = [record for record in records if not record.problem]
        if not good:
            return None
        ragged: list[Any] = []
        table = self._read(_joined(good), self._names, self._types, _noting(ragged))
        if table.num_rows + len(ragged) != len(good):
            raise pa.ArrowInvalid(f"{len(good)} records were read as {table.num_rows} rows")
        for row in ragged:
            counts = f"expected {row.expected_columns} columns, got {row.actual_columns}"
            good[row.number - 1].problem = counts
        return table

    def _read_most(self, records: list[Record]) -> pa.Table | None:
        """As `_read_good`, and every other that cannot be read is given a problem too."""
        failures = 0
        while True:
            try:
                return self._read_good(records)
            except (pa.ArrowInvalid, UnicodeDecodeError) as error:
                name, row, problem = self._because(str(error))
            good = [record for record in records if not record.problem]
            if len(good) == 1:
                row = 1
            if row is None:
                middle = len(good) // 2
                halves = (self._read_most(good[:middle]), self._read_most(good[middle:]))
                tables = [table for table in halves if table is not None]
                return pa.concat_tables(tables, promote_options="default") if tables else None
            good[row - 1].problem = problem
            failures += 1
            if failures % MANY == 0 and name is not None:
                self._search(name, [record for record in good if not record.problem])

    def _search(self, name: str, records: list[Record]) -> None:
        """Give a problem to all whose value in a column is surely not of its type: for columns
        with so many of them that to read anew for each would take long."""
        kind = self._types[name]
        ragged: list[Any] = []
        types = dict.fromkeys(self._names, pa.binary()) | {name: pa.string()}
        table = self._read(_joined(records), self._names, types, _noting(ragged), nulls=True)
        left_out = {row.number - 1 for row in ragged}
        whole = [record for n, record in enumerate(records) if n not in left_out]
        for record, value in zip(whole, table.column(name).to_pylist(), strict=True):
            if value is not None and not may_be(value, kind):
                text = f"CSV conversion error to {kind}: invalid value {value!r}"
                record.problem = self._of_column(name, text)

    def _because(self, error: str) -> tuple[str | None, int | None, str]:
        """Which column and row an error of Arrow is about (rows count from 1), where it says
        so; and what to say."""
        match = CONVERSION.match(error)
        if match is None or int(match[1]) >= len(self._names):
            return None, None, error
        name = self._names[int(match[1])]
        return name, int(match[2]) if match[2] else None, self._of_column(name, match[3])

    def _of_column(self, name: str, text: str) -> str:
        inferred = "" if name in self._declared else "; settings.types can name its type"
        return f"column {name!r}: {text}{inferred}"

    def _reject(self, record: Record) -> None:
        self.reject(
            record.raw,
            record.problem,
            line=self._line + record.line,
            offset=self._offset + record.start if self._in_place else None,
            topic=self._topic,
        )

    def _topic_of(self, path: PurePosixPath) -> str:
        topic: str = self._settings["topic"]
        return topic.replace("{stem}", path.name.split(".")[0]).replace(
            "{folder}", path.parent.name
        )


def may_be(value: str, kind: pa.DataType) -> bool:
    """False for a text that surely is no number or time of a type. Arrow reads these alike in
    CSV and in casts, but for the white space around them."""
    types = pa.types
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_temporal(kind)):
        return True
    try:
        pa.scalar(value.strip()).cast(kind)
    except pa.ArrowInvalid:
        return False
    except pa.ArrowNotImplementedError:
        return True
    return True


def _joined(records: list[Record]) -> bytes:
    return b"\n".join([record.raw for record in records]) + b"\n"


def _noting(rows: list[Any]) -> Any:
    """What Arrow calls for each row with too few or too many values: it is left out."""

    def note(row: Any) -> str:
        rows.append(row)
        return "skip"

    return note
