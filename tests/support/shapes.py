"""Values held against the documented shapes of what commands print as JSON."""

from __future__ import annotations

import re
import types
import typing
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from casparian.domain.documents.texts import OneOf, TimeText

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class Shapes:
    """Raises AssertionError, naming the place, for a value that is not as documented.

    `seen` gathers what each field of each shape has held: "null", "value" or, of a list or an
    object without a shape, "none" where it was empty.
    """

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], set[str]] = {}

    def check(self, value: Any, hint: Any, where: str = "$") -> None:
        origin, arguments = get_origin(hint), get_args(hint)
        if typing.is_typeddict(hint):
            self._object(value, hint, where)
        elif origin is Annotated:
            self.check(value, arguments[0], where)
            if value is not None:
                _narrowed(value, hint.__metadata__, where)
        elif origin in (Union, types.UnionType):
            if value is not None:
                (inner,) = [one for one in arguments if one is not types.NoneType]
                self.check(value, inner, where)
        elif origin is list:
            assert type(value) is list, f"{where} is no list: {value!r}"
            for index, one in enumerate(value):
                self.check(one, arguments[0], f"{where}[{index}]")
        elif origin is dict:
            assert type(value) is dict, f"{where} is no object: {value!r}"
            for key, one in value.items():
                self.check(one, arguments[1], f"{where}.{key}")
        else:
            assert type(value) is hint, f"{where} is no {hint.__name__}: {value!r}"

    def _object(self, value: Any, shape: Any, where: str) -> None:
        assert type(value) is dict, f"{where} is no object: {value!r}"
        hints = get_type_hints(shape, include_extras=True)
        unknown = set(value) - set(hints)
        assert not unknown, f"{where} has fields that {shape.__name__} does not have: {unknown}"
        missing = shape.__required_keys__ - set(value)
        assert not missing, f"{where} lacks fields of {shape.__name__}: {missing}"
        for field, one in value.items():
            self.check(one, hints[field], f"{where}.{field}")
            held = "null" if one is None else "none" if one in ([], {}) else "value"
            self.seen.setdefault((shape.__name__, field), set()).add(held)


def may_be_null(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        return may_be_null(get_args(hint)[0])
    return types.NoneType in get_args(hint)


def _narrowed(value: Any, metadata: tuple[Any, ...], where: str) -> None:
    for one in metadata:
        if isinstance(one, TimeText):
            assert TIME.fullmatch(value), f"{where} is no time: {value!r}"
        if isinstance(one, OneOf):
            assert value in one.values, f"{where} is none of {one.values}: {value!r}"
