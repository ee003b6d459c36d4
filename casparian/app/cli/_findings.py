"""What `casparian check` finds: each with its place, and a remedy where one is due."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(NamedTuple):
    """One thing looked at. `where` is a table of the file, a path, or a part of the program."""

    level: Level
    where: str
    what: str
    remedy: str = ""


Findings = Iterator[Finding]


def ok(where: str, what: str) -> Finding:
    return Finding(Level.OK, where, what)


def warning(where: str, what: str, remedy: str) -> Finding:
    return Finding(Level.WARNING, where, what, remedy)


def problem(where: str, what: str, remedy: str) -> Finding:
    return Finding(Level.PROBLEM, where, what, remedy)
