"""The reference of the configuration file, made from the settings model: it cannot be out of date.

casparian config-reference > docs/reference/configuration.md
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from textwrap import dedent
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from casparian.app.adapters import Adapter
from casparian.app.registry import Registry
from casparian.app.settings import Settings
from casparian.domain.errors import CasparianError

HEAD = """\
# Configuration

One TOML file, `casparian.toml` unless `--config PATH` or the variable `CASPARIAN_CONFIG` names
another. Made from the settings model by `casparian config-reference`.

- Relative paths are relative to the file.
- A key that is not listed here is an error that names the known ones.
- `${NAME}` in a value is taken from the environment; a variable that is not set is an error.
- Each key is overridden by the environment variable `CASPARIAN_SECTION__KEY`, such as
  `CASPARIAN_SCOUT__INTERVAL_S=1`; a list or a table is given as JSON.
- The engine applies the file to its database when it starts: a change is seen at the next start.
- Times are in seconds.
"""

_WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    dict: "table",
    Any: "any value",
}


def reference(registry: Registry | None = None) -> str:
    """The whole reference as Markdown, with the settings of every adapter that is installed;
    ends with a line's end."""
    registry = registry or Registry.default()
    return "\n".join([HEAD, *_tables(Settings, ()), *_adapters(registry)])


def _tables(model: type[BaseModel], above: tuple[str, ...]) -> Iterator[str]:
    """A section for each table below this model, outer ones first."""
    for name, field in model.model_fields.items():
        inner, heading = _table_of(field.annotation, (*above, name))
        if inner is None:
            continue
        path = heading.strip("[]")
        yield f"## `{heading}`\n"
        yield f"{_one_line(inner.__doc__)}\n"
        meaning = _meaning(model, name)
        if meaning:
            yield f"{_one_line(meaning)}\n"
        yield from _keys(inner)
        yield from _tables(inner, tuple(path.split(".")))


def _adapters(registry: Registry) -> Iterator[str]:
    """The tables that adapters describe by models of their own."""
    for table, adapters in (
        ("queue", registry.queues),
        ("transport", registry.transports),
        ("plugin_host", registry.plugin_hosts),
    ):
        for name, adapter in sorted(adapters.items()):
            yield from _own_settings(f"[{table}.settings]", f'`adapter = "{name}"`', adapter)
    with_settings = [
        text
        for name, adapter in sorted(registry.sinks.items())
        for text in _own_settings(f"[sinks.{name}]", f"`{name}://`", adapter)
    ]
    if not with_settings:
        yield "## `[sinks.NAME]`\n"
        yield "Settings of a sink, by the scheme of its URI; no installed sink has any.\n"
    yield from with_settings


def _own_settings(heading: str, used_by: str, adapter: Adapter) -> Iterator[str]:
    try:
        model = adapter.settings_model()
    except CasparianError as error:
        yield f"## `{heading}` for {used_by}\n"
        yield f"{_one_line(str(error))}\n"
        return
    if model is not None:
        yield f"## `{heading}` for {used_by}\n"
        yield f"{_one_line(model.__doc__)}\n"
        yield from _keys(model)


def _keys(model: type[BaseModel]) -> Iterator[str]:
    rows = [
        f"| `{name}` | {_type(field)} | {_default(field)} | {_one_line(_meaning(model, name))} |"
        for name, field in model.model_fields.items()
        if _table_of(field.annotation, (name,))[0] is None
    ]
    yield "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows, ""])


def _meaning(model: type[BaseModel], name: str) -> str | None:
    """What the model says of a key, or the text that stands below it in the source."""
    return model.model_fields[name].description or _texts_below_keys(model).get(name)


@lru_cache(maxsize=64)
def _texts_below_keys(model: type[BaseModel]) -> dict[str, str]:
    body = ast.parse(dedent(inspect.getsource(model))).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        key.target.id: text.value.value
        for key, text in pairwise(body.body)
        if isinstance(key, ast.AnnAssign)
        and isinstance(key.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _table_of(kind: Any, path: tuple[str, ...]) -> tuple[type[BaseModel] | None, str]:
    """The model behind a key that is a table, and the table's heading in TOML."""
    joined = ".".join(path)
    arguments = get_args(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind, f"[{joined}]"
    inner = arguments[-1] if arguments else None
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        if get_origin(kind) is list:
            return inner, f"[[{joined}]]"
        return inner, f"[{joined}.{'TOPIC' if path[-1] == 'topics' else 'NAME'}]"
    return None, ""


def _type(field: FieldInfo) -> str:
    kind, limits = field.annotation, list(field.metadata)
    while get_origin(kind) is Annotated:
        kind, *more = get_args(kind)
        limits += more
    return ", ".join([_words(kind), *_limits(limits)])


def _words(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(f"`{_toml(value)}`" for value in arguments if value != "")
    if origin in (Union, UnionType):
        return " or ".join(_words(a) for a in arguments if a is not NoneType)
    if origin in (list, tuple):
        return f"list of {_words(arguments[0])}"
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return " or ".join(f"`{_toml(str(value))}`" for value in kind)
    return _WORDS.get(origin or kind) or str(kind)


def _limits(metadata: list[Any]) -> Iterator[str]:
    for limit in metadata:
        match limit:
            case Gt(gt=bound):
                yield f"above {bound}"
            case Ge(ge=bound):
                yield f"{bound} or more"
            case Le(le=bound):
                yield f"{bound} or less"
            case MinLen():
                yield "not empty"
            case FieldInfo():
                yield from _limits(list(limit.metadata))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        raise TypeError(f"the default of {field} is not known")
    return "" if value in ("", None) else f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        value = list(value)
    if value == {}:
        return "{}"
    return json.dumps(value)


def _one_line(text: str | None) -> str:
    if not text:
        raise TypeError("every table and every key of the settings needs a docstring")
    return " ".join(text.split()).replace("|", "\\|")
