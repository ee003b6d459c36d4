"""What a scan reads and hashes, how often, and whose hash is taken again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from casparian.adapters.files import parallel
from casparian.app import scout_batches
from casparian.domain.files import (
    DAY_US,
    REHASH_AFTER_US,
    FileLocation,
    ScanCase,
    ScanRules,
    StatIdentity,
)
from tests.unit.scout.world import World


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
