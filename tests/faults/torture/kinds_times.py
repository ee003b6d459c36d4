"""What producers do to times and contents: each kind is one way to lose or double a file."""

from __future__ import annotations

import os
import shutil
import time

from tests.faults.torture.drop import Drop, Story, lines, text

OLD = 1_000_000_000.0
FAR = 4_000_000_000.0


def late_files_with_old_mtimes(drop: Drop) -> Story:
    """`rsync -t` brings files today with the times of years ago."""
    drop.put("late", b"late/first.csv", "first", times=OLD)
    yield drop.done(b"late/first.csv")
    for n in range(5):
        drop.put("late", b"late/%d.csv" % n, f"f{n}", times=OLD + n)
        yield 0.05


def mtime_of_the_last_scan(drop: Drop) -> Story:
    drop.put("lastscan", b"lastscan/old.csv", "v1")
    yield drop.done(b"lastscan/old.csv")
    ((scanned_us,),) = drop.query(
        "select hashed_at_us from file_location where path = ?", b"lastscan/old.csv"
    )
    scanned = int(str(scanned_us)) / 1e6
    drop.put("lastscan", b"lastscan/new.csv", "new", times=scanned)
    drop.put("lastscan", b"lastscan/old.csv", "v2", times=scanned)


def overwritten_in_place_with_the_same_size(drop: Drop) -> Story:
    drop.put("samesize", b"samesize.csv", "v1")
    for version in range(2, 5):
        yield drop.done(b"samesize.csv", version - 1)
        drop.put("samesize", b"samesize.csv", f"v{version}")


def overwritten_with_mtime_restored(drop: Drop) -> Story:
    path = drop.put("restored", b"restored.csv", "v1", times=OLD)
    yield drop.done(b"restored.csv")
    size = os.path.getsize(path)
    drop.put("restored", b"restored.csv", "v2", times=OLD)
    assert os.path.getsize(path) == size


def appended_in_slow_motion(drop: Drop) -> Story:
    """Pieces end in the middle of a row, and the pauses are longer than the settle time."""
    rows = lines("slowly", "whole", 100)
    content = text(rows)
    drop.stands("slowly", b"slowly.csv", [key for key, *_ in rows])
    path = drop.at(b"slowly.csv")
    for n in range(0, len(content), 400):
        with open(path, "ab") as file:
            file.write(content[n : n + 400])
        yield 0.5 if n % 1200 == 0 else 0.05


def part_then_renamed(drop: Drop) -> Story:
    content = text(lines("part", "whole"))
    path = drop.at(b"part/x.csv.part")
    for n in range(0, len(content), 300):
        with open(path, "ab") as file:
            file.write(content[n : n + 300])
        yield 0.2
    os.rename(path, drop.at(b"part/x.csv"))
    drop.stands("part", b"part/x.csv", [key for key, *_ in lines("part", "whole")])
    drop.write(b"part/left.csv.part", content)
    drop.nothing("part", b"part/left.csv.part", "ignored ending")


def identical_copies(drop: Drop) -> Story:
    source = drop.put("copies", b"copies/a.csv", "same")
    yield drop.done(b"copies/a.csv")
    for name in (b"b", b"c"):
        place = b"copies/%s.csv" % name
        shutil.copy2(source, drop.at(place))
        drop.stands("copies", place, drop.expected[b"copies/a.csv"].keys)
        yield 0.1


def a_then_b_then_a(drop: Drop) -> Story:
    for version, tag in enumerate(("a", "b", "a"), 1):
        drop.put("aba", b"aba.csv", tag)
        yield drop.done(b"aba.csv", version)


def touched(drop: Drop) -> Story:
    """No new version: nothing is to be done twice."""
    path = drop.put("touched", b"touched.csv", "v1")
    yield drop.done(b"touched.csv")
    for _ in range(3):
        os.utime(path)
        yield 0.6
    drop.keeps("touched", b"touched.csv", 1)


def times_in_the_future(drop: Drop) -> Story:
    for n in range(5):
        drop.put("future", b"future/%d.csv" % n, f"f{n}", times=FAR)
    yield drop.done(b"future/0.csv")
    drop.put("future", b"future/0.csv", "g0", times=FAR)


def changed_while_it_is_hashed(drop: Drop) -> Story:
    """A file of some megabytes is overwritten again and again, with the same size."""
    rows = lines("hashing", "v0", 50_000)
    content = text(rows)
    path = drop.write(b"hashing.csv", content)
    end = time.monotonic() + 2
    version = 0
    while time.monotonic() < end:
        version = (version + 1) % 10
        with open(path, "r+b") as file:
            file.write(content.replace(b":v0:", b":v%d:" % version))
        yield 0.05
    drop.stands(
        "hashing", b"hashing.csv", [key for key, *_ in lines("hashing", f"v{version}", 50_000)]
    )


def emptied_and_filled_again(drop: Drop) -> Story:
    """Truncated first, written later: what a shell's `>` does."""
    path = drop.put("emptied", b"emptied.csv", "v1")
    yield drop.done(b"emptied.csv")
    os.truncate(path, 0)
    yield 1.0
    drop.put("emptied", b"emptied.csv", "v2")


KINDS = (
    late_files_with_old_mtimes,
    mtime_of_the_last_scan,
    overwritten_in_place_with_the_same_size,
    overwritten_with_mtime_restored,
    appended_in_slow_motion,
    part_then_renamed,
    identical_copies,
    a_then_b_then_a,
    touched,
    times_in_the_future,
    changed_while_it_is_hashed,
    emptied_and_filled_again,
)
