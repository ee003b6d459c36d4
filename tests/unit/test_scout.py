"""The scout's rules, over real files and the catalog in memory.

The clock is the real one plus what a test adds, since nobody can set a file's ctime.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from casparian.adapters.files import LocalFileSource, local, parallel
from casparian.adapters.queue import QueueStores, open_memory
from casparian.app import scout_batches, scout_memory
from casparian.app.scout import Scout
from casparian.app.scout_drain import scan_until_settled
from casparian.app.scout_missing import Missing
from casparian.domain.files import (
    DAY_US,
    LISTED_AT_MOST,
    REHASH_AFTER_US,
    FileLocation,
    ScanCase,
    ScanReport,
    ScanRules,
    StatIdentity,
)
from casparian.domain.ports import Applied, FileChangedError, FileListing
from casparian.domain.routing import RoutingRule

SETTLE_S = 2
KEYS = ("new", "changed", "unchanged", "deferred", "deleted", "unreadable", "waiting")


class Clock:
    def __init__(self) -> None:
        self.added_us = 0

    def __call__(self) -> int:
        return time.time_ns() // 1000 + self.added_us

    def advance(self, seconds: float) -> None:
        self.added_us += int(seconds * 1_000_000)


def next_tick() -> None:
    """Wait for the kernel's clock of file timestamps to move on, some milliseconds at most.

    A test's clock may jump between two writes; two writes within one tick look the same.
    """
    with tempfile.TemporaryFile() as probe:
        before = os.fstat(probe.fileno()).st_ctime_ns
        while os.fstat(probe.fileno()).st_ctime_ns == before:
            os.utime(probe.fileno())


class CountingSource(LocalFileSource):
    """The real source; counts reads, and lets a test act before or instead of them."""

    def __init__(self) -> None:
        self.read: list[bytes] = []
        self.before_read: Callable[[bytes], None] = lambda path: None

    def read_hash(self, root: bytes, path: bytes) -> tuple[str, StatIdentity]:
        self.read.append(path)
        self.before_read(path)
        return super().read_hash(root, path)

    def read_hashes(
        self, root: bytes, paths: Sequence[bytes]
    ) -> list[tuple[str, StatIdentity] | None]:
        return [None] * len(paths)


class World:
    """A root, a catalog and a scout."""

    def __init__(self, path: Path, settle_s: float = SETTLE_S) -> None:
        self.path = path
        path.mkdir()
        self.clock = Clock()
        self.stores: QueueStores = open_memory(self.clock)
        rules = (RoutingRule("**/*.csv", "csv"),)
        self.stores.store.apply(Applied((os.fsencode(path),), rules, (), ()))
        self.catalog = self.stores.catalog
        (self.root,) = self.catalog.roots()
        self.source = CountingSource()
        scan_rules = ScanRules(settle_ns=int(settle_s * 1e9))
        self.scout = Scout(
            self.catalog, self.source, scan_rules, self.clock, self.stores.store.routing
        )

    def write(self, name: str, content: bytes = b"content", settle: bool = True) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if settle:
            self.clock.advance(SETTLE_S + 1)
        return path

    def scan(self, after_s: float = 0) -> dict[str, int]:
        """Counts of a scan, those that are 0 left out."""
        self.clock.advance(after_s)
        found = counts(self.scout.scan(self.root))
        next_tick()
        return found

    def known(self, name: str) -> FileLocation:
        found = self.catalog.find(self.root.id, os.fsencode(name))
        assert found is not None
        return found


def counts(report: ScanReport) -> dict[str, int]:
    assert tuple(report.counts()) == KEYS
    return {name: count for name, count in report.counts().items() if count}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "root")


# --- versions ------------------------------------------------------------------------------


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


# --- what is hashed ------------------------------------------------------------------------


def test_hard_links_are_hashed_once_and_are_locations_of_their_own(world: World) -> None:
    first = world.write("a", b"x" * 200_000)
    os.link(first, world.path / "b")
    (world.path / "d").mkdir()
    os.link(first, world.path / "d/c")
    assert world.scan(3) == {"new": 3}
    assert world.source.read == [b"a"]
    assert {world.known(n).content_hash for n in ("a", "b", "d/c")} == {
        hashlib.sha256(b"x" * 200_000).hexdigest()
    }


def test_a_file_changed_just_before_it_was_hashed_is_hashed_once_more(tmp_path: Path) -> None:
    world = World(tmp_path / "root", settle_s=0)
    world.write("file", settle=False)
    assert world.scan() == {"new": 1}
    assert world.scan(3) == {"unchanged": 1}
    assert world.scan() == {"unchanged": 1}
    assert len(world.source.read) == 2


def test_every_file_is_hashed_again_once_a_week(world: World) -> None:
    world.write("file")
    world.scan()
    world.scan((REHASH_AFTER_US - DAY_US) / 1e6 - 60)
    assert len(world.source.read) == 1
    world.scan(DAY_US / 1e6 + 120)
    assert len(world.source.read) == 2


def test_weekly_hashing_of_files_met_together_is_spread_over_a_day() -> None:
    rules, identity = ScanRules(), StatIdentity(1, 1, 1, 1, 1)
    week_ns = REHASH_AFTER_US * 1000
    due = []
    for n in range(200):
        known = FileLocation(n, 1, b"file-%d" % n, identity, "0", 1, 1, 10**12)
        now_ns = 10**15 + week_ns - DAY_US * 500
        due.append(rules.judge(identity, known, now_ns) is ScanCase.HASH)
        assert rules.judge(identity, known, 10**15 + week_ns) is ScanCase.HASH
    assert 50 < sum(due) < 150


def test_large_and_small_files_in_any_order(world: World) -> None:
    contents = {f"f{n:03}": os.urandom(300_000 if n % 7 == 0 else n) for n in range(150)}
    for name, content in contents.items():
        world.write(name, content, settle=False)
    assert world.scan(3) == {"new": 150}
    for name, content in contents.items():
        assert world.known(name).content_hash == hashlib.sha256(content).hexdigest()


def test_recording_goes_in_batches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scout_batches, "BATCH", 10)
    monkeypatch.setattr(parallel, "SMALL_TOGETHER", 20)
    for n in range(250):
        world.write(f"{n:03}", settle=False)
    world.clock.advance(3)
    told: list[int] = []
    world.scout.scan(world.root, on_progress=lambda report: told.append(report.new))
    assert told[-1] == 250
    assert len(told) > 2
    assert told == sorted(told)


# --- what is deferred ------------------------------------------------------------------------


def test_a_file_is_deferred_until_mtime_and_ctime_are_old(world: World) -> None:
    path = world.write("file", settle=False)
    report = world.scout.scan(world.root)
    assert counts(report) == {"deferred": 1}
    assert list(report.deferred_paths) == [b"file"]
    assert report.next_look_us == report.look_again_us[b"file"]
    settled_ns = path.stat().st_ctime_ns + SETTLE_S * 10**9
    assert 0 <= report.next_look_us * 1000 - settled_ns < 2000
    os.utime(path, (1, 1))
    assert world.scan() == {"deferred": 1}
    assert world.scan(SETTLE_S) == {"new": 1}


@pytest.mark.parametrize("name", ["x.tmp", "x.part", "x.csv.crdownload", "x~", "d/x.tmp"])
def test_unfinished_names_are_not_looked_at(world: World, name: str) -> None:
    world.write(name)
    assert world.scan() == {}
    assert counts(world.scout.look(world.root, [os.fsencode(name)])) == {}
    (world.path / name).rename(world.path / "x.csv")
    assert world.scan(3) == {"new": 1}


def test_a_file_that_changes_during_each_of_three_reads_is_deferred(world: World) -> None:
    world.write("file")

    def fail(path: bytes) -> None:
        raise FileChangedError("changed")

    world.source.before_read = fail
    report = world.scout.scan(world.root)
    assert counts(report) == {"deferred": 1}
    assert report.deferred_paths == {b"file": "it changed while it was read"}
    assert world.source.read == [b"file"] * 3
    world.source.before_read = lambda path: None
    assert world.scan() == {"new": 1}


def test_a_file_replaced_between_walk_and_read_waits_to_settle(world: World) -> None:
    path = world.write("file")

    def replace_it(read: bytes) -> None:
        path.write_bytes(b"still being written")
        os.utime(path, ns=(0, world.clock() * 1000))

    world.source.before_read = replace_it
    assert world.scan() == {"deferred": 1}
    world.source.before_read = lambda read: None
    assert world.scan(SETTLE_S) == {"new": 1}


def test_a_future_timestamp_is_settled_when_it_stood_unchanged(world: World) -> None:
    path = world.write("file", settle=False)
    year_2100 = 4_102_444_800
    os.utime(path, (year_2100, year_2100))
    assert world.scan(3) == {"deferred": 1}
    assert world.scan(SETTLE_S / 2) == {"deferred": 1}
    os.utime(path, (year_2100, year_2100 + 1))
    assert world.scan(SETTLE_S / 2) == {"deferred": 1}
    report = world.scout.scan(world.root)
    assert report.next_look_us is not None
    assert report.next_look_us - world.clock() <= SETTLE_S * 1_000_000
    assert world.scan(SETTLE_S) == {"new": 1}
    # And it is not read at every scan until then.
    reads = len(world.source.read)
    assert [world.scan(3), world.scan(3)] == [{"unchanged": 1}] * 2
    assert len(world.source.read) == reads


def test_reports_list_so_many_deferred_files_and_count_all() -> None:
    report = ScanReport()
    for n in range(LISTED_AT_MOST + 5):
        report.defer(b"%d" % n, "why", 1000 - n)
        report.fail(b"%d" % n, "why")
    assert report.deferred == report.unreadable == LISTED_AT_MOST + 5
    assert len(report.deferred_paths) == len(report.errors) == LISTED_AT_MOST
    assert report.next_look_us == 1000 - LISTED_AT_MOST - 4


# --- what is deleted -------------------------------------------------------------------------


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


# --- looks -----------------------------------------------------------------------------------


def test_a_look_sees_what_it_is_pointed_at_and_deletes_nothing(world: World) -> None:
    for name in ("a", "d/x", "d/e/y", "d.z", "other"):
        world.write(name)
    paths = [b"a", b"d", b"d/x", b"a", b"gone", b"d/e"]
    assert counts(world.scout.look(world.root, paths)) == {"new": 3}
    assert sorted(world.source.read) == [b"a", b"d/e/y", b"d/x"]
    (world.path / "d/x").unlink()
    for _ in range(3):
        assert counts(world.scout.look(world.root, [b"d"])) == {"unchanged": 1}
    assert not world.known("d/x").missed_scans
    assert counts(world.scout.look(world.root, [b""])) == {"new": 2, "unchanged": 2}


def test_a_look_through_a_link_sees_nothing(world: World, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("x")
    (world.path / "link").symlink_to(tmp_path / "outside")
    (world.path / "file").symlink_to(tmp_path / "outside/file")
    assert counts(world.scout.look(world.root, [b"link", b"link/file", b"file"])) == {}


# --- until settled -----------------------------------------------------------------------------


def no_progress() -> Callable[[ScanReport], None]:
    return lambda report: None


def test_scan_until_settled_waits_for_what_is_deferred(tmp_path: Path) -> None:
    world = World(tmp_path / "root", settle_s=0.2)
    world.write("a", settle=False)
    report = scan_until_settled(world.scout, threading.Event(), no_progress)
    assert counts(report) == {"new": 1}
    assert report.deferred_paths == {}


def test_what_is_deferred_three_scans_later_is_reported(tmp_path: Path) -> None:
    world = World(tmp_path / "root", settle_s=0.05)
    world.write("a")
    busy = world.write("busy")

    def keep_writing(path: bytes) -> None:
        if path == b"busy":
            raise FileChangedError("changed")

    world.source.before_read = keep_writing
    report = scan_until_settled(world.scout, threading.Event(), no_progress)
    assert counts(report) == {"new": 1, "deferred": 1}
    assert report.deferred_paths == {os.fsencode(busy): "it changed while it was read"}
    assert world.source.read.count(b"busy") == 4 * 3


# --- clocks ----------------------------------------------------------------------------------


def test_more_future_timestamps_than_are_remembered_take_turns(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scout_memory, "REMEMBERED_FUTURES", 3)
    for n in range(7):
        path = world.write(f"{n}.csv", b"%d" % n, settle=False)
        os.utime(path, (4e9, 4e9))
    found = [world.scan(after_s=3) for _ in range(6)]
    assert [counts.get("new", 0) for counts in found] == [0, 3, 0, 3, 0, 1]


def test_a_file_with_an_mtime_in_the_future_is_hashed_again_when_its_ctime_is_recent() -> None:
    at_ns = 1_700_000_000_000_000_000
    identity = StatIdentity(1, 4 * at_ns, at_ns, 1, 1)
    known = FileLocation(1, 1, b"a", identity, "0", 1, 1, (at_ns + 10_000_000) // 1000)
    later = at_ns + 5_000_000_000
    assert ScanRules().judge(identity, known, later, at_ns) is ScanCase.HASH
    settled = known._replace(hashed_at_us=later // 1000)
    assert ScanRules().judge(identity, settled, later, at_ns) is ScanCase.UNCHANGED


def test_a_hash_from_a_clock_that_was_ahead_is_taken_again(world: World) -> None:
    world.clock.advance(2 * DAY_US / 1e6)
    world.write("a.csv")
    assert world.scan() == {"new": 1}
    world.clock.advance(-2 * DAY_US / 1e6)
    assert world.scan() == {"unchanged": 1}
    assert world.source.read == [b"a.csv", b"a.csv"]


def test_waiting_for_what_is_deferred_ends_though_the_clock_is_set_back(tmp_path: Path) -> None:
    world = World(tmp_path / "root", settle_s=0.3)
    world.write("a.csv", settle=False)
    stop = threading.Event()
    was_asked = 0

    def clock() -> int:
        nonlocal was_asked
        was_asked += 1
        return time.time_ns() // 1000 - (3_600_000_000 if was_asked > 6 else 0)

    world.scout._parts = replace(world.scout._parts, clock=clock)
    report = scan_until_settled(world.scout, stop, lambda: lambda so_far: None)
    assert (report.new, report.deferred) == (1, 0)
