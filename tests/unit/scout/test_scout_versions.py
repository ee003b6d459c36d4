"""What the scout takes for a version: of new, changed, touched, renamed and returned files."""

from __future__ import annotations

import hashlib
import os

from tests.unit.scout.world import World


def test_new_unchanged_changed(world: World) -> None:
    path = world.write("d/a.csv", b"one")
    assert world.scan() == {"new": 1}
    assert world.scan() == {"unchanged": 1}
    path.write_bytes(b"three")
    assert world.scan(3) == {"changed": 1}
    known = world.known("d/a.csv")
    assert known.versions == 2
    assert known.content_hash == hashlib.sha256(b"three").hexdigest()


def test_a_then_b_then_a_are_three_versions(world: World) -> None:
    for content, expected in ((b"A", "new"), (b"B", "changed"), (b"A", "changed")):
        world.write("file", content)
        assert world.scan() == {expected: 1}
    assert world.known("file").versions == 3


def test_touched_with_the_same_content_is_unchanged(world: World) -> None:
    path = world.write("file")
    world.scan()
    os.utime(path)
    assert world.scan(3) == {"unchanged": 1}
    assert world.source.read == [b"file", b"file"]
    assert world.scan(3) == {"unchanged": 1}
    assert len(world.source.read) == 2
    assert world.known("file").versions == 1


def test_same_size_and_a_restored_mtime_are_caught_by_ctime(world: World) -> None:
    path = world.write("file", b"AAAA")
    before = path.stat()
    world.scan()
    path.write_bytes(b"BBBB")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert world.scan(3) == {"changed": 1}


def test_a_rename_is_a_deletion_and_a_new_location_of_the_same_content(world: World) -> None:
    path = world.write("old")
    world.scan()
    path.rename(world.path / "new")
    assert world.scan(3) == {"new": 1}
    assert world.scan(3) == {"unchanged": 1, "deleted": 1}
    assert world.known("old").deleted
    assert world.known("new").content_hash == world.known("old").content_hash


def test_a_file_that_came_back_is_new(world: World) -> None:
    path = world.write("file")
    world.scan()
    path.unlink()
    assert [world.scan(3), world.scan(3), world.scan(3)] == [{}, {"deleted": 1}, {}]
    world.write("file")
    assert world.scan() == {"new": 1}
    assert world.known("file").versions == 2


def test_jobs_and_progress_are_reported(world: World) -> None:
    world.write("a.csv")
    told: list[int] = []
    report = world.scout.scan(world.root, on_progress=lambda report: told.append(report.new))
    assert told == [1]
    assert report.jobs == 0
