"""Checks of secrets: a password may stand in a file that nobody else reads, and in no other."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from typing import Any

from casparian.app.cli._findings import Findings, ok, problem
from casparian.app.settings import Settings

WHERE = "secrets"
_PASSWORD_OF_URL = re.compile(r"[\w+.-]+://[^/@:]*:([^@/]+)@")
_SECRET_KEY = re.compile(r"(password|secret|token|api_?key)$", re.IGNORECASE)
_FROM_ENVIRONMENT = re.compile(r"(\$\{\w+\})+")
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def check_secrets(settings: Settings) -> Findings:
    file = settings.document
    places = [settings.place(*where) for where in _in_the_clear(file.raw, ())]
    try:
        mode = os.stat(file.name).st_mode
    except OSError:
        return  # Not read from a file.
    if not places:
        yield ok(WHERE, "No password stands in the file.")
    elif mode & OTHERS:
        yield problem(
            WHERE,
            f"A password stands in the clear at {', '.join(places)}, and others may read the file "
            f"(mode {stat.S_IMODE(mode):04o}).",
            "Take it from the environment by ${NAME}, or from ~/.pgpass; or let only the engine's "
            f"user read the file: chmod 600 {file.name}.",
        )
    else:
        yield ok(WHERE, "A password stands in the file, which only its owner may read.")


def _in_the_clear(value: Any, where: tuple[int | str, ...]) -> Iterator[tuple[int | str, ...]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _in_the_clear(inner, (*where, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _in_the_clear(inner, (*where, number))
    elif isinstance(value, str):
        found = _PASSWORD_OF_URL.match(value)
        named = where and isinstance(where[-1], str) and _SECRET_KEY.search(where[-1])
        secret = found[1] if found else value if named else ""
        if secret and not _FROM_ENVIRONMENT.fullmatch(secret):
            yield where
