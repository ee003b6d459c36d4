"""Which calls of a program are to be its last: all of them, or some that chance spreads evenly.

CASPARIAN_CRASH_POINTS is how many, or `all`; CASPARIAN_TEST_SEED repeats what a run printed. All
can be taken in slices, one after another: with CASPARIAN_CRASH_SLICE=2/8 the 2nd, 10th, 18th, ...
"""

from __future__ import annotations

import itertools
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator

POINTS = os.environ.get("CASPARIAN_CRASH_POINTS", "3")
SLICE, _, SLICES = os.environ.get("CASPARIAN_CRASH_SLICE", "1/1").partition("/")
TIMEOUT_S = 36_000 if POINTS == "all" else 900


def seeded() -> random.Random:
    seed = int(os.environ.get("CASPARIAN_TEST_SEED", random.randrange(1 << 30)))
    print(f"CASPARIAN_TEST_SEED={seed}")
    return random.Random(seed)


def spread(total: int, chance: random.Random, few: int | None = None, after: int = 0) -> list[int]:
    """All after this one, or one from each of as many equal parts: `few`, where no number was
    asked for."""
    if POINTS == "all":
        return list(range(after + int(SLICE), total + 1, int(SLICES)))
    asked_for = few is None or "CASPARIAN_CRASH_POINTS" in os.environ
    total -= after
    parts = min(int(POINTS) if asked_for else few or 1, total)
    edges = [after + 1 + total * n // parts for n in range(parts + 1)]
    return [chance.randrange(a, b) for a, b in itertools.pairwise(edges)]


def until_killed(
    total: int,
    chance: random.Random,
    killed: Counter[str],
    few: int | None = None,
    after: int = 0,
) -> Iterator[int]:
    """The points of this run, and others nearer to the beginning while nothing was killed.

    How many calls a program makes differs a little from run to run: a point may lie beyond the
    last. Where even the first call kills nobody there is no more to draw, and the test fails.
    """
    points = spread(total, chance, few, after)
    yield from points
    point = points[-1]
    while not killed and point > 1:
        point = chance.randrange(1, point)
        yield point
    assert killed, "no call killed anything: the shim is not at work"


def covered(what: str, calls: int, killed: Counter[str]) -> None:
    print(f"{what}: {calls} calls, killed in {killed.total()}: {dict(killed)}", flush=True)


def struck(code: int, point: int, calls: list[str]) -> bool:
    """Whether the program died in place of that call; it may only have made fewer.

    `calls`: what the shim wrote down, a line for each.
    """
    if code == -signal.SIGKILL:
        return True
    assert point > len(calls), f"call {point} of {len(calls)} was made, and nothing was killed"
    return False
