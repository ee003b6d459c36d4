"""What a source root takes for input: rules as values, and a scout that follows them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from casparian import Settings
from casparian.adapters.files import LocalFileSource
from casparian.adapters.queue import open_memory
from casparian.app.root_rules import root_rules
from casparian.app.scout import Scout
from casparian.app.scout_drain import scan_until_settled
from casparian.domain.errors import ConfigurationError
from casparian.domain.files import ScanReport, ScanRules, StatIdentity
from casparian.domain.ports import Applied
from casparian.domain.roots import DoneMarker, RootRules
from tests.support.clocks import Clock, next_tick


def rules(**changes: object) -> RootRules:
    return RootRules(ScanRules(settle_ns=0), **changes)  # type: ignore[arg-type]


# --- values --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (b"a.csv", None),
        (b"in/a.csv", None),
        (b"in/a.txt", "none of the globs of include"),
        (b"old/a.csv", "exclude = 'old/**'"),
        (b"in/.a.csv", "ignore = '.*'"),
        (b"a.csv.part", "ignored ending"),
        (b"in/a.csv.ok", "a marker"),
        (b"\xff.csv", None),
    ],
)
def test_left_out(path: bytes, reason: str | None) -> None:
    chosen = rules(
        include=("**/*.csv",), exclude=("old/**",), ignore=(".*",), done=DoneMarker("{name}.ok")
    )
    said = chosen.left_out(path)
    assert (said is None) == (reason is None)
    assert reason is None or reason in str(said)


@pytest.mark.parametrize(
    ("template", "path", "marker", "about"),
    [
        ("{name}.done", b"d/a.csv", b"d/a.csv.done", b"d/a.csv"),
        (".{name}.ok", b"a.csv", b".a.csv.ok", b"a.csv"),
        ("{stem}.ok", b"d/a.csv.gz", b"d/a.csv.ok", b"d"),
        ("{stem}.ok", b"d/plain", b"d/plain.ok", b"d"),
        ("_SUCCESS", b"d/e/a.csv", b"d/e/_SUCCESS", b"d/e"),
        ("{name}.done", b"\xff\n", b"\xff\n.done", b"\xff\n"),
    ],
)
def test_markers(template: str, path: bytes, marker: bytes, about: bytes) -> None:
    done = DoneMarker(template)
    assert (done.of(path), done.about(marker)) == (marker, about)
    assert (done.is_marker(marker), done.is_marker(path)) == (True, False)


def stat_of(mtime: int, ctime: int) -> StatIdentity:
    return StatIdentity(1, mtime, ctime, 1, 1)


@pytest.mark.parametrize(
    ("marker", "file", "vouches"),
    [
        ((20, 20), (10, 10), True),
        ((10, 10), (10, 10), True),
        ((10, 10), (20, 20), False),
        ((5, 20), (10, 10), True),  # both brought here with old times, the marker last
        ((10, 10), (5, 20), True),  # the file was renamed, or its mode changed, since
        ((99, 10), (20, 20), False),  # a marker from the future, a file written after it
    ],
)
def test_a_marker_is_about_what_was_written_before_it(
    marker: tuple[int, int], file: tuple[int, int], vouches: bool
) -> None:
    assert DoneMarker.vouches(stat_of(*marker), stat_of(*file)) is vouches


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ({"include": ["[a"]}, "without its ']'"),
        ({"exclude": ["/abs"]}, "must not be empty or start with '/'"),
        ({"ignore": ["a/b"]}, "the name alone"),
        ({"done_marker": "d/{name}"}, "name of a file in the directory"),
        ({"done_marker": "{name}"}, "once, and something else"),
        ({"done_marker": "{name}{stem}"}, "once, and something else"),
        ({"done_marker": "{nmae}.ok"}, "only {name} and {stem}"),
    ],
)
def test_rules_that_cannot_be_used(tmp_path: Path, key: dict[str, object], said: str) -> None:
    settings = Settings.of({"source_root": [{"path": "in"}, {"path": "x", **key}]}, tmp_path)
    with pytest.raises(ConfigurationError) as error:
        root_rules(settings)
    assert said in str(error.value)
    assert "source_root" in str(error.value)


def test_each_root_has_its_own_and_the_scouts_for_the_rest(tmp_path: Path) -> None:
    document = {
        "scout": {"settle_s": 3.0},
        "source_root": [{"path": "a"}, {"path": "b", "settle_s": 60, "include": ["*.csv"]}],
    }
    found = root_rules(Settings.of(document, tmp_path))
    a, b = (os.fsencode(tmp_path / name) for name in "ab")
    assert (found[a].scan.settle_ns, found[b].scan.settle_ns) == (3 * 10**9, 60 * 10**9)
    assert (found[a].include, found[b].include) == ((), ("*.csv",))


def test_one_root_with_two_minds_is_refused(tmp_path: Path) -> None:
    same = {"path": "in", "settle_s": 1.0}
    assert len(root_rules(Settings.of({"source_root": [same, same]}, tmp_path))) == 1
    other = {"path": "./in", "settle_s": 2.0}
    with pytest.raises(ConfigurationError, match="a source root already, with other settings"):
        root_rules(Settings.of({"source_root": [same, other]}, tmp_path))


# --- the scout -------------------------------------------------------------------------------


class World:
    """Two roots over real files; the first has rules, the second has none."""

    def __init__(self, path: Path, chosen: RootRules) -> None:
        self.path, self.clock = path, Clock()
        stores = open_memory(self.clock)
        paths = [path / "ruled", path / "plain"]
        for one in paths:
            one.mkdir()
        applied = Applied(tuple(os.fsencode(p) for p in paths), (), (), ())
        stores.store.apply(applied)
        self.catalog = stores.catalog
        self.ruled, self.plain = self.catalog.roots()
        self.scout = Scout(
            self.catalog,
            LocalFileSource(),
            ScanRules(settle_ns=0),
            self.clock,
            stores.store.routing,
            {self.ruled.path: chosen},
        )

    def write(self, name: str, content: bytes = b"content") -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        next_tick()
        return path

    def scan(self) -> ScanReport:
        return self.scout.scan(self.ruled)

    def known(self) -> dict[bytes, int]:
        return {one.path: one.versions for one in self.catalog.locations(self.ruled.id)}


def test_what_is_left_out_is_not_recorded_and_not_counted(tmp_path: Path) -> None:
    world = World(tmp_path, rules(include=("**/*.csv",), exclude=("old/**",), ignore=("~*",)))
    for name in ("a.csv", "b.txt", "old/c.csv", "d/~e.csv"):
        world.write(f"ruled/{name}")
        world.write(f"plain/{name}")
    assert world.scan().counts()["new"] == 1
    assert world.known() == {b"a.csv": 1}
    assert world.scout.scan(world.plain).new == 4


def test_what_is_left_out_later_stays_as_it_is(tmp_path: Path) -> None:
    world = World(tmp_path, rules())
    path = world.write("ruled/a.csv")
    world.scan()
    world.scout._parts.roots[world.ruled.path] = rules(exclude=("*.csv",))  # type: ignore[index]
    path.write_bytes(b"more")
    for _ in range(3):
        assert not any(world.scan().counts().values())
    (location,) = world.catalog.locations(world.ruled.id)
    assert (location.versions, location.deleted) == (1, False)


def test_settle_time_is_the_roots_own(tmp_path: Path) -> None:
    world = World(tmp_path, RootRules(ScanRules(settle_ns=60 * 10**9)))
    for name in ("ruled/a", "plain/a"):
        world.write(name)
    assert (world.scan().deferred, world.scout.scan(world.plain).new) == (1, 1)
    world.clock.advance(61)
    assert world.scan().new == 1


def test_a_file_counts_once_its_marker_stands(tmp_path: Path) -> None:
    world = World(tmp_path, rules(done=DoneMarker("{name}.done")))
    path = world.write("ruled/d/a.csv")
    report = world.scan()
    assert (report.waiting, report.new, report.deferred) == (1, 0, 0)
    assert "waits for its marker 'd/a.csv.done'" in report.waiting_paths[b"d/a.csv"]
    marker = world.write("ruled/d/a.csv.done", b"")
    # A hint about the marker leads to the file.
    assert world.scout.look(world.ruled, [b"d/a.csv.done"]).new == 1
    assert world.known() == {b"d/a.csv": 1}

    path.write_bytes(b"half of the next")
    next_tick()
    report = world.scan()
    assert (report.waiting, report.changed) == (1, 0)
    assert "waits for a newer one" in report.waiting_paths[b"d/a.csv"]
    assert world.known() == {b"d/a.csv": 1}
    os.utime(marker)
    assert world.scan().changed == 1


def test_a_vanished_marker_changes_nothing_for_a_file_that_was_taken(tmp_path: Path) -> None:
    world = World(tmp_path, rules(done=DoneMarker("{stem}.ok")))
    world.write("ruled/a.csv")
    marker = world.write("ruled/a.ok")
    assert world.scan().new == 1
    marker.unlink()
    world.clock.advance(10)
    # The first scan reads it once more, since it was young when it was hashed.
    for _ in range(2):
        assert {k: n for k, n in world.scan().counts().items() if n} == {"unchanged": 1}
    assert world.known() == {b"a.csv": 1}


def test_a_marker_of_the_whole_directory(tmp_path: Path) -> None:
    world = World(tmp_path, rules(done=DoneMarker("_SUCCESS")))
    for name in ("d/a", "d/b", "e/c"):
        world.write(f"ruled/{name}")
    world.write("ruled/d/_SUCCESS", b"")
    assert world.scout.look(world.ruled, [b"d/_SUCCESS"]).new == 2
    assert world.scan().counts()["waiting"] == 1
    assert world.known() == {b"d/a": 1, b"d/b": 1}


def test_a_directory_or_a_link_is_no_marker(tmp_path: Path) -> None:
    world = World(tmp_path, rules(done=DoneMarker("{name}.done")))
    world.write("ruled/a")
    world.write("ruled/b")
    (tmp_path / "ruled" / "a.done").mkdir()
    (tmp_path / "ruled" / "b.done").symlink_to(tmp_path / "ruled" / "b")
    assert world.scan().waiting == 2


def test_a_drain_does_not_wait_for_markers(tmp_path: Path) -> None:
    world = World(tmp_path, rules(done=DoneMarker("{name}.done")))
    world.write("ruled/a")
    report = scan_until_settled(world.scout, threading.Event(), lambda: lambda report: None)
    assert (report.waiting, report.deferred) == (1, 0)
    assert list(report.waiting_paths) == [world.ruled.path + b"/a"]
