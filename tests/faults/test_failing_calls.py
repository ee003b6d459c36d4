"""An error in place of each call by which the engine changes files or talks to a server: a disk
is full or broken, a connection is lost.

A shim preloaded into the engine counts those calls and lets the n-th fail, and in some runs many
after it. The engine waits or ends in order, and loses nothing: the next one finishes all of it. A
normal run takes a few calls by chance.
"""

from __future__ import annotations

import errno
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.faults.conftest import MakeCrashes
from tests.support.crash_points import POINTS, TIMEOUT_S, seeded, spread
from tests.support.crashes import Crashes

OF_FILES = ("EIO", "ENOSPC", "EROFS", "EMFILE", "EFBIG")
OF_SERVERS = ("ECONNRESET",)
CHOSEN = "by-chance"
KINDS = [("parquet", "replace"), ("sqlite", "append")]
SERVER_KINDS = [("postgresql", "replace")]
if POINTS == "all":
    KINDS += [("parquet", "append"), ("sqlite", "replace"), ("both", "replace")]
    SERVER_KINDS += [("postgresql", "append"), ("parquet and postgresql", "replace")]
COMBINATIONS = [
    (*kind, error) for error in (OF_FILES if POINTS == "all" else [CHOSEN]) for kind in KINDS
] + [(*kind, error) for error in OF_SERVERS for kind in SERVER_KINDS]
BURST = 25
FEW = 1
"""Of each kind, where only some are taken: each is an engine or two, and reading back all of it."""


@pytest.fixture
def chance() -> random.Random:
    return seeded()


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize(("kind", "mode", "error"), COMBINATIONS)
def test_a_correction_survives_an_error_of_any_call(
    tmp_path: Path,
    make_crashes: MakeCrashes,
    chance: random.Random,
    kind: str,
    mode: str,
    error: str,
) -> None:
    if error == CHOSEN:
        error = chance.choice(OF_FILES)
    crashes = make_crashes(tmp_path / "project", kind, mode)
    crashes.write("a", "b")
    assert crashes.project.drain() == 0, crashes.project.log()
    crashes.write("a", "b")
    calls = len(count(crashes, error))
    points = spread(calls, chance, FEW)
    for point in points:
        crashes.write("a", "b")
        survive(crashes, error, point, chance.choice((1, BURST)))
    print(f"{kind} {mode}, later versions: {error} in {len(points)} of {calls} calls", flush=True)


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize(("kind", "mode", "error"), COMBINATIONS[1 if POINTS != "all" else 0 :])
def test_a_first_run_survives_an_error_of_any_call(
    tmp_path: Path,
    make_crashes: MakeCrashes,
    chance: random.Random,
    kind: str,
    mode: str,
    error: str,
) -> None:
    if error == CHOSEN:
        error = chance.choice(OF_FILES)
    counted = make_crashes(tmp_path / "counted", kind, mode)
    counted.write("a")
    calls = count(counted, error)
    # A queue is made in the same way beside any sink: its calls are taken once in each database.
    makes_it = (kind, mode) in (KINDS[0], SERVER_KINDS[0])
    made_queue = 0 if makes_it else counted.calls_before_sinks(calls)
    points = spread(len(calls), chance, FEW, made_queue)
    for point in points:
        crashes = make_crashes(tmp_path / f"at-{point}", kind, mode)
        crashes.write("a", "b")
        survive(crashes, error, point, chance.choice((1, BURST)))
        shutil.rmtree(crashes.directory)
        crashes.close()
    print(
        f"{kind} {mode}, first versions: {error} in {len(points)} of {len(calls)} calls", flush=True
    )


def count(crashes: Crashes, error: str) -> list[str]:
    """The calls that there are that the error can be of; drains meanwhile."""
    code, calls = crashes.drain(FAIL_ERRNO=getattr(errno, error))
    assert code == 0, crashes.project.log()
    return calls


def survive(crashes: Crashes, error: str, at: int, times: int) -> None:
    """Drain with these calls failing. Nothing is given up: this engine ends all jobs or the next
    one does, and all is as if nothing had failed."""
    before = len(crashes.project.log())
    try:
        code, calls = crashes.drain(FAIL_ERRNO=getattr(errno, error), FAIL_AT=at, FAIL_TIMES=times)
    except subprocess.TimeoutExpired as hung:
        hung.add_note(f"{error} at {at}, {times} times\n{crashes.project.log()[before:]}")
        raise
    failed = [call for call in calls if at <= int(call.split()[0]) < at + times]
    story = f"{error} at {at}, {times} times, exit {code}: {failed[:3]}"
    assert code in (0, 1, 2, 3), story + crashes.project.log()[before:]
    assert "Traceback" not in crashes.project.log()[before:], story + crashes.project.log()[before:]
    try:
        if code or crashes.unpublished():
            assert crashes.project.drain() == 0
        crashes.check()
        counted = crashes.project.query("select distinct crashes from processing_job")
        assert counted == [(0,)], "an error of the surroundings is no plugin's crash"
    except AssertionError as unlike:
        unlike.add_note(f"{story}\n{crashes.project.log()[-6000:]}")
        raise
