"""Takes guards out of the engine while a test runs: a line of a function, a condition of an UPDATE.

An edit that no longer fits the code raises, so that no guard is believed to be out when it is not.
"""

from __future__ import annotations
import __future__ as future

import importlib
import inspect
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

import pytest
from sqlalchemy import Update


@dataclass(frozen=True, slots=True)
class Lines:
    """What a function has once becomes something else. `function` is "module:qualified name",
    `changes` are (old, new)."""

    function: str
    changes: tuple[tuple[str, str], ...]

    def take_out(self, patch: pytest.MonkeyPatch) -> None:
        module, _, path = self.function.partition(":")
        found: Any = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
        function = inspect.unwrap(found.fget if isinstance(found, property) else found)
        assert isinstance(function, FunctionType), self.function
        source = textwrap.dedent(inspect.getsource(function))
        for old, new in self.changes:
            assert source.count(old) == 1, f"{self.function} has not one {old!r}"
            source = source.replace(old, new)
        # Whoever imported the function has the object: only its code changes.
        patch.setattr(function, "__code__", _compiled(function, source))


def _compiled(function: FunctionType, source: str) -> CodeType:
    flags = future.annotations.compiler_flag
    code = compile(source, inspect.getfile(function), "exec", flags, dont_inherit=True)
    made: dict[str, Any] = {}
    exec(code, function.__globals__, made)
    changed = made[function.__name__]
    changed = inspect.unwrap(changed.fget if isinstance(changed, property) else changed)
    assert isinstance(changed, FunctionType)
    return changed.__code__


@dataclass(frozen=True, slots=True)
class Condition:
    """A guarded UPDATE, kept as a constant, loses the conditions on these columns."""

    statement: str
    columns: Sequence[str]

    def take_out(self, patch: pytest.MonkeyPatch) -> None:
        name, _, constant = self.statement.partition(":")
        module = importlib.import_module(name)
        guarded = getattr(module, constant)
        assert isinstance(guarded, Update), self.statement
        kept = list(guarded._where_criteria)
        for column in self.columns:
            fitting = [c for c in kept if str(c).split(" ")[0].endswith(f".{column}")]
            assert len(fitting) == 1, f"{self.statement} has not one condition on {column!r}"
            kept.remove(fitting[0])
        bare = guarded._generate()
        bare._where_criteria = tuple(kept)
        patch.setattr(module, constant, bare)


Edit = Lines | Condition


@dataclass(frozen=True, slots=True)
class Guard:
    """A rule of the publish protocol: what takes it out, and the schedule that then fails, as
    "module::function", run over a sink of this `kind` and with these `parameters`."""

    name: str
    schedule: str
    edits: tuple[Edit, ...]
    kind: str = "sqlite"
    parameters: tuple[tuple[str, object], ...] = ()

    def take_out(self, patch: pytest.MonkeyPatch) -> None:
        for edit in self.edits:
            edit.take_out(patch)
