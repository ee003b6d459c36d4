"""Files that the engine takes away: when it may, and that no byte is lost on the way.

Over real files and both catalogs; a crash is a step that raises what nobody catches.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casparian import Settings
from casparian.adapters.files import LocalFileSource, leaving
from casparian.adapters.files.leaving import LocalLeaving
from casparian.adapters.queue import QueueStores, open_memory, open_sqlite
from casparian.app.leaving import Leaver
from casparian.app.root_rules import departures_of, root_rules
from casparian.app.scout import Scout
from casparian.domain.departures import Action, After, Departure, Outcome
from casparian.domain.errors import ConfigurationError
from casparian.domain.files import FileLocation, ScanRules
from casparian.domain.ports import Applied
from casparian.domain.roots import RootRules
from casparian.domain.routing import RoutingRule
from casparian.domain.unpacking import UnpackLimits
from casparian.testing.world import World as JobWorld
from casparian.testing.world import code, plugin
from tests.support.clocks import Clock, next_tick


class Crash(BaseException):
    """The process is gone."""


class World:
    """A root with one plugin for its CSV files, a scout, and what takes files away."""

    def __init__(
        self, path: Path, stores: QueueStores, clock: Clock, after: After, unpacks: bool = False
    ) -> None:
        self.path, self.stores, self.clock, self.after = path / "in", stores, clock, after
        self.path.mkdir()
        root = os.fsencode(self.path)
        rules = (RoutingRule("**/*.csv", "csv"),)
        applied = Applied((root,), rules, (plugin(tags={"csv"}),), (code(),))
        stores.store.apply(applied)
        (self.root,) = stores.catalog.roots()
        source = LocalFileSource()
        rules_of = ScanRules(settle_ns=0)
        limits = UnpackLimits() if unpacks else None
        self.scout = Scout(
            stores.catalog, source, rules_of, clock, stores.store.routing,
            {root: RootRules(rules_of, unpack=limits)},
        )  # fmt: skip
        self.files = LocalLeaving(source)
        unpacking = [root] if unpacks else []
        catalog = stores.catalog
        self.leaver = Leaver(lambda _: catalog, self.files, {root: after}, clock, unpacking)

    def write(self, name: str, content: bytes = b"content") -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        next_tick()
        return path

    def scan(self) -> None:
        self.scout.scan(self.root)

    def complete_all(self) -> None:
        jobs = JobWorld(self.stores, self.clock)  # type: ignore[arg-type]
        for claim in jobs.claim(limit=100):
            jobs.publish(claim)

    def leave(self) -> None:
        while self.leaver.work([self.root], lambda: False):
            pass

    def known(self, name: str) -> FileLocation:
        found = self.stores.catalog.find(self.root.id, os.fsencode(name))
        assert found is not None
        return found

    def departures(self, name: str) -> list[Departure]:
        return list(self.stores.catalog.departures_of(self.known(name).id))  # type: ignore[attr-defined]

    def outcome(self, name: str) -> tuple[Outcome | None, str | None]:
        (departure,) = self.departures(name)
        return departure.outcome, departure.message

    def names(self) -> list[str]:
        return sorted(str(p.relative_to(self.path)) for p in self.path.rglob("*") if p.is_file())


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., World]]:
    clock = Clock()
    path = str(tmp_path / "queue.sqlite3")
    stores = open_memory(clock) if request.param == "memory" else open_sqlite(path, clock)
    yield lambda after, unpacks=False: World(tmp_path, stores, clock, after, unpacks)
    stores.close()


@pytest.fixture
def deleting(make: Callable[..., World]) -> World:
    return make(After(Action.DELETE))


@pytest.fixture
def archiving(make: Callable[..., World], tmp_path: Path) -> World:
    return make(After(Action.ARCHIVE, os.fsencode(tmp_path / "archive")))


@pytest.fixture(params=[Action.DELETE, Action.ARCHIVE])
def world(request: pytest.FixtureRequest, make: Callable[..., World], tmp_path: Path) -> World:
    directory = tmp_path / "archive" if request.param is Action.ARCHIVE else ""
    return make(After(request.param, os.fsencode(directory)))


# --- when ------------------------------------------------------------------------------------


def test_deleted_when_every_job_is_completed_and_not_before(deleting: World) -> None:
    deleting.write("d/a.csv")
    deleting.scan()
    deleting.leave()
    assert deleting.names() == ["d/a.csv"]
    deleting.complete_all()
    deleting.leave()
    assert deleting.names() == []
    assert deleting.outcome("d/a.csv") == (Outcome.GONE, None)
    assert deleting.known("d/a.csv").deleted
    # It is known as taken away: no scan reports it as deleted.
    assert [deleting.scout.scan(deleting.root).deleted for _ in range(3)] == [0, 0, 0]


def test_a_file_without_jobs_is_kept(deleting: World) -> None:
    deleting.write("readme.txt")
    deleting.scan()
    deleting.leave()
    assert deleting.names() == ["readme.txt"]
    assert deleting.departures("readme.txt") == []


def test_a_forgotten_file_is_kept(deleting: World) -> None:
    deleting.write("a.csv")
    deleting.scan()
    deleting.complete_all()
    deleting.stores.catalog.forget(deleting.known("a.csv").id, "me")
    deleting.leave()
    assert deleting.names() == ["a.csv"]


def test_a_changed_file_is_kept_until_its_own_jobs_are_done(deleting: World) -> None:
    path = deleting.write("a.csv")
    deleting.scan()
    deleting.complete_all()
    path.write_bytes(b"new and not yet seen")
    deleting.leave()
    assert path.read_bytes() == b"new and not yet seen"
    assert deleting.outcome("a.csv") == (Outcome.KEPT, "it has changed since the last scan")
    deleting.scan()
    deleting.leave()
    assert deleting.names() == ["a.csv"]
    deleting.complete_all()
    deleting.leave()
    assert deleting.names() == []


def test_a_touched_file_leaves_once_a_scan_has_met_it(deleting: World) -> None:
    path = deleting.write("a.csv")
    deleting.scan()
    deleting.complete_all()
    os.utime(path)
    deleting.scan()
    deleting.leave()
    assert deleting.names() == []


def test_a_file_that_comes_again_is_a_new_version(archiving: World, tmp_path: Path) -> None:
    for content in (b"same", b"same", b"other"):
        archiving.write("d/a.csv", content)
        archiving.scan()
        archiving.complete_all()
        archiving.leave()
    assert archiving.known("d/a.csv").versions == 3
    found = {p.name: p.read_bytes() for p in (tmp_path / "archive" / "d").iterdir()}
    assert found == {"a.csv": b"same", "a.v2.csv": b"same", "a.v3.csv": b"other"}
    assert [d.outcome for d in archiving.departures("d/a.csv")] == [Outcome.GONE] * 3


# --- what is never lost --------------------------------------------------------------------


def during(monkeypatch: pytest.MonkeyPatch, step: str, act: Callable[[], None]) -> None:
    """Act right before one step of the way out."""
    true_step = getattr(leaving, step)

    def acting(*arguments: object, **more: object) -> object:
        monkeypatch.setattr(leaving, step, true_step)
        act()
        return true_step(*arguments, **more)

    monkeypatch.setattr(leaving, step, acting)


def test_a_writer_that_has_it_open_keeps_it(world: World) -> None:
    path = world.write("a.csv")
    world.scan()
    world.complete_all()
    with path.open("ab"):
        world.leave()
    assert world.names() == ["a.csv"]
    assert world.outcome("a.csv") == (Outcome.KEPT, "somebody has it open for writing")
    world.clock.advance(601)
    world.scan()
    world.leave()
    assert world.names() == []


def test_bytes_written_right_before_its_name_is_taken_come_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = world.write("a.csv")
    world.scan()
    world.complete_all()
    during(monkeypatch, "_rename_new", lambda: path.write_bytes(b"the last word") and None)
    world.leave()
    assert world.names() == ["a.csv"]
    assert path.read_bytes() == b"the last word"
    assert world.outcome("a.csv") == (Outcome.KEPT, "its content has changed")


def test_a_file_of_the_same_stat_and_other_content_is_kept(
    deleting: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = deleting.write("a.csv", b"AAAA")
    before = path.stat()
    deleting.scan()
    deleting.complete_all()

    def overwrite() -> None:
        path.write_bytes(b"BBBB")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    during(monkeypatch, "_rename_new", overwrite)
    deleting.leave()
    assert path.read_bytes() == b"BBBB"


def test_a_new_file_under_the_name_is_not_touched(
    deleting: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = deleting.write("a.csv")
    deleting.scan()
    deleting.complete_all()
    during(monkeypatch, "_check", lambda: path.write_bytes(b"the next delivery") and None)
    deleting.leave()
    assert deleting.names() == ["a.csv"]
    assert path.read_bytes() == b"the next delivery"
    deleting.scan()
    assert deleting.known("a.csv").versions == 2


def test_nothing_is_written_over_in_the_archive(archiving: World, tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "a.csv").write_bytes(b"somebody else's")
    archiving.write("a.csv")
    archiving.scan()
    archiving.complete_all()
    archiving.leave()
    assert archiving.names() == ["a.csv"]
    assert (tmp_path / "archive" / "a.csv").read_bytes() == b"somebody else's"
    outcome, message = archiving.outcome("a.csv")
    assert (outcome, message) == (Outcome.KEPT, "the archive has a file 'a.csv' there already")


def test_across_file_systems_a_copy_is_archived(make: Callable[..., World]) -> None:

    if not os.path.isdir("/dev/shm"):
        pytest.skip("no second file system")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        world = make(After(Action.ARCHIVE, os.fsencode(directory)))
        path = world.write("d/a.csv", b"x" * 3_000_000)
        path.chmod(0o640)
        modified = path.stat().st_mtime_ns
        world.scan()
        world.complete_all()
        world.leave()
        assert world.names() == []
        copy = Path(directory, "d", "a.csv")
        assert copy.read_bytes() == b"x" * 3_000_000
        assert copy.stat().st_mtime_ns == modified
        # Others could not read it, and they still cannot.
        assert stat.S_IMODE(copy.stat().st_mode) == 0o640
        assert os.listdir(copy.parent) == ["a.csv"]


def test_odd_names(archiving: World, tmp_path: Path) -> None:
    name = os.fsdecode(b"odd \xff\n.csv")
    archiving.write(name)
    archiving.scan()
    archiving.complete_all()
    archiving.leave()
    assert os.listdir(os.fsencode(tmp_path / "archive")) == [b"odd \xff\n.csv"]


# --- crashes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["_rename_new", "_check", "os.fsync", "end_departure"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_at_any_step(world: World, step: str, moment: str, tmp_path: Path) -> None:
    """Then every byte is somewhere, and the next start ends what was begun."""
    world.write("a.csv", b"precious")
    world.scan()
    world.complete_all()
    with pytest.MonkeyPatch.context() as patch:
        owner, _, name = step.rpartition(".")
        target: object = os if owner else leaving
        if step == "end_departure":
            target = world.stores.catalog
        true_step = getattr(target, name)

        def crash(*arguments: object, **more: object) -> None:
            if moment == "after":
                true_step(*arguments, **more)
            raise Crash

        patch.setattr(target, name, crash)
        with pytest.raises(Crash):
            world.leave()
    world.leave()
    world.scan()
    assert world.names() == []
    assert world.outcome("a.csv") == (Outcome.GONE, None)
    assert world.known("a.csv").deleted
    assert world.known("a.csv").versions == 1
    archive = tmp_path / "archive"
    kept = [p.read_bytes() for p in archive.iterdir()] if archive.exists() else []
    assert kept == ([b"precious"] if world.after.action is Action.ARCHIVE else [])


def test_after_a_crash_a_new_file_under_the_name_is_safe(deleting: World) -> None:
    path = deleting.write("a.csv", b"old")
    deleting.scan()
    deleting.complete_all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deleting.stores.catalog, "end_departure", _crash)
        with pytest.raises(Crash):
            deleting.leave()
    path.write_bytes(b"the next delivery")
    deleting.leave()
    assert path.read_bytes() == b"the next delivery"
    next_tick()
    deleting.scan()
    assert deleting.known("a.csv").content_hash == hashlib.sha256(path.read_bytes()).hexdigest()


def _crash(*arguments: object, **more: object) -> None:
    raise Crash


# --- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ("remove", 'write "keep", "delete", or "archive:DIR"'),
        ("archive:", 'write "keep", "delete", or "archive:DIR"'),
        ("archive:in/old", "lies in the source root 'in'"),
        ("archive:.", None),
        ("keep", None),
    ],
)
def test_what_can_be_asked_for(tmp_path: Path, after: str, said: str | None) -> None:
    settings = Settings.of({"source_root": [{"path": "in", "after": after}]}, tmp_path)
    if said is None:
        assert set(departures_of(settings)) == (
            set() if after == "keep" else {os.fsencode(tmp_path / "in")}
        )
        return
    with pytest.raises(ConfigurationError) as error:
        root_rules(settings)
    assert said in str(error.value)


# --- archives ---------------------------------------------------------------------------------


def zipped(**members: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.csv", content)
    return made.getvalue()


@pytest.fixture(params=[Action.DELETE, Action.ARCHIVE])
def unpacking(request: pytest.FixtureRequest, make: Callable[..., World], tmp_path: Path) -> World:
    place = b"" if request.param is Action.DELETE else os.fsencode(tmp_path / "archive")
    return make(After(request.param, place), unpacks=True)


def test_an_archive_leaves_with_its_last_member(unpacking: World) -> None:
    path = unpacking.write("d/drop.zip", zipped(a="1", b="2"))
    unpacking.scan()
    jobs = JobWorld(unpacking.stores, unpacking.clock)  # type: ignore[arg-type]
    first, second = jobs.claim(limit=2)
    jobs.publish(first)
    unpacking.leave()
    assert path.exists()
    jobs.publish(second)
    unpacking.leave()
    assert unpacking.names() == []
    for member in ("d/drop.zip", "d/drop.zip!/a.csv", "d/drop.zip!/b.csv"):
        assert unpacking.known(member).deleted
        assert unpacking.outcome(member) == (Outcome.GONE, None)
    # It is dropped again: everything in it is new.
    unpacking.write("d/drop.zip", zipped(a="1", b="3"))
    unpacking.scan()
    assert [unpacking.known(f"d/drop.zip!/{n}.csv").versions for n in "ab"] == [2, 2]


def test_an_archive_that_is_another_by_now_stays(unpacking: World) -> None:
    unpacking.write("drop.zip", zipped(a="1"))
    unpacking.scan()
    unpacking.complete_all()
    unpacking.write("drop.zip", zipped(a="1", b="2"))
    unpacking.leave()
    assert unpacking.names() == ["drop.zip"]
    assert not unpacking.known("drop.zip!/a.csv").deleted
    unpacking.scan()
    unpacking.complete_all()
    unpacking.leave()
    assert unpacking.names() == []


def test_a_crash_on_the_way_ends_the_members_too(
    unpacking: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacking.write("drop.zip", zipped(a="1"))
    unpacking.scan()
    unpacking.complete_all()

    def crash(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(unpacking.stores.catalog, "end_departure", crash)
        with pytest.raises(Crash):
            unpacking.leave()
    unpacking.scan()
    unpacking.leave()
    assert unpacking.names() == []
    assert unpacking.outcome("drop.zip!/a.csv") == (Outcome.GONE, None)
    unpacking.scan()
    unpacking.scan()
    assert unpacking.known("drop.zip!/a.csv").versions == 1
