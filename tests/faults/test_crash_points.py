"""SIGKILL in place of each call by which the engine changes files or sends to a server: each state
that a crash can leave.

A shim preloaded into the engine counts those calls and dies at the n-th. A normal run takes
points spread evenly, as many for each combination of sink and mode.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.conftest import MakeCrashes
from tests.support.crash_points import POINTS, TIMEOUT_S, covered, seeded, struck, until_killed
from tests.support.crashes import Crashes


@pytest.fixture
def chance() -> random.Random:
    return seeded()


COMBINATIONS = [("parquet", "replace"), ("sqlite", "append"), ("both", "replace")]
COMBINATIONS += [("postgresql", "replace")]
MAKING_A_QUEUE = (("parquet", "replace"), ("postgresql", "replace"))
if POINTS == "all":
    COMBINATIONS += [("parquet", "append"), ("sqlite", "replace"), ("both", "append")]
    COMBINATIONS += [("postgresql", "append"), ("parquet and postgresql", "replace")]


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize(("kind", "mode"), COMBINATIONS)
def test_a_correction_survives_a_crash_at_any_call(
    tmp_path: Path, make_crashes: MakeCrashes, chance: random.Random, kind: str, mode: str
) -> None:
    """One project, corrected again and again: each correction is interrupted at another call,
    and every third time the recovery is, too."""
    crashes = make_crashes(tmp_path / "project", kind, mode)
    crashes.write(*"abcd")
    assert crashes.project.drain() == 0, crashes.project.log()
    calls = 0
    for _ in range(2):
        # With and without rows for the second topic.
        crashes.write("a", "b")
        code, made = crashes.drain()
        assert code == 0, crashes.project.log()
        calls = max(calls, len(made))
    crashes.check()
    killed: Counter[str] = Counter()
    for number, point in enumerate(until_killed(calls, chance, killed)):
        crashes.write("a", "b")
        points = [point] if number % 3 else [point, chance.randrange(1, calls)]
        _interrupt(crashes, points, killed)
    covered(f"{kind} {mode}, later versions", calls, killed)


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize(("kind", "mode"), COMBINATIONS)
def test_a_first_run_survives_a_crash_at_any_call(
    tmp_path: Path, make_crashes: MakeCrashes, chance: random.Random, kind: str, mode: str
) -> None:
    """From an empty directory: the database and the sinks are being made meanwhile."""
    counted = make_crashes(tmp_path / "counted", kind, mode)
    counted.write("a", "b")
    code, made = counted.drain()
    assert code == 0, counted.project.log()
    counted.check()
    # A queue is made in the same way beside any sink: its calls are taken once in each database.
    made_queue = 0 if (kind, mode) in MAKING_A_QUEUE else counted.calls_before_sinks(made)
    killed: Counter[str] = Counter()
    for point in until_killed(len(made), chance, killed, after=made_queue):
        crashes = make_crashes(tmp_path / f"at-{point}", kind, mode)
        crashes.write("a", "b")
        _interrupt(crashes, [point], killed)
        shutil.rmtree(crashes.directory)
        crashes.close()
    covered(f"{kind} {mode}, first versions", len(made) - made_queue, killed)


def _interrupt(crashes: Crashes, points: list[int], killed: Counter[str]) -> None:
    """Drain with a crash at each of these calls, then undisturbed, and check everything."""
    story = []
    for point in points:
        code, calls = crashes.drain(CRASH_AT=point)
        story.append(f"call {point}: {calls[-1] if calls else 'none was made'}, exit {code}")
        if struck(code, point, calls):
            killed[calls[-1].split()[1]] += 1
        else:
            assert code == 0, crashes.project.log()
    context = "\n".join(story)
    code = crashes.project.drain()
    assert code == 0, f"{context}\n{crashes.project.log()[-4000:]}"
    try:
        crashes.check()
    except AssertionError as error:
        error.add_note(f"{context}\n{crashes.project.log()[-4000:]}")
        raise


def test_the_check_can_fail(tmp_path: Path, make_crashes: MakeCrashes) -> None:
    """What a lost, doubled or orphaned row would look like is seen."""
    crashes = make_crashes(tmp_path / "project", "parquet", "replace")
    crashes.write("a")
    assert crashes.project.drain() == 0, crashes.project.log()
    crashes.check()
    (slot,) = (crashes.project.directory / "out" / "output").iterdir()
    (file,) = slot.glob("*.parquet")
    double = file.with_name("double.parquet")
    shutil.copy(file, double)
    with pytest.raises(AssertionError):
        crashes.check()
    double.unlink()
    marker = slot / "_casparian.json"
    text = marker.read_text()
    marker.write_text(text.replace('"attempt": 1', '"attempt": 2'))
    with pytest.raises(AssertionError):
        crashes.check()
    marker.write_text(text)
    crashes.check()
