"""Files that are not settled: until when the scout defers them, and what waits for them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from casparian.app import scout_memory
from casparian.app.scout_drain import scan_until_settled
from casparian.domain.files import LISTED_AT_MOST, ScanReport
from casparian.domain.ports import FileChangedError
from tests.unit.scout.world import SETTLE_S, World, counts


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


def test_more_future_timestamps_than_are_remembered_take_turns(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scout_memory, "REMEMBERED_FUTURES", 3)
    for n in range(7):
        path = world.write(f"{n}.csv", b"%d" % n, settle=False)
        os.utime(path, (4e9, 4e9))
    found = [world.scan(after_s=3) for _ in range(6)]
    assert [counts.get("new", 0) for counts in found] == [0, 3, 0, 3, 0, 1]


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
