"""What a scan does not compare again, and what makes it do so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from casparian.adapters.files import LocalFileSource, local
from casparian.adapters.queue import QueueStores, open_memory
from casparian.app import scout_quiet
from casparian.app.scout import Scout
from casparian.domain.files import DAY_US, REHASH_AFTER_US, FileLocation, ScanReport, ScanRules
from casparian.domain.ports import Applied, FileCatalog
from casparian.domain.roots import DoneMarker, RootRules
from tests.support.clocks import Clock, next_tick

DIRECTORIES = ("a", "b", "c/d")


class Reads:
    """Which ranges of the catalog were read."""

    def __init__(self, catalog: FileCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: list[bytes] = []
        real = catalog.locations

        def locations(
            root_id: int, below: bytes = b"", begin: bytes = b""
        ) -> Iterator[FileLocation]:
            for location in real(root_id, below, begin):
                self.paths.append(location.path)
                yield location

        monkeypatch.setattr(catalog, "locations", locations)

    def take(self) -> list[bytes]:
        paths, self.paths = self.paths, []
        return paths


class World:
    """Three directories of two files, which two scans have found as they are."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.clock = path, Clock()
        self.stores: QueueStores = open_memory(self.clock)
        self.stores.store.apply(Applied((os.fsencode(path),), (), (), ()))
        self.catalog = self.stores.catalog
        (self.root,) = self.catalog.roots()
        self.scout = self.new_scout()
        for directory in DIRECTORIES:
            for name in "xy":
                self.write(f"{directory}/{name}")
        self.reads = Reads(self.catalog, monkeypatch)
        assert self.scan() == {"new": 6}
        assert self.scan() == {"unchanged": 6}
        assert len(self.reads.take()) == 6

    def new_scout(self, rules: RootRules | None = None) -> Scout:
        roots = {} if rules is None else {self.root.path: rules}
        return Scout(
            self.catalog, LocalFileSource(), ScanRules(), self.clock,
            self.stores.store.routing, roots,
        )  # fmt: skip

    def write(self, name: str, content: bytes = b"content") -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        next_tick()
        path.write_bytes(content)
        return path

    def report(self, scout: Scout | None = None) -> ScanReport:
        self.clock.advance(3)
        return (scout or self.scout).scan(self.root)

    def scan(self, scout: Scout | None = None) -> dict[str, int]:
        counts = self.report(scout).counts()
        return {name: count for name, count in counts.items() if count}

    def known(self, name: str) -> FileLocation:
        found = self.catalog.find(self.root.id, os.fsencode(name))
        assert found is not None
        return found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    root = tmp_path / "root"
    root.mkdir()
    return World(root, monkeypatch)


def test_nothing_is_read_of_what_stands_as_it_did(world: World) -> None:
    for _ in range(3):
        assert world.scan() == {"unchanged": 6}
        assert world.reads.take() == []


def test_a_look_at_the_whole_root_reads_no_more_and_deletes_nothing(world: World) -> None:
    for _ in range(3):
        assert world.scout.look(world.root, [b""]).unchanged == 6
        assert world.reads.take() == []
    (world.path / "b/x").unlink()
    for _ in range(3):
        assert world.scout.look(world.root, [b""]).unchanged == 5
    assert world.known("b/x").missed_scans == 0
    assert [world.scan(), world.scan()] == [{"unchanged": 5}, {"unchanged": 5, "deleted": 1}]


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_only_the_directory_with_a_change_is_compared(world: World, directory: str) -> None:
    world.write(f"{directory}/x", b"another content")
    assert world.scan() == {"changed": 1, "unchanged": 5}
    own = [os.fsencode(f"{directory}/{name}") for name in "xy"]
    # One row beyond tells that there is no more of it.
    assert world.reads.take()[:2] == own
    assert world.scan() == {"unchanged": 6}
    world.reads.take()
    assert world.scan() == {"unchanged": 6}
    assert world.reads.take() == []


def test_new_and_removed_files_and_directories(world: World) -> None:
    world.write("b/z")
    world.write("b.new/z")
    assert world.scan() == {"new": 2, "unchanged": 6}
    for name in ("a/y", "c/d/x", "c/d/y"):
        (world.path / name).unlink()
    (world.path / "c/d").rmdir()
    assert world.scan() == {"unchanged": 5}
    assert world.scan() == {"unchanged": 5, "deleted": 3}
    assert world.scan() == {"unchanged": 5}
    world.reads.take()
    world.write("c/d/x")
    assert world.scan() == {"new": 1, "unchanged": 5}


def test_own_misses_do_not_end_the_quiet_of_other_directories(world: World) -> None:
    (world.path / "b/x").unlink()
    for found in ({"unchanged": 5}, {"unchanged": 5, "deleted": 1}, {"unchanged": 5}):
        assert world.scan() == found
        assert not any(path.startswith(b"a/") for path in world.reads.take())


def test_a_file_that_was_forgotten_is_read_again(world: World) -> None:
    world.catalog.forget(world.known("b/y").id, "ann")
    assert world.scan() == {"new": 1, "unchanged": 5}
    assert world.known("b/y").versions == 2


def test_what_another_scout_missed_is_taken_back(world: World) -> None:
    """Two engines see one file system, and one of them less of it."""
    (x, y) = world.known("b/x").id, world.known("b/y").id
    world.catalog.missed([x, y])
    assert world.scan() == {"unchanged": 6}
    assert [world.known("b/x").missed_scans, world.known("b/y").missed_scans] == [0, 0]
    world.catalog.missed([y])
    world.catalog.missed([y])
    assert world.known("b/y").deleted
    assert world.scan() == {"new": 1, "unchanged": 5}


def test_another_scouts_miss_during_own_misses_is_noticed(world: World) -> None:
    (world.path / "a/x").unlink()
    assert world.scan() == {"unchanged": 5}
    world.catalog.missed([world.known("c/d/x").id])
    assert world.scan() == {"unchanged": 5, "deleted": 1}
    assert world.known("c/d/x").missed_scans == 0


@pytest.mark.parametrize("who", ["a look", "a look at the directory", "another scout"])
def test_a_file_that_comes_and_goes_between_two_scans_is_missed(world: World, who: str) -> None:
    """The directory is then as the last scan found it, and the catalog is not."""
    path = world.write("a/z")
    if who == "another scout":
        world.new_scout().scan(world.root)
    else:
        world.scout.look(world.root, [b"a/z" if who == "a look" else b"a"])
    path.unlink()
    world.reads.take()
    assert world.scan() == {"unchanged": 6}
    if who != "another scout":
        assert set(world.reads.take()) <= {b"a/x", b"a/y", b"a/z", b"b/x"}
    assert world.scan() == {"unchanged": 6, "deleted": 1}


def test_the_weekly_hashing_goes_on(world: World) -> None:
    hashed_us = {name: world.known(name).hashed_at_us for name in ("a/x", "a/y", "b/x", "c/d/y")}
    assert world.scan() == {"unchanged": 6}
    for _ in range(8):
        world.clock.advance(DAY_US / 1e6)
        assert world.scan() == {"unchanged": 6}
    for name, before in hashed_us.items():
        assert 0 < world.known(name).hashed_at_us - before <= REHASH_AFTER_US + DAY_US


def test_a_clock_that_is_set_back_has_everything_compared(world: World) -> None:
    world.clock.advance(-2 * DAY_US / 1e6)
    hashed_us = world.known("a/x").hashed_at_us
    # Their times are in the future now.
    assert world.scan() == {"deferred": 6}
    assert world.scan() == {"unchanged": 6}
    assert world.known("a/x").hashed_at_us < hashed_us


def test_files_that_wait_for_their_marker_are_looked_at_each_time(world: World) -> None:
    scout = world.new_scout(RootRules(done=DoneMarker("{name}.done")))
    world.write("b/z")
    assert [world.scan(scout) for _ in range(3)] == [{"unchanged": 6, "waiting": 1}] * 3
    world.reads.take()
    assert world.scan(scout) == {"unchanged": 6, "waiting": 1}
    assert not any(path.startswith(b"a/") for path in world.reads.take())
    world.write("b/z.done")
    assert world.scan(scout) == {"unchanged": 6, "new": 1}
    assert [world.scan(scout) for _ in range(2)] == [{"unchanged": 7}] * 2
    world.reads.take()
    assert world.scan(scout) == {"unchanged": 7}
    assert world.reads.take() == []


def test_so_many_directories_are_remembered_and_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scout_quiet, "REMEMBERED_RUNS", 2)
    scout = world.new_scout()
    for _ in range(3):
        assert world.scan(scout) == {"unchanged": 6}
        read = world.reads.take()
    assert [path for path in read if path.startswith((b"a/", b"b/"))] == []
    assert read == [b"c/d/x", b"c/d/y"]


def test_a_directory_that_cannot_be_listed_for_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = local.list_directory

    def failing(fd: int, prefix: bytes) -> object:
        if prefix == b"b/":
            raise PermissionError(13, "Permission denied")
        return real(fd, prefix)

    monkeypatch.setattr(local, "list_directory", failing)
    for _ in range(3):
        assert world.scan() == {"unchanged": 4, "unreadable": 1}
    monkeypatch.setattr(local, "list_directory", real)
    assert world.scan() == {"unchanged": 6}
    assert world.known("b/x").missed_scans == 0
