"""Files that go away, or become another thing, between the scan and the read."""

from __future__ import annotations

import os
import shutil

from tests.faults.torture.drop import Drop, Story, lines, text

GONE = "gone|is no longer what version|changed while it was read|No such file"


def deleted_before_the_read(drop: Drop) -> Story:
    for n in range(5):
        place = b"deleted/%d.csv" % n
        path = drop.put("deleted", place, f"f{n}")
        drop.stands("deleted", place, drop.expected[place].keys, or_refused=GONE)
        yield drop.met(place)
        os.unlink(path)
    path = drop.put("deleted", b"deleted/never.csv", "never")
    os.unlink(path)
    drop.nothing("deleted", b"deleted/never.csv", "No scan has recorded")


def deleted_while_the_job_reads(drop: Drop) -> Story:
    place = b"reading/deleted.slow"
    path = drop.put("reading", place, "gone")
    drop.stands("reading", place, drop.expected[place].keys, or_refused=GONE)
    yield drop.running(place)
    os.unlink(path)


def changed_while_the_job_reads(drop: Drop) -> Story:
    place = b"reading/changed.slow"
    drop.put("reading", place, "v1")
    yield drop.running(place)
    drop.put("reading", place, "v2")
    yield drop.done(place, 2)
    # Away, another one in its place, and back.
    path = drop.put("reading", place, "v3")
    yield drop.running(place, 3)
    other = drop.write(b"reading/other.tmp", text(lines("reading", "other")))
    os.rename(path, path + b".tmp")
    os.rename(other, path)
    yield 0.7
    os.rename(path + b".tmp", path)


def replaced_by_a_directory(drop: Drop) -> Story:
    for n in range(3):
        place = b"becomes/dir%d.slow" % n
        path = drop.put("becomes", place, f"dir{n}")
        drop.stands("becomes", place, drop.expected[place].keys, or_refused=GONE)
        yield drop.met(place)
        os.unlink(path)
        drop.put("becomes", place + b"/in.csv", f"in{n}")


def replaced_by_a_symbolic_link(drop: Drop) -> Story:
    secret = drop.outside / "becomes.csv"
    secret.write_bytes(text(lines("becomes", "secret")))
    for n in range(3):
        place = b"becomes/link%d.slow" % n
        path = drop.put("becomes", place, f"link{n}")
        drop.stands("becomes", place, drop.expected[place].keys, or_refused=GONE)
        yield drop.met(place)
        os.unlink(path)
        os.symlink(secret, path)
    # The same one directory higher.
    place = b"becomes/sub/in.slow"
    path = drop.put("becomes", place, "sub")
    drop.stands("becomes", place, drop.expected[place].keys, or_refused=GONE)
    yield drop.met(place)
    shutil.rmtree(os.path.dirname(path))
    (drop.outside / "in.slow").write_bytes(text(lines("becomes", "secret")))
    os.symlink(drop.outside, os.path.dirname(path))


def renamed(drop: Drop) -> Story:
    """A rename is a deletion and a new location: rows stand for both."""
    path = drop.put("renamed", b"renamed/a.csv", "v1")
    yield drop.done(b"renamed/a.csv")
    os.rename(path, drop.at(b"renamed/b.csv"))
    drop.stands("renamed", b"renamed/b.csv", drop.expected[b"renamed/a.csv"].keys)


def directories_swapped(drop: Drop) -> Story:
    one, two = b"swapped/one/x.csv", b"swapped/two/x.csv"
    drop.put("swapped", one, "one")
    drop.put("swapped", two, "two")
    yield drop.done(one)
    yield drop.done(two)
    first, second = os.path.dirname(drop.at(one)), os.path.dirname(drop.at(two))
    for _ in range(41):
        os.rename(first, first + b"-away")
        os.rename(second, first)
        os.rename(first + b"-away", second)
        yield 0.03
    swapped = drop.expected[one], drop.expected[two]
    drop.expected[two], drop.expected[one] = swapped


def deleted_and_restored(drop: Drop) -> Story:
    """The rows of a file that was deleted stand; those of one that came back stand once."""
    path = drop.put("restore", b"restore.csv", "v1")
    yield drop.done(b"restore.csv")
    kept = drop.outside / "restore.csv"
    shutil.move(path, os.fsencode(kept))
    yield 2.5
    shutil.move(os.fsencode(kept), path)


KINDS = (
    deleted_before_the_read,
    deleted_while_the_job_reads,
    changed_while_the_job_reads,
    replaced_by_a_directory,
    replaced_by_a_symbolic_link,
    renamed,
    directories_swapped,
    deleted_and_restored,
)
