"""A short soak, and that a soak can fail."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.faults.soak import Soak, compare, soak
from tests.faults.soak_readers import Reader, Rows

SECONDS = float(os.environ.get("CASPARIAN_SOAK_SECONDS", "20"))


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 2 + 300)
def test_nothing_is_lost_doubled_or_wrong(tmp_path: Path) -> None:
    seed = int(os.environ.get("CASPARIAN_TEST_SEED", random.randrange(1 << 30)))
    print(f"CASPARIAN_TEST_SEED={seed}")
    figures = soak(tmp_path / "project", seed, SECONDS)
    print(figures)
    assert figures.wrong == []
    assert figures.rounds > 0
    assert figures.kills.total() > 0


@pytest.mark.slow
def test_a_soak_can_fail(tmp_path: Path) -> None:
    """A file that is lost behind its back is seen at the end of the round."""
    run = Soak(tmp_path / "project", 1)
    for n in range(3):
        run.write(f"file{n}")
    assert run.project.drain() == 0, run.project.log()
    run.check()
    assert run.figures.wrong == []
    (slot,) = (tmp_path / "project" / "out" / "output").glob("f1-*")
    shutil.rmtree(slot)
    run.check()
    assert any("is not there" in wrong for wrong in run.figures.wrong)
    assert any(wrong.startswith("I2 ") for wrong in run.figures.wrong)


@pytest.mark.parametrize(
    ("states", "wrong"),
    [
        ([{("a", 1): (5, 5)}, {("a", 2): (5, 5)}], []),
        ([{("a", 1): (4, 4)}], ["a version 1: 4 rows, 4 different"]),
        ([{("a", 1): (10, 5)}], ["a version 1: 10 rows, 5 different"]),
        ([{("a", 1): (5, 5), ("a", 2): (5, 5)}], ["a: versions 1 and 2 at once"]),
        ([{("a", 2): (5, 5)}, {("a", 1): (5, 5)}], ["a: version 1 after 2"]),
        ([{("a", 1): (5, 5)}, {}], ["a is gone"]),
    ],
)
def test_a_reader_sees_what_must_not_be(states: list[Rows], wrong: list[str]) -> None:
    reader = Reader(dict, lambda _: 5, lasting=True)
    for state in states:
        reader.look(state)
    assert reader.wrong == wrong


def test_what_is_there_is_compared_with_what_is_due() -> None:
    wrong: list[str] = []
    found: Rows = {("a", 1): (5, 5), ("b", 1): (6, 5), ("c", 1): (5, 5)}
    compare("rows", found, {("a", 1): 5, ("b", 1): 5, ("d", 1): 5}, wrong)
    assert wrong == [
        "rows: ('d', 1) is not there",
        "rows: ('c', 1) should not be there",
        "rows: ('b', 1) has (6, 5) rows and different rows of 5",
    ]
