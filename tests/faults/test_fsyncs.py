"""The power goes after each step that is to last; and each fsync of the engine is needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from casparian.testing.world import VirtualClock
from tests.faults.fsyncs import FSYNCS, Fsync
from tests.faults.power_scenarios import SCENARIOS, Machine
from tests.support.disks import Disk

pytestmark = pytest.mark.slow
# What a mistake in an edit would look like, and no power cut.
MISTAKES = (NameError, AttributeError, TypeError, ImportError, SyntaxError)


SYSTEMS = ("ext4", "xfs")
FULL = os.environ.get("CASPARIAN_POWER") == "full"


def taken(cases: Sequence[Any], name: Callable[[Any], str]) -> list[Any]:
    """Each on every file system, or on one of them: they take turns."""
    return [
        pytest.param(system, case, id=f"{system}-{name(case)}")
        for n, case in enumerate(cases)
        for system in (SYSTEMS if FULL else SYSTEMS[n % 2 :][:1])
    ]


@pytest.fixture
def machine(system: str, tmp_path: Path, clock: VirtualClock) -> Iterator[Machine]:
    queue, out = (Disk.made(tmp_path / name, system) for name in ("queue", "out"))
    machine = Machine(queue, out, clock)
    yield machine
    machine.remove()


# A correction is a first version, too, before.
STEPS = [name for name in SCENARIOS if FULL or not name.endswith("version 1")]


@pytest.mark.parametrize(("system", "scenario"), taken(STEPS, str))
def test_a_step_that_was_made_stays_made(machine: Machine, scenario: str) -> None:
    SCENARIOS[scenario](machine)


@pytest.mark.parametrize(("system", "fsync"), taken(FSYNCS, lambda fsync: str(fsync.name)))
def test_a_step_is_lost_without_it(
    machine: Machine, fsync: Fsync, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fsync.without.take_out(patch)
        try:
            SCENARIOS[fsync.scenario](machine)
        except MISTAKES:
            raise
        except (Exception, pytest.fail.Exception) as error:
            print(f"{fsync.name}: {error}")
            return
    pytest.fail(f"nothing is lost without it: {fsync.name}")
