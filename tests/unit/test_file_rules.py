"""Paths as text, reports, the rules of settling, and hashing in threads."""

from __future__ import annotations

import hashlib
import os
import threading
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian.adapters.files import Hashed, LocalFileSource, ParallelFileScanner
from casparian.domain.files import (
    DAY_US,
    SECOND_NS,
    FileLocation,
    ScanCase,
    ScanReport,
    ScanRules,
    StatIdentity,
    path_bytes,
    path_text,
)

NOW_NS = 1_700_000_000 * SECOND_NS
RULES = ScanRules()


def identity(mtime_ns: int, ctime_ns: int) -> StatIdentity:
    return StatIdentity(1, mtime_ns, ctime_ns, 2, 3)


@given(st.binary())
def test_every_path_survives_as_text(path: bytes) -> None:
    assert path_bytes(path_text(path)) == path


@given(st.integers(0, 10 * SECOND_NS), st.integers(0, 10 * SECOND_NS))
def test_settled_when_both_timestamps_are_older_than_the_settle_time(
    mtime: int, ctime: int
) -> None:
    """Ages, in nanoseconds."""
    wait_ns = RULES.settled_in_ns(identity(NOW_NS - mtime, NOW_NS - ctime), NOW_NS)
    assert (wait_ns == 0) == (min(mtime, ctime) >= RULES.settle_ns)
    later = identity(NOW_NS - mtime, NOW_NS - ctime)
    assert RULES.settled_in_ns(later, NOW_NS + wait_ns) == 0


@given(st.integers(1, 10**6 * SECOND_NS), st.integers(0, 5 * SECOND_NS))
def test_a_future_timestamp_waits_for_the_settle_time_at_most(ahead: int, watched: int) -> None:
    found = identity(NOW_NS + ahead, NOW_NS)
    assert RULES.settled_in_ns(found, NOW_NS) == RULES.settle_ns
    wait_ns = RULES.settled_in_ns(found, NOW_NS, NOW_NS - watched)
    assert wait_ns == max(0, RULES.settle_ns - watched)


@pytest.mark.parametrize("field", StatIdentity._fields)
def test_a_file_is_read_again_when_any_part_of_its_identity_is_another(field: str) -> None:
    """An inode is reused at once, and a restored mtime leaves only its ctime to tell."""
    standing = identity(NOW_NS - DAY_US * 1000, NOW_NS - DAY_US * 1000)
    known = FileLocation(1, 1, b"a", standing, "hash", 1, 1, NOW_NS // 1000)
    assert RULES.judge(standing, known, NOW_NS) is ScanCase.UNCHANGED
    other = standing._replace(**{field: getattr(standing, field) - 1})
    assert RULES.judge(other, known, NOW_NS) is ScanCase.HASH


def test_a_large_file_is_never_held_whole(tmp_path: Path) -> None:
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 64 << 20)
    tracemalloc.start()
    try:
        LocalFileSource().read_hash(os.fsencode(tmp_path), b"large")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_ignored_suffixes_are_configurable() -> None:
    rules = ScanRules(ignored_suffixes=(".wip",))
    assert rules.ignores(b"d/x.wip")
    assert not rules.ignores(b"d.wip/x.tmp")
    assert not ScanRules(ignored_suffixes=()).ignores(b"x.tmp")


def test_reports_add_up() -> None:
    one, other = ScanReport(new=1, jobs=2), ScanReport(new=2, unchanged=5, complete=False)
    one.defer(b"a", "why", 500)
    other.defer(b"b", "why", 300)
    other.fail(b"c", "denied")
    other.wait(b"d", "no marker")
    one.add(other)
    assert one.counts() == {
        "new": 3, "changed": 0, "unchanged": 5, "deferred": 2, "deleted": 0, "unreadable": 1,
        "waiting": 1,
    }  # fmt: skip
    assert (one.next_look_us, one.jobs, one.complete) == (300, 2, False)
    assert one.look_again_us == {b"a": 500, b"b": 300}


# --- hashing in threads --------------------------------------------------------------------


def submit_all(scanner: ParallelFileScanner, paths: list[bytes], root: bytes) -> list[Hashed]:
    source, found = LocalFileSource(), []
    for path in paths:
        scanner.submit(path, source.stat(root, path))
        while scanner.full:
            found += scanner.collect()
    for results in scanner.finish():
        found += results
    return found


def test_each_submitted_file_comes_back_once(tmp_path: Path) -> None:
    contents = {b"%d" % n: os.urandom(n * 40_000) for n in range(12)}
    root = os.fsencode(tmp_path)
    for path, content in contents.items():
        (tmp_path / os.fsdecode(path)).write_bytes(content)
    with ParallelFileScanner(LocalFileSource(), root) as scanner:
        found = submit_all(scanner, list(contents), root)
    assert {h.path: h.content_hash for h in found} == {
        path: hashlib.sha256(content).hexdigest() for path, content in contents.items()
    }
    assert len(found) == len(contents)


def test_two_large_files_are_read_at_the_same_time_and_no_more_than_the_window(
    tmp_path: Path,
) -> None:
    both = threading.Barrier(2, timeout=20)
    most, now, lock = 0, 0, threading.Lock()

    class Meeting(LocalFileSource):
        def read_hash(self, root: bytes, path: bytes) -> tuple[str, StatIdentity]:
            nonlocal most, now
            with lock:
                now += 1
                most = max(most, now)
            both.wait()
            try:
                return super().read_hash(root, path)
            finally:
                with lock:
                    now -= 1

    root = os.fsencode(tmp_path)
    paths = [b"%d" % n for n in range(8)]
    for path in paths:
        (tmp_path / os.fsdecode(path)).write_bytes(bytes(200_000))
    with ParallelFileScanner(Meeting(), root, threads=2) as scanner:
        found = submit_all(scanner, paths, root)
    assert sorted(h.path for h in found) == paths
    assert most == 2


def test_an_error_of_one_file_is_its_result(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    (tmp_path / "here").write_bytes(b"x")
    met = LocalFileSource().stat(root, b"here")
    with ParallelFileScanner(LocalFileSource(), root) as scanner:
        scanner.submit(b"gone", met)
        scanner.submit(b"gone too", met._replace(size=10**6))
        scanner.submit(b"here", met)
        found = {h.path: h for results in scanner.finish() for h in results}
    assert isinstance(found[b"gone"].error, FileNotFoundError)
    assert isinstance(found[b"gone too"].error, FileNotFoundError)
    assert found[b"here"].identity == met
