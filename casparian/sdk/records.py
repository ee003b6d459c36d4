"""Text files in records, for plugins that read them: whole lines, and where CSV records end.

Lines end with a line feed, a carriage return, or both.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LONGEST_LINE = 64 << 20
LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(slots=True)
class Record:
    """A row of the file without its line end. `line` and `start` count from its block's."""

    raw: bytes
    line: int
    start: int
    problem: str = ""


class Grammar:
    """Where records end. Arrow takes what follows a closing quote, and quotes within unquoted
    values, as they stand; here a record of several lines has to be without such things."""

    def __init__(self, delimiter: str) -> None:
        d = re.escape(delimiter.encode())
        quoted = rb'"(?:[^"]++|"")*+'
        field = rb"(?:%b\"|[^\"%b\r\n]*+)" % (quoted, d)
        fields = rb"%b(?:%b%b)*+" % (field, d, field)
        end = rb"(?:\r\n|\n|\r)"
        lax = rb'(?:"(?:[^"\r\n]++|"")*+"[^%b\r\n]*+|[^"%b\r\n][^%b\r\n]*+|)' % (d, d, d)
        self._record = re.compile(rb"%b(?P<end>%b)" % (fields, end))
        self._records = re.compile(rb"(?:%b%b)*+" % (fields, end))
        self._open = re.compile(rb"(?:%b%b)*+%b" % (field, d, quoted))
        self._closed_line = re.compile(rb"%b(?:%b%b)*+" % (lax, d, lax))

    def well_formed_end(self, block: bytes, start: int, most: int | None) -> int:
        """Where the records from `start` on end, all of them well-formed, the last one left for
        the next block if it needs that; `start` where there is anything else."""
        match = self._records.match(block, start)
        end = match.end() if match else start
        return end if end == len(block) or self._goes_on(block, end, most) else start

    def _goes_on(self, block: bytes, start: int, most: int | None) -> bool:
        """True when a quote is open at the block's end, and more may come to close it."""
        short = most is not None and len(block) - start <= most
        return short and self._open.fullmatch(block, start) is not None

    def is_closed(self, block: bytes) -> bool:
        """True when the last line leaves no quote open."""
        stop = len(block)
        while stop and block[stop - 1] in b"\r\n":
            stop -= 1
        start = max(block.rfind(b"\n", 0, stop), block.rfind(b"\r", 0, stop)) + 1
        return self._closed_line.fullmatch(block, start, stop) is not None

    def record_end(self, block: bytes, start: int) -> int:
        """Where the record ends that begins at `start`, its line end included."""
        stop, end = line_end(block, start)
        if not self._closed_line.fullmatch(block, start, stop):
            match = self._record.match(block, start)
            end = match.end() if match else end
        return end

    def records(self, block: bytes, start: int, most: int | None) -> tuple[list[Record], int]:
        """The records of a block of whole lines from `start` on, and where they end.

        A record within open quotes is left for the next block if it has at most `most` bytes.
        Where a quote never closes, or something follows its close, that line is no record, nor
        is any line up to that close that would not be a well-formed record by itself.
        """
        if b'"' not in block:
            return list(_plain_records(block, start)), len(block)
        found: list[Record] = []
        position, line, broken_end, broken_line = start, line_ends(block, 0, start), 0, 0
        while position < len(block):
            stop, end = line_end(block, position)
            if stop == position:
                position, line = end, line + 1
                continue
            problem, lines = "", 1
            if block.find(b'"', position, stop) >= 0:
                match = self._record.match(block, position)
                closed = self._closed_line.fullmatch(block, position, stop) is not None
                if match and not closed:
                    stop, end = match.start("end"), match.end()
                    lines = line_ends(block, position, end)
                elif not match and position < broken_end:
                    problem = f"it is part of the broken quotes {line - broken_line} lines above"
                elif not closed:
                    if self._goes_on(block, position, most):
                        return found, position
                    opened = self._open.match(block, position)
                    broken_end, broken_line = opened.end() if opened else end, line
                    problem = "a quote is opened that is not closed, or not where a value ends"
            found.append(Record(block[position:stop], line, position, problem))
            position, line = end, line + lines
        return found, len(block)


def _plain_records(block: bytes, start: int) -> Iterator[Record]:
    """A record for each line that is not empty."""
    position, first = start, line_ends(block, 0, start)
    for line, text in enumerate(block[start:].splitlines(keepends=True), first):
        raw = text.rstrip(b"\r\n")
        if raw:
            yield Record(raw, line, position)
        position += len(text)


def line_end(block: bytes, start: int) -> tuple[int, int]:
    """Where the line ends that begins at `start`, without and with its line end."""
    match = LINE_END.search(block, start)
    return match.span() if match else (len(block), len(block))


def line_ends(block: bytes, start: int = 0, stop: int | None = None) -> int:
    """How many lines end in a part of a block."""
    stop = len(block) if stop is None else stop
    if block.find(b"\r", start, stop) < 0:
        return block.count(b"\n", start, stop)
    both = block.count(b"\r\n", start, stop)
    return block.count(b"\n", start, stop) + block.count(b"\r", start, stop) - both


def whole_lines(chunks: Iterable[bytes], carriage_returns: bool = True) -> Iterator[bytes]:
    """The chunks anew, each ending with a line's end, the last one too. Raises ValueError for
    a line of more than LONGEST_LINE bytes. `carriage_returns`: one by itself ends a line."""
    parts: list[bytes] = []
    size = 0
    for data in chunks:
        end = data.rfind(b"\n") + 1
        if carriage_returns:
            # One at the end may be half of a line end.
            end = max(end, data.rfind(b"\r", 0, len(data) - 1) + 1)
        if end:
            yield b"".join([*parts, memoryview(data)[:end]])
            parts, size = [], 0
        parts.append(data[end:])
        size += len(data) - end
        if size > LONGEST_LINE:
            raise ValueError(f"a line is longer than {LONGEST_LINE} bytes; is the file text?")
    if rest := b"".join(parts):
        yield rest if carriage_returns and rest.endswith(b"\r") else rest + b"\n"


def is_text(data: bytes, encoding: str) -> bool:
    """True for bytes that mean something in an encoding."""
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def usable_encoding(name: str) -> tuple[str, bool]:
    """The encoding in which rows are parsed, and whether the file's bytes are taken as they are:
    where each byte is a character, and in UTF-8. All else is parsed, and rejected, as UTF-8."""
    canonical = codecs.lookup(name).name
    if canonical in ("utf-8", "utf-8-sig"):
        return "utf8", True
    text = bytes(range(256)).decode(name, "replace")
    single = len(text) == 256 and text[:128] == bytes(range(128)).decode("ascii")
    return (name, True) if single else ("utf8", False)
