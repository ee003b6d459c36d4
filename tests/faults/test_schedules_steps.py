"""Two engines stepped through every pair of steps of the publish protocol, S0 to S5.

Each pair has a file of its own. One engine stops after a step; the other goes as far as its own
step; then the first goes on to its end, and the other after it. Either they have two versions of
a file, or the first has lost its lease meanwhile, and the other takes its job over.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from casparian.domain.errors import UnavailableError
from casparian.domain.jobs import Claim
from tests.faults.conftest import SURROUNDINGS
from tests.support.crash_points import POINTS
from tests.support.stepped import Engine, Stage, lost


@dataclass
class Half:
    """One of two engines, and the job that it has."""

    engine: Engine
    text: str
    claim: Claim | None = None

    # --- the steps ------------------------------------------------------------------------

    def claimed(self) -> None:
        self.claim = self.engine.claim()

    def staged(self) -> None:
        assert self.claim is not None
        self.engine.stages(self.claim, {"rows": {"v": [self.text]}})

    def decided(self) -> None:
        self.engine.decide()

    def promoted(self) -> None:
        """Up to S4: it stops before it can say so."""
        self._promote_but("before")

    def completed(self) -> None:
        """Up to S5: it stops before it clears up."""
        self._promote_but("after")

    def cleared(self) -> None:
        self.engine.promote()
        self.engine.keeper.sweep()

    def _promote_but(self, when: str) -> None:
        getattr(self.engine.ledger, when)("complete", lost)
        with contextlib.suppress(UnavailableError):
            self.engine.promote()
        # Where there was nothing to complete it waits no longer.
        getattr(self.engine.ledger, f"_{when}").clear()

    # --- to the end -----------------------------------------------------------------------

    def finish(self, done: int) -> None:
        """The steps that are left; a slot that the other holds is waited for."""
        for step in STEPS[done + 1 :]:
            step(self)
        for _ in range(3):
            self.engine.stage.clock.advance(0.1)
            self.engine.publish()
        self.engine.keeper.sweep()


STEPS: list[Callable[[Half], None]] = [
    Half.claimed,
    Half.staged,
    Half.decided,
    Half.promoted,
    Half.completed,
    Half.cleared,
]
PAIRS = list(itertools.product(range(len(STEPS)), repeat=2))
DECIDED = STEPS.index(Half.decided)


def places(queue: str, sink: str) -> pytest.MarkDecorator:
    """One queue and sink in a normal run, all of them in the long one."""
    some = SURROUNDINGS if POINTS == "all" else [(queue, sink)]
    return pytest.mark.parametrize("surroundings", some, indirect=True, ids="-".join)


class Watched:
    """What readers see of one file: never an older version after a newer one."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.stage, self.name, self.newest = stage, name, ""

    def look(self) -> list[str]:
        seen = [text for text in self.stage.rows() if text.startswith(self.name)]
        assert len(seen) <= 1, seen
        assert not seen or seen[0] >= self.newest, (seen, self.newest)
        self.newest = max([self.newest, *seen])
        return seen


@places("memory", "parquet")
def test_every_pair_of_steps_on_two_versions(stage: Stage, one: Engine, two: Engine) -> None:
    met: Counter[tuple[str, str]] = Counter()
    for mine, others in PAIRS:
        name = f"{mine}-{others}"
        watched = Watched(stage, name)
        older, newer = Half(one, f"{name} v1"), Half(two, f"{name} v2")
        stage.world.record((f"{name}.csv".encode(), older.text))
        for step in STEPS[: mine + 1]:
            step(older)
        stage.world.record((f"{name}.csv".encode(), newer.text))
        for step in STEPS[: others + 1]:
            step(newer)
        watched.look()
        older.finish(mine)
        watched.look()
        newer.finish(others)
        assert watched.look() == [newer.text], name
        met[STEPS[mine].__name__, STEPS[others].__name__] += 1
    assert len(met) == len(STEPS) ** 2
    print(f"{len(met)} pairs of {len(STEPS)} steps")


@places("sqlite", "sqlite")
def test_every_pair_of_steps_on_one_job(stage: Stage, one: Engine, two: Engine) -> None:
    met: Counter[tuple[str, str]] = Counter()
    for mine, others in PAIRS:
        name = f"{mine}-{others}"
        watched = Watched(stage, name)
        first, second = Half(one, f"{name} v1"), Half(two, f"{name} v1")
        stage.world.record((f"{name}.csv".encode(), first.text))
        for step in STEPS[: mine + 1]:
            step(first)
        stage.clock.advance(31)
        two.recover()
        stage.clock.advance(15)  # What was reaped waits for its turn.
        # What was decided is rolled forward; what was not is claimed and staged anew.
        begins = DECIDED + 1 if mine >= DECIDED else 0
        for step in STEPS[begins : others + 1]:
            step(second)
        watched.look()
        assert first.claim is not None
        one.believes(first.claim)
        first.finish(mine)
        watched.look()
        second.finish(max(others, begins - 1))
        assert watched.look() == [first.text], name
        assert stage.status(first.claim.job_id) == "COMPLETED", name
        met[STEPS[mine].__name__, STEPS[others].__name__] += 1
    assert len(met) == len(STEPS) ** 2
    print(f"{len(met)} pairs of {len(STEPS)} steps")


@pytest.mark.parametrize("surroundings", [("memory", "parquet")])
def test_a_reader_that_sees_an_older_version_again_is_told(stage: Stage, one: Engine) -> None:
    """That it can fail."""
    one.new(b"a.csv", "a v2")
    one.publish()
    watched = Watched(stage, "a")
    assert watched.look() == ["a v2"]
    watched.newest = "a v3"
    with pytest.raises(AssertionError, match="a v3"):
        watched.look()
