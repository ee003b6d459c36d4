"""Where in a configuration file something stands, so that a mistake can be told with its line.

The parser keeps no positions. Nothing is parsed by hand for it: a key begins on the line after
the last one up to which the file is complete and does not have it yet.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from casparian.domain.errors import ConfigurationError

Location = tuple[int | str, ...]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class SettingsFile:
    """A parsed document, and the text it came from (empty where there was none)."""

    name: str = "configuration"
    raw: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""

    def value(self, location: Location) -> Any:
        """What the file says at a place; None where it says nothing."""
        return _at(self.raw, location)

    def line(self, location: Location) -> int | None:
        """The line on which a key, or the nearest table around it, begins; None without text."""
        while location and not _has(self.raw, location):
            location = location[:-1]
        if not location:
            return None
        before = 0
        for number, document in self._growing():
            if _has(document, location):
                return before + 1
            before = number
        return None

    def _growing(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """The document up to each line at which it is complete."""
        lines = self.text.splitlines(keepends=True)
        for number in range(1, len(lines) + 1):
            try:
                yield number, tomllib.loads("".join(lines[:number]))
            except tomllib.TOMLDecodeError:
                continue

    def place(self, *location: int | str) -> str:
        """`FILE, line N: KEY`, as errors begin."""
        line = self.line(location)
        at = f", line {line}" if line is not None else ""
        return f"{self.name}{at}: {dotted(location)}" if location else f"{self.name}{at}"

    def interpolated(self) -> dict[str, Any]:
        """The document with every `${NAME}` taken from the environment.

        Raises ConfigurationError for a variable that is not set.
        """
        return {k: self._interpolate(v, (k,)) for k, v in self.raw.items()}

    def _interpolate(self, value: Any, where: Location) -> Any:
        if isinstance(value, dict):
            return {k: self._interpolate(v, (*where, str(k))) for k, v in value.items()}
        if isinstance(value, list):
            return [self._interpolate(v, (*where, i)) for i, v in enumerate(value)]
        if not isinstance(value, str):
            return value

        def look_up(match: re.Match[str]) -> str:
            try:
                return os.environ[match[1]]
            except KeyError:
                raise ConfigurationError(
                    f"{self.place(*where)} uses ${{{match[1]}}}, but no such environment "
                    "variable is set."
                ) from None

        return _VARIABLE.sub(look_up, value)


def dotted(location: Location) -> str:
    """A place as TOML writes a key."""
    return ".".join(
        part if isinstance(part, str) and _BARE.fullmatch(part) else _quoted(part)
        for part in location
    )


def _quoted(part: int | str) -> str:
    return str(part) if isinstance(part, int) else f'"{part}"'


_NOTHING = object()


def _has(document: Any, location: Location) -> bool:
    return _walk(document, location) is not _NOTHING


def _at(document: Any, location: Location) -> Any:
    found = _walk(document, location)
    return None if found is _NOTHING else found


def _walk(document: Any, location: Location) -> Any:
    for part in location:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            return _NOTHING
    return document
