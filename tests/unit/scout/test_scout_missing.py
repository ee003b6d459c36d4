"""What a scan does not meet: when a file is deleted, and when it may only seem so."""

from __future__ import annotations

import pytest

from casparian.adapters.files import local
from casparian.app.scout_missing import Missing
from casparian.domain.files import StatIdentity
from casparian.domain.ports import FileListing
from tests.unit.scout.world import SETTLE_S, World, counts


def test_nothing_is_deleted_when_the_root_is_gone(world: World) -> None:
    world.write("file")
    world.scan()
    world.path.rename(world.path.with_name("away"))
    for _ in range(3):
        report = world.scout.scan(world.root)
        assert counts(report) == {"unreadable": 1}
        assert not report.complete
        assert b"" in report.errors
    world.path.with_name("away").rename(world.path)
    assert world.scan() == {"unchanged": 1}
    assert not world.known("file").missed_scans


def test_nothing_is_deleted_when_another_device_is_mounted_there(world: World) -> None:
    world.write("file")
    world.scan()
    known = world.known("file")
    assert known.identity is not None
    elsewhere = known._replace(identity=known.identity._replace(device=known.identity.device + 1))
    missing = Missing()
    missing.add(elsewhere)
    missing.add(elsewhere._replace(id=77, deleted=True))
    assert missing.ids(known.identity.device) == ([], 1)
    missing.met(known.identity._replace(inode=0), None)
    assert missing.ids(known.identity.device) == ([], 1)
    # The same file under another device number: the file system was renumbered, not changed.
    missing.met(known.identity, elsewhere._replace(id=78))
    assert missing.ids(known.identity.device) == ([known.id], 0)


def test_a_changed_mount_is_reported(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world.write("file")
    world.scan()
    path.unlink()
    real = world.source.stat

    def other_device(root: bytes, path: bytes) -> StatIdentity:
        found = real(root, path)
        return found._replace(device=found.device + 1)

    monkeypatch.setattr(world.source, "stat", other_device)
    for _ in range(3):
        report = world.scout.scan(world.root)
        assert (counts(report), report.complete) == ({}, False)
        assert "1 known files" in report.errors[b""]
    monkeypatch.undo()
    assert [world.scan(), world.scan()] == [{}, {"deleted": 1}]


def test_only_what_is_below_an_unlistable_directory_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "d/a", "d/b", "d.x", "d0", "e"):
        world.write(name)
    world.scan()
    for name in ("a", "d/b", "d.x", "d0"):
        (world.path / name).unlink()
    real = local.list_directory

    def all_but_d(fd: int, prefix: bytes) -> list[FileListing | bytes]:
        if prefix == b"d/":
            raise PermissionError(13, "denied")
        return real(fd, prefix)

    monkeypatch.setattr(local, "list_directory", all_but_d)
    assert world.scan() == {"unchanged": 1, "unreadable": 1}
    assert world.scan() == {"unchanged": 1, "unreadable": 1, "deleted": 3}
    monkeypatch.undo()
    assert not world.known("d/b").missed_scans
    assert [world.scan(), world.scan()] == [{"unchanged": 2}, {"unchanged": 2, "deleted": 1}]


def test_a_file_missed_once_and_met_again_starts_over(world: World) -> None:
    path = world.write("file")
    world.scan()
    path.rename(world.path.with_name("away"))
    assert world.scan() == {}
    assert world.known("file").missed_scans == 1
    path.with_name("..").joinpath("away").rename(path)
    world.scan(3)
    assert world.known("file").missed_scans == 0
    path.unlink()
    assert world.scan() == {}
    assert world.scan() == {"deleted": 1}


def test_unchanged_after_a_miss_resets_the_count_without_reading(world: World) -> None:
    world.write("file")
    world.scan()
    world.catalog.missed([world.known("file").id])
    assert world.scan() == {"unchanged": 1}
    assert world.known("file").missed_scans == 0
    assert world.source.read == [b"file"]


def test_a_stopped_scan_deletes_nothing(world: World) -> None:
    for name in ("a", "b", "c", "d"):
        world.write(name)
    world.scan()
    (world.path / "a").unlink()
    for _ in range(3):
        answers = iter([False, True])
        report = world.scout.scan(world.root, stopped=lambda answers=answers: next(answers, True))
        assert (counts(report), report.complete) == ({"unchanged": 1}, False)
    assert not world.known("a").missed_scans


def test_a_path_that_the_catalog_cannot_keep_is_told_and_keeps_nothing_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.catalog, "longest_path", 11, raising=False)
    world.write("d/short.csv")
    world.write("d/long-name.csv")
    world.clock.advance(SETTLE_S + 1)
    report = world.scout.scan(world.root)
    assert counts(report) == {"new": 1, "unreadable": 1}
    assert report.errors == {
        b"d/long-name.csv": "its path has 15 bytes, and the queue's database keeps 11: "
        "give it a shorter one"
    }
    assert world.catalog.find(world.root.id, b"d/long-name.csv") is None


def test_a_vanished_file_is_gone_and_an_unreadable_one_is_counted(world: World) -> None:
    for name in ("a", "b", "c"):
        world.write(name)

    def act(path: bytes) -> None:
        if path == b"a":
            (world.path / "a").unlink()
        elif path == b"b":
            raise PermissionError(13, "Permission denied")

    world.source.before_read = act
    report = world.scout.scan(world.root)
    assert counts(report) == {"new": 1, "unreadable": 1}
    assert report.errors == {b"b": "Permission denied"}
    assert report.complete
    world.source.before_read = lambda path: None
    assert world.scan() == {"new": 1, "unchanged": 1}
