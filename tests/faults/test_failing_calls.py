"""An error in place of each call by which the engine changes files: the disk is full, or broken.

A shim preloaded into the engine counts those calls and lets the n-th fail, and in some runs many
after it. The engine waits or ends in order, and loses nothing: the next one finishes all of it. A
normal run takes a few calls by chance.
"""

from __future__ import annotations

import errno
import random
import shutil
from pathlib import Path

import pytest

from tests.faults.test_crash_points import Crashes
from tests.support.crash_points import POINTS, TIMEOUT_S, seeded, spread
from tests.support.project import Project

ERRORS = {name: getattr(errno, name) for name in ("EIO", "ENOSPC", "EROFS", "EMFILE", "EFBIG")}
COMBINATIONS = [("parquet", "replace"), ("sqlite", "append")]
if POINTS == "all":
    COMBINATIONS += [("parquet", "append"), ("sqlite", "replace"), ("both", "replace")]
BURST = 25
FEW = 1
"""Of each kind, where only some are taken: each is an engine or two, and reading back all of it."""
CHOSEN = "by-chance"
WHICH = list(ERRORS) if POINTS == "all" else [CHOSEN]


class Failures(Crashes):
    """A project whose engine meets errors."""

    def count(self, error: str) -> list[str]:
        """The calls that there are that the error can be of; drains meanwhile."""
        code, calls = self._run({"FAIL_ERRNO": str(ERRORS[error])})
        assert code == 0, self.project.log()
        return calls

    def survive(self, error: str, at: int, times: int) -> None:
        """Drain with these calls failing. Nothing is given up: this engine ends all jobs or the
        next one does, and all is as if nothing had failed."""
        before = len(self.project.log())
        environment = {"FAIL_ERRNO": str(ERRORS[error]), "FAIL_AT": str(at)}
        code, calls = self._run({**environment, "FAIL_TIMES": str(times)})
        failed = [call for call in calls if at <= int(call.split()[0]) < at + times]
        story = f"{error} at {at}, {times} times, exit {code}: {failed[:3]}"
        assert code in (0, 1, 2, 3), story + self.project.log()[before:]
        assert "Traceback" not in self.project.log()[before:], story + self.project.log()[before:]
        try:
            if code or self.project.stagings():
                assert self.project.drain() == 0
            self.check()
        except AssertionError as unlike:
            unlike.add_note(f"{story}\n{self.project.log()[-6000:]}")
            raise

    def _run(self, environment: dict[str, str]) -> tuple[int, list[str]]:
        log = self.project.directory / "calls"
        log.unlink(missing_ok=True)
        code = self.project.drain(shim=self.shim, **environment, CRASH_LOG=str(log))
        return code, log.read_text(errors="replace").splitlines()


@pytest.fixture
def chance() -> random.Random:
    return seeded()


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("error", WHICH)
@pytest.mark.parametrize(("kind", "mode"), COMBINATIONS)
def test_a_correction_survives_an_error_of_any_call(
    tmp_path: Path, shim: Path, chance: random.Random, kind: str, mode: str, error: str
) -> None:
    if error == CHOSEN:
        error = chance.choice(list(ERRORS))
    project = Failures(Project(tmp_path / "project"), shim, kind, mode)
    for name in "ab":
        project.write(name)
    assert project.project.drain() == 0, project.project.log()
    project.write("a")
    project.write("b")
    calls = len(project.count(error))
    points = spread(calls, chance, FEW)
    for point in points:
        project.write("a")
        project.write("b")
        project.survive(error, point, chance.choice((1, BURST)))
    print(f"{kind} {mode}, later versions: {error} in {len(points)} of {calls} calls", flush=True)


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("error", WHICH)
@pytest.mark.parametrize(("kind", "mode"), COMBINATIONS[1 if POINTS != "all" else 0 :])
def test_a_first_run_survives_an_error_of_any_call(
    tmp_path: Path, shim: Path, chance: random.Random, kind: str, mode: str, error: str
) -> None:
    if error == CHOSEN:
        error = chance.choice(list(ERRORS))
    counted = Failures(Project(tmp_path / "counted"), shim, kind, mode)
    counted.write("a")
    calls = counted.count(error)
    # A queue is made in the same way beside any sink: its calls are taken once.
    made_queue = 0 if (kind, mode) == COMBINATIONS[0] else counted.calls_before_sinks(calls)
    points = spread(len(calls), chance, FEW, made_queue)
    for point in points:
        project = Failures(Project(tmp_path / f"at-{point}"), shim, kind, mode)
        project.write("a")
        project.write("b")
        project.survive(error, point, chance.choice((1, BURST)))
        shutil.rmtree(project.project.directory)
    print(
        f"{kind} {mode}, first versions: {error} in {len(points)} of {len(calls)} calls", flush=True
    )
