"""What a plugin says it needs: inline script metadata in its code, as PEP 723 has it.

    # /// script
    # requires-python = ">=3.11"
    # dependencies = ["openpyxl>=3.1"]
    # ///

The block is part of the code, so that the code's hash covers it.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from dataclasses import dataclass
from typing import Any, NamedTuple

from casparian.domain.errors import CasparianError, ConfigurationError

_BLOCK = re.compile(r"(?m)^# /// script$\n(?P<content>(?:^#(?:| .*)$\n)+?)^# ///$")
_OPENING = re.compile(r"(?m)^# /// script$")
KEYS = ("dependencies", "requires-python")


@dataclass(frozen=True, slots=True)
class Requirements:
    """As written: a version specifier for Python, and one requirement for each package."""

    requires_python: str = ""
    dependencies: tuple[str, ...] = ()


class Needed(NamedTuple):
    """An environment by what it must hold. `key` names it."""

    key: str
    dependencies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Environment:
    """What code runs in, where that is its own: the Python, and every package as `name==version`,
    those that sidecars share with their engine included. `key` names the directory."""

    key: str
    python: str
    packages: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Its identity: SHA-256 over all of it, as 64 hex digits."""
        told = json.dumps([self.key, self.python, self.packages])
        return hashlib.sha256(told.encode()).hexdigest()


class EnvironmentFailedError(CasparianError):
    """An environment could not be made; another try may be luckier."""


def requirements_of(plugin: str, code: bytes) -> Requirements:
    """What the code of a plugin asks for; nothing where it has no such block.

    Raises ConfigurationError for two blocks, one that does not end, or one that says anything
    but lists of requirements.
    """
    try:
        text = code.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        # That it is no Python is told by whoever loads it.
        return Requirements()
    openings = len(_OPENING.findall(text))
    if not openings:
        return Requirements()
    found = list(_BLOCK.finditer(text + "\n"))
    if openings > 1:
        raise _wrong(plugin, f"there are {openings} blocks `# /// script`; keep one")
    if not found:
        raise _wrong(plugin, "the block `# /// script` has no end; write `# ///` after it")
    lines = found[0]["content"].splitlines()
    content = "\n".join(line[2:] if line.startswith("# ") else line[1:] for line in lines)
    try:
        document = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(plugin, f"the block `# /// script` is no TOML: {error}") from error
    return Requirements(
        _text(plugin, document.get("requires-python", "")),
        _texts(plugin, document.get("dependencies", [])),
    )


def _text(plugin: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(plugin, f'requires-python = {value!r}; write a text, as ">=3.11"')
    return value


def _texts(plugin: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _wrong(plugin, f'dependencies = {value!r}; write a list of texts, as ["openpyxl>=3"]')
    return tuple(value)


def _wrong(plugin: str, what: str) -> ConfigurationError:
    return ConfigurationError(f"The script metadata of plugin {plugin!r} is wrong: {what}.")
