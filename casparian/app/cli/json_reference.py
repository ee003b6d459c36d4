"""The part of docs/reference/cli.md about --json, written from the types in `shapes`."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from casparian.app.cli.shapes import PRINTED
from casparian.domain.documents.texts import OneOf, TimeText

NAMES = {str: "text", int: "integer", float: "number", bool: "boolean", types.NoneType: "null"}

INTRODUCTION = """\
## JSON documents

What commands print with `--json`. Every field is always there, but where it says otherwise; one
that may be null says so. A time is text: ISO 8601, UTC, with microseconds, as
`2026-01-31T10:00:00.000000Z`. Names of files are text as it stands above. New fields may come with
any release; a field that is here stays as it is.
"""


def line(command: str) -> str | None:
    """What `casparian COMMAND --json` prints; None where there is no such option."""
    if command not in PRINTED:
        return None
    return f"With `--json`: {_type(PRINTED[command])}."


def documents() -> Iterator[str]:
    """One table for each document, in the order in which commands lead to them."""
    yield INTRODUCTION
    for shape in shapes():
        yield f"### {name(shape)}\n"
        yield " ".join((shape.__doc__ or "").split()) + "\n" if _own_words(shape) else ""
        yield "| field | type | meaning |\n|---|---|---|"
        for field, hint in get_type_hints(shape, include_extras=True).items():
            yield f"| `{field}` | {_type(hint)} | {_meaning(shape, field, hint)} |"
        yield ""


def shapes() -> list[Any]:
    """Every typed document that can be printed."""
    found: dict[Any, None] = {}
    for printed in PRINTED.values():
        _collect(printed, found)
    return list(found)


def _collect(hint: Any, found: dict[Any, None]) -> None:
    if typing.is_typeddict(hint):
        if hint not in found:
            found[hint] = None
            for field in get_type_hints(hint, include_extras=True).values():
                _collect(field, found)
        return
    for inner in get_args(hint):
        _collect(inner, found)


def name(shape: Any) -> str:
    """`JobDocument` is told as `Job`."""
    return str(shape.__name__).removesuffix("Document")


def _own_words(shape: Any) -> bool:
    # One that is made by a call has the docstring of dict.
    return bool(shape.__doc__) and shape.__doc__ != dict.__doc__


def _meaning(shape: Any, field: str, hint: Any) -> str:
    said = [text for text in hint.__metadata__ if isinstance(text, str)]
    optional = " Not always there." if field in shape.__optional_keys__ else ""
    return "".join(said).replace("|", "\\|") + optional


def _type(hint: Any) -> str:
    if typing.is_typeddict(hint):
        return f"[{name(hint)}](#{name(hint).lower()})"
    if hint in NAMES:
        return NAMES[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _annotated(arguments[0], hint.__metadata__)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(one) for one in arguments)
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"object: {_type(arguments[1])} by name"
    raise TypeError(f"{hint!r} cannot be written as JSON")


def _annotated(hint: Any, metadata: tuple[Any, ...]) -> str:
    for one in metadata:
        if isinstance(one, TimeText):
            return "time"
        if isinstance(one, OneOf):
            return "one of " + ", ".join(f"`{value}`" for value in one.values)
    return _type(hint)
