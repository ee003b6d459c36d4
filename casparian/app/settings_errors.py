"""A mistake in the configuration as one line: what is wrong, where, and what would be right.

A value is told only where it stands in the file itself: one from the environment, be it by
`${NAME}` or by a `CASPARIAN_…` variable, may be a secret.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from casparian.app.settings_file import Location, SettingsFile, dotted


def explain(
    error: ValidationError,
    model: type[BaseModel],
    file: SettingsFile,
    above: Location = (),
    prefix: str = "",
) -> str:
    """The first problem of a validation.

    `above` is where the table that `model` describes stands in the file; `prefix` begins the
    names of the variables that stand for keys.
    """
    problems = error.errors(include_url=False)
    first = problems[0]
    inner = first["loc"]
    location = (*above, *inner)
    place, where = _place(file, location, prefix), dotted(location)
    if first["type"] == "extra_forbidden":
        known = sorted(_known_keys(model, inner[:-1]))
        near = nearest(str(inner[-1]), known)
        return f"{place}: the key {where} is unknown; known here: {', '.join(known)}.{near}"
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    value = first.get("input")
    plain = isinstance(value, (str, int, float, bool)) and value == file.value(location)
    shown = f" (it is {value!r})" if plain else ""
    return f"{place}: {where or 'the file'}: {_message(first, where)}{shown}.{more}"


def _place(file: SettingsFile, location: Location, prefix: str) -> str:
    """Where a key was said: in a variable, or on a line of the file."""
    name = prefix + "__".join(str(part) for part in location)
    for variable in os.environ if prefix else ():
        if variable.upper() == name.upper():
            return f"{file.name}, overridden by the environment variable {variable}"
    line = file.line(location)
    return f"{file.name}, line {line}" if line is not None else file.name


def _message(problem: Mapping[str, Any], where: str) -> str:
    match problem["type"]:
        case "model_type" | "dict_type":
            return f"must be a table, written as [{where}]"
        case "list_type" if where in ("rule", "source_root", "expect"):
            return f"is a list of tables, each written as [[{where}]]"
        case _:
            return str(problem["msg"]).removeprefix("Value error, ")


def nearest(name: str, known: Iterable[str]) -> str:
    """A question to follow a list of known names; empty where none is like the name."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _known_keys(root: type[BaseModel], location: Location) -> list[str]:
    """The keys that the table at this place of the file may have."""
    model: Any = root
    for part in location:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[str(part)].annotation if part in model.model_fields else None
        else:
            # An element of a list, or a named table: its model is the last type argument.
            model = get_args(model)[-1] if get_args(model) else None
    if isinstance(model, type) and issubclass(model, BaseModel):
        return [n for n in model.model_fields if not n.startswith("_")]
    return []
