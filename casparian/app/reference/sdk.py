"""The reference of what plugin authors and embedders import, from signatures and docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import casparian
from casparian import sdk
from casparian.sdk import testing

HEAD = """\
# SDK

<!-- Made from the code by `python -m casparian.app.reference docs/reference`. -->

What a plugin imports is `casparian.sdk`, what its tests import is `casparian.sdk.testing`, what a
program that runs an engine imports is `casparian`. [Write a plugin](../how-to/write-a-plugin.md)
shows how they are used.
"""

# A module's names in the order of reading; what else it exports comes after them.
SECTIONS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (sdk, ("BasePlugin", "PluginContext", "Job", "CaspPlugin")),
    (testing, ("run_plugin", "PluginResult")),
    (casparian, ("Engine", "Settings", "DrainResult", "RunResult", "FailedJob")),
)
WIDTH = 90
# Of a class with many members, those that belong to its users.
MEMBERS = {"Settings": ("load", "of")}


def reference() -> str:
    """The whole page."""
    parts = [HEAD]
    for module, names in SECTIONS:
        parts.append(f"## {module.__name__}\n")
        for name in dict.fromkeys([*names, *getattr(module, "__all__", ())]):
            parts.extend(_entry(name, getattr(module, name)))
    return "\n".join(parts)


def _entry(name: str, thing: Any) -> Iterator[str]:
    yield f"### {name}\n"
    if not inspect.isclass(thing):
        yield _signature(name, thing)
        yield _prose(thing)
        return
    made_by_users = is_dataclass(thing) or "__init__" in vars(thing)
    if made_by_users and name not in MEMBERS and not getattr(thing, "_is_protocol", False):
        yield _signature(name, thing)
    yield _prose(thing)
    attributes = [f"`{f.name}`" for f in fields(thing)] if is_dataclass(thing) else []
    attributes += [f"`{n}`" for n, m in vars(thing).items() if _public(n) and _is_property(m)]
    if attributes:
        yield f"Attributes: {', '.join(dict.fromkeys(attributes))}.\n"
    for member, value in vars(thing).items():
        function = getattr(value, "__func__", value)
        chosen = member in MEMBERS.get(name, (member,))
        if _public(member) and chosen and inspect.isfunction(function):
            yield f"#### {name}.{member}\n"
            yield _signature(member, function)
            if inspect.getdoc(function):
                yield _prose(function)


def _public(name: str) -> bool:
    return not name.startswith("_")


def _is_property(member: Any) -> bool:
    return isinstance(member, property)


def _signature(name: str, thing: Any) -> str:
    signature = inspect.signature(thing)
    shown = [_parameter(p) for p in signature.parameters.values() if p.name not in ("self", "cls")]
    starred = [p.kind is inspect.Parameter.KEYWORD_ONLY for p in signature.parameters.values()]
    if True in starred:
        shown.insert(len(shown) - starred.count(True), "*")
    returns = "" if inspect.isclass(thing) else f" -> {signature.return_annotation}"
    line = f"{name}({', '.join(shown)}){returns}"
    if len(line) > WIDTH:
        line = f"{name}(\n" + "".join(f"    {one},\n" for one in shown) + f"){returns}"
    return f"```python\n{line}\n```\n"


def _parameter(parameter: inspect.Parameter) -> str:
    text = f"{parameter.name}: {parameter.annotation}"
    if parameter.default is parameter.empty:
        return text
    # The default of a field that a factory makes has no form of its own.
    made = repr(parameter.default).startswith("<")
    return f"{text} = {'...' if made else repr(parameter.default)}"


def _prose(thing: Any) -> str:
    text = inspect.getdoc(thing)
    if not text:
        raise TypeError(f"{thing!r} is public and needs a docstring")
    return f"{text}\n"
