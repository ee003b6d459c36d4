"""Every guard of the publish protocol is needed: without it a directed schedule fails.

Kills at random prove little here: with the fence at S2 taken out, a prototype came through a
hundred of them.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from casparian.adapters.queue import open_sqlite
from casparian.testing.world import VirtualClock
from tests.faults.guards import GUARDS
from tests.support.mutations import Guard
from tests.support.outputs import Output
from tests.support.stepped import Stage

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
# What a mistake in an edit would look like, and no schedule.
MISTAKES = (NameError, AttributeError, TypeError, ImportError, SyntaxError)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: str(guard.name))
def test_a_schedule_fails_without_it(
    guard: Guard,
    clock: VirtualClock,
    tmp_path: Path,
    make_output: Callable[[str], Output],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, _, name = guard.schedule.partition("::")
    schedule = getattr(importlib.import_module(f"tests.{module}"), name)
    stores = open_sqlite(str(tmp_path / "queue.db"), clock)
    output = make_output(guard.kind)
    stage = Stage(stores, clock, output)
    fixtures: dict[str, Any] = {
        "stage": stage,
        "one": stage.engine("one"),
        "two": stage.engine("two"),
        "stores": stores,
        "clock": clock,
        "tmp_path": tmp_path,
        "output": output,
        **dict(guard.parameters),
    }
    wanted = inspect.signature(schedule).parameters.keys()
    try:
        with pytest.MonkeyPatch.context() as patch:
            guard.take_out(patch)
            if "monkeypatch" in wanted:
                fixtures["monkeypatch"] = patch
            failed = False
            try:
                schedule(**{name: fixtures[name] for name in wanted})
                failed = bool(stage.violations())
            except MISTAKES:
                raise
            except (Exception, pytest.fail.Exception):
                failed = True
            assert failed, f"{guard.schedule} passes without the guard"
    finally:
        stores.close()


def test_the_page_lists_every_guard() -> None:
    text = PAGE.read_text("utf-8")
    assert [guard.name for guard in GUARDS if f"| {guard.name} |" not in text] == []
