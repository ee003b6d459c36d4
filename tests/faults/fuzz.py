"""Mutated frames and Arrow streams, thrown at the code that reads what sidecars send.

    python -m tests.faults.fuzz frames --count 1000000 --seed 7
    python -m tests.faults.fuzz streams --count 100000 --seed 7

Every one ends as accepted, or refused with a reason that is counted; nothing else is raised, the
process does not die of it, and its memory does not grow. Case N of a seed is always the same:
`--first N --count 1` repeats it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults.fuzz_frames import Frames
from tests.faults.fuzz_streams import Streams

KINDS: dict[str, Callable[[], Callable[[random.Random], str]]] = {
    "frames": lambda: Frames().case,
    "streams": lambda: Streams().case,
}
GROWTH = 64 << 20
"""What an allocator may keep; a leak of a hundred bytes a case is more in a million."""
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def reason_of(text: str) -> str:
    """A reason without what differs from case to case."""
    text = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|b'.*?'", "…", text)
    return re.sub(r"-?[0-9][0-9a-fx,.]*", "N", text)[:90]


def fuzz(kind: str, seed: int, first: int, count: int, note: Path | None = None) -> Counter[str]:
    """How many cases ended in which way. `note` has the number of the case that is being run."""
    case = KINDS[kind]()
    ends: Counter[str] = Counter()
    settled = 0
    with open(note or os.devnull, "wb", buffering=0) as at:
        for number in range(first, first + count):
            if note is not None:
                os.pwrite(at.fileno(), b"%20d" % number, 0)
            ends[reason_of(case(random.Random(f"{seed}-{number}")))] += 1
            if number - first == count // 5:
                settled = resident()
    growth = resident() - settled
    assert growth < GROWTH, f"memory grew by {growth >> 20} MB in {count} cases"
    return ends


def main() -> int:
    parser = argparse.ArgumentParser(description="Mutated frames and Arrow streams.")
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--note", type=Path, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    seed = random.randrange(1 << 30) if options.seed is None else options.seed
    if options.note is not None:
        ends = fuzz(options.kind, seed, options.first, options.count, options.note)
        print(json.dumps(ends.most_common()))
        return 0
    began = time.monotonic()
    ends = in_a_process(options.kind, seed, options.first, options.count)
    print(f"{options.kind}, seed {seed}: {ends.total():,} cases, {time.monotonic() - began:.0f} s")
    for reason, times in ends.most_common():
        print(f"{times:9,}  {reason}")
    return 0


def in_a_process(kind: str, seed: int, first: int, count: int) -> Counter[str]:
    """The same in a process that may die of a case: which one it was is told."""
    note = Path(f"/proc/self/fd/{os.memfd_create('case')}")
    command = [sys.executable, "-m", "tests.faults.fuzz", kind, "--seed", str(seed)]
    command += ["--first", str(first), "--count", str(count), "--note", os.readlink(note)]
    descriptor = int(note.name)
    command[-1] = f"/dev/fd/{descriptor}"
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=False, pass_fds=[descriptor]
    )
    at = os.pread(descriptor, 20, 0).decode().strip()
    os.close(descriptor)
    assert done.returncode == 0, (
        f"ended with {done.returncode} at case {at}: "
        f"python -m tests.faults.fuzz {kind} --seed {seed} --first {at} --count 1"
    )
    return Counter(dict(json.loads(done.stdout.splitlines()[-1])))


if __name__ == "__main__":
    sys.exit(main())
