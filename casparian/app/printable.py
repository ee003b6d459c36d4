"""Text for a terminal, without anything that it would obey: names of files come from strangers."""

from __future__ import annotations


def printable(text: str) -> str:
    """Text on one line without anything that a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")
