"""Archives in scans: their members are files of their own, which come and go with them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from casparian.adapters.files import LocalFileSource
from casparian.adapters.files.unpacking import Unpacker
from casparian.adapters.queue import QueueStores, open_memory, open_sqlite
from casparian.app.scout import Scout
from casparian.domain.files import ScanReport, ScanRules
from casparian.domain.ports import Applied
from casparian.domain.roots import RootRules
from casparian.domain.routing import RoutingRule
from casparian.domain.unpacking import UnpackLimits
from tests.support.clocks import Clock, next_tick
from tests.unit.unpacking.archives import A, B, make_zip, sha


class World:
    """A root that unpacks, and a scout."""

    def __init__(self, path: Path, stores: QueueStores, clock: Clock) -> None:
        self.path, self.stores, self.clock = path / "in", stores, clock
        self.path.mkdir()
        rules = (RoutingRule("**/*.csv", "csv"),)
        self.stores.store.apply(Applied((os.fsencode(self.path),), rules, (), ()))
        self.catalog = stores.catalog
        (self.root,) = self.catalog.roots()
        self.chosen = RootRules(ScanRules(settle_ns=0), unpack=UnpackLimits())
        self.restart()

    def restart(self) -> None:
        rules = {self.root.path: self.chosen}
        self.scout = Scout(
            self.catalog, LocalFileSource(), ScanRules(settle_ns=0), self.clock,
            self.stores.store.routing, rules,
        )  # fmt: skip

    def write(self, name: str, content: bytes) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        next_tick()
        return path

    def scan(self) -> dict[str, int]:
        self.clock.advance(10)
        self.report: ScanReport = self.scout.scan(self.root)
        return {name: n for name, n in self.report.counts().items() if n}

    def known(self) -> dict[bytes, tuple[int, bool]]:
        return {k.path: (k.versions, k.deleted) for k in self.catalog.locations(self.root.id)}


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    clock = Clock()
    path = str(tmp_path / "queue.sqlite3")
    stores = open_memory(clock) if request.param == "memory" else open_sqlite(path, clock)
    yield World(tmp_path, stores, clock)
    stores.close()


def settled(world: World) -> dict[str, int]:
    """A second scan reads young files once more; the third says how it stands."""
    world.scan()
    return world.scan()


def test_members_are_files_of_their_own(world: World) -> None:
    world.write("d/drop.zip", make_zip({"a.csv": A, "x/b.csv": B}))
    assert world.scan() == {"new": 3}
    assert world.known() == dict.fromkeys(
        [b"d/drop.zip", b"d/drop.zip!/a.csv", b"d/drop.zip!/x/b.csv"], (1, False)
    )
    assert settled(world) == {"unchanged": 1}
    files = {f["path"]: f for f in world.stores.reports.files()}
    assert files["d/drop.zip!/a.csv"]["tags"] == ["csv"]
    assert files["d/drop.zip!/a.csv"]["content_hash"] == sha(A)
    assert files["d/drop.zip!/a.csv"]["size"] == len(A)
    assert files["d/drop.zip"]["tags"] == []


def test_only_changed_members_are_new_versions_and_removed_ones_end(world: World) -> None:
    world.write("drop.zip", make_zip({"a.csv": A, "b.csv": A, "c.csv": A}))
    settled(world)
    world.write("drop.zip", make_zip({"a.csv": A, "b.csv": B, "d.csv": A}))
    assert world.scan() == {"new": 1, "changed": 2, "unchanged": 1, "deleted": 1}
    assert world.known() == {
        b"drop.zip": (2, False), b"drop.zip!/a.csv": (1, False), b"drop.zip!/b.csv": (2, False),
        b"drop.zip!/c.csv": (1, True), b"drop.zip!/d.csv": (1, False),
    }  # fmt: skip


def test_an_unchanged_archive_is_not_read_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write("drop.zip", make_zip({"a.csv": A}))
    world.write("empty.zip", make_zip({}))
    settled(world)

    def fail(*arguments: object) -> None:
        raise AssertionError("it was opened")

    monkeypatch.setattr(Unpacker, "expand", fail)
    assert world.scan() == {"unchanged": 2}


def test_members_go_with_their_archive_and_come_back_with_it(world: World) -> None:
    path = world.write("drop.zip", make_zip({"a.csv": A}))
    world.write("drop.zip x", b"a file that sorts between an archive and its members")
    settled(world)
    path.unlink()
    assert world.scan() == {"unchanged": 1}
    assert world.scan() == {"unchanged": 1, "deleted": 2}
    world.write("drop.zip", make_zip({"a.csv": A}))
    assert world.scan() == {"new": 2, "unchanged": 1}


def test_a_forgotten_member_is_a_new_version(world: World) -> None:
    world.write("drop.zip", make_zip({"a.csv": A, "b.csv": B}))
    settled(world)
    member = world.catalog.find(world.root.id, b"drop.zip!/a.csv")
    assert member is not None
    world.catalog.forget(member.id, "me")
    world.scan()
    assert world.known()[b"drop.zip!/a.csv"] == (2, False)
    assert world.known()[b"drop.zip!/b.csv"] == (1, False)


def test_archives_that_were_known_before_are_opened(world: World) -> None:
    world.chosen = RootRules(ScanRules(settle_ns=0))
    world.restart()
    world.write("drop.zip", make_zip({"a.csv": A}))
    settled(world)
    world.chosen = RootRules(ScanRules(settle_ns=0), unpack=UnpackLimits())
    world.restart()
    assert world.scan() == {"new": 1, "unchanged": 1}
    assert settled(world) == {"unchanged": 1}


def test_rules_of_the_root_are_asked_for_members(world: World) -> None:
    world.chosen = RootRules(
        ScanRules(settle_ns=0), include=("**/*.csv",), exclude=("**/old/*",), ignore=("~*",),
        unpack=UnpackLimits(),
    )  # fmt: skip
    world.restart()
    members = {"a.csv": A, "b.txt": A, "old/c.csv": A, "~d.csv": A, "e.csv.part": A}
    world.write("drop.zip", make_zip(members))
    world.scan()
    assert set(world.known()) == {b"drop.zip", b"drop.zip!/a.csv"}


def test_a_refused_archive_is_told_in_every_scan_and_read_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write("evil.zip", make_zip({"../a.csv": A}))
    read: list[bytes] = []
    true_expand = Unpacker.expand

    def counting(self: Unpacker, root: bytes, path: bytes, *more: object) -> object:
        read.append(path)
        return true_expand(self, root, path, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Unpacker, "expand", counting)
    for _ in range(3):
        assert world.scan() == {"unreadable": 1}
        assert "leads out of it" in world.report.errors[b"evil.zip"]
    assert read == [b"evil.zip"]
    assert world.known() == {}
    world.write("evil.zip", make_zip({"a.csv": A}))
    assert world.scan() == {"new": 2}


def test_members_of_an_archive_that_turned_bad_stay(world: World) -> None:
    world.write("drop.zip", make_zip({"a.csv": A}))
    settled(world)
    world.write("drop.zip", b"half a download")
    for _ in range(3):
        assert world.scan() == {"unreadable": 1}
    assert world.known()[b"drop.zip!/a.csv"] == (1, False)


def test_a_directory_that_is_called_like_an_archive(world: World) -> None:
    world.write("drop.zip!/a.csv", A)
    assert world.scan() == {"unreadable": 1}
    assert "rename the directory" in world.report.errors[b"drop.zip!/a.csv"]
