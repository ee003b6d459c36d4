"""What is in files: headers, types, endings of lines, bytes that are no text."""

from __future__ import annotations

from tests.faults.torture.drop import HEADER, Drop, Story, lines, text


def _keys(tag: str) -> list[str]:
    return [f"content:{tag}:{n}" for n in range(6)]


def _text(tag: str) -> bytes:
    return text(lines("content", tag, 6))


def whole_files(drop: Drop) -> Story:
    """All rows are to be read, however they are written."""
    plain = lines("content", "reordered", 6)
    reordered = "value,key,n\n" + "".join(f"{v},{k},{n}\n" for k, n, v in plain)
    files = {
        "reordered": reordered.encode(),
        "nonewline": _text("nonewline").rstrip(b"\n"),
        "bom": b"\xef\xbb\xbf" + _text("bom"),
        "crlf": _text("crlf").replace(b"\n", b"\r\n"),
        "quoted": _text("quoted").replace(b"content:quoted:3", b'"content:quoted:3"'),
        "ints": _text("ints").replace(b".0\n", b"\n"),
    }
    for tag, content in files.items():
        place = b"content/%s.csv" % tag.encode()
        drop.write(place, content)
        drop.stands("content", place, _keys(tag))
        yield 0.02


def rejected_rows(drop: Drop) -> Story:
    """Rows that cannot be read are put aside, and told; the others are published."""
    for tag, broken in {
        "drift": b"content:drift:bad,four,0.5\n",
        "ragged": b"content:ragged:bad,1\ncontent:ragged:worse,1,2,3,4\n",
        "nul": b"content:nul:\0bad,\0,\0\n",
        "notext": b"content:notext:\xff,1,1\n",
    }.items():
        head, *rows = _text(tag).splitlines(keepends=True)
        place = b"content/%s.csv" % tag.encode()
        drop.write(place, b"".join([head, *rows[:3], broken, *rows[3:]]))
        drop.stands("content", place, _keys(tag))
        drop.explained("content", place, "rejected")
        yield 0.02


def refused_files(drop: Drop) -> Story:
    for tag, content, why in (
        ("empty", b"", "the file is empty"),
        ("noheader", b"\0" * 4096, "does not begin with a line of text"),
        ("othercolumns", b"a,b\n1,2\n", "key"),
    ):
        place = b"content/%s.csv" % tag.encode()
        drop.write(place, content)
        drop.nothing("content", place, why)
        yield 0.02
    drop.write(b"content/headeronly.csv", f"{HEADER}\n".encode())
    drop.nothing("content", b"content/headeronly.csv", "COMPLETED")


KINDS = (whole_files, rejected_rows, refused_files)
