"""The archive of versions: each content once, as it was hashed; read by jobs whose file is gone."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from casparian import Settings
from casparian.adapters.files import LocalFileSource, archive
from casparian.adapters.files.archive import ArchivingSource, VersionArchive
from casparian.adapters.queue import open_memory
from casparian.app.root_rules import version_archive
from casparian.app.scout import Scout
from casparian.app.unpacked import Unpacked
from casparian.app.verify import ContentCheck, Verify
from casparian.domain.errors import ConfigurationError, ErrorClass, JobError
from casparian.domain.files import ScanRules
from casparian.domain.jobs import Claim
from casparian.domain.ports import Applied, FileChangedError
from casparian.domain.roots import RootRules
from casparian.domain.unpacking import UnpackLimits
from tests.support.clocks import Clock, next_tick
from tests.support.router import claim


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class World:
    """A root that is scanned into an archive, and jobs that may read from it."""

    def __init__(self, path: Path) -> None:
        self.inbox, self.kept = path / "in", path / "kept"
        self.inbox.mkdir()
        self.root = os.fsencode(self.inbox)
        self.archive = VersionArchive(str(self.kept))
        self.snapshots = path / "snapshots"
        clock = Clock()
        stores = open_memory(clock)
        stores.store.apply(Applied((self.root,), (), (), ()))
        self.stores, self.clock = stores, clock
        rules = {self.root: RootRules(ScanRules(settle_ns=0), unpack=UnpackLimits())}
        self.scout = Scout(
            stores.catalog, LocalFileSource(), ScanRules(settle_ns=0), clock,
            stores.store.routing, rules, self.archive,
        )  # fmt: skip

    def write(self, name: str, content: bytes) -> Path:
        path = self.inbox / name
        path.write_bytes(content)
        next_tick()
        return path

    def scan(self) -> None:
        self.clock.advance(10)
        (root,) = self.stores.catalog.roots()
        self.scout.scan(root)

    def contents(self) -> list[bytes]:
        return sorted(p.read_bytes() for p in self.kept.rglob("*") if p.is_file())

    def claim(self, path: bytes, content: bytes) -> Claim:
        return claim(7)._replace(
            root_path=self.root, path=path, content_hash=sha(content), input_path=""
        )

    def check(self, mode: Verify = "stat") -> ContentCheck:
        unpacked = Unpacked({self.root: UnpackLimits()})
        return ContentCheck(LocalFileSource(), mode, str(self.snapshots), unpacked, self.archive)

    def read(self, path: bytes, content: bytes, mode: Verify = "stat") -> bytes:
        """What a job of that version gets to read."""
        check = self.check(mode)
        prepared = check.prepare(self.claim(path, content))
        got = Path(prepared.input_path).read_bytes()
        check.confirm(prepared)
        check.release(prepared)
        assert os.listdir(self.snapshots) == []
        return got


@pytest.fixture(params=["clone", "copy"])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    if request.param == "copy":
        monkeypatch.setattr(archive, "_clone", lambda root, path, to: None)
    return World(tmp_path)


# --- what is kept --------------------------------------------------------------------------


def test_each_content_once_and_by_its_hash(world: World) -> None:
    world.write("a", b"one")
    world.write("b", b"one")
    world.write("c", b"")
    world.scan()
    assert world.contents() == [b"", b"one"]
    assert Path(world.archive.path_of(sha(b"one"))).read_bytes() == b"one"
    world.write("a", b"two")
    world.scan()
    assert world.contents() == [b"", b"one", b"two"]


def test_what_is_kept_does_not_change_with_the_file(world: World) -> None:
    path = world.write("a", b"the first content")
    world.scan()
    kept = Path(world.archive.path_of(sha(b"the first content")))
    assert kept.stat().st_nlink == 1
    assert kept.stat().st_ino != path.stat().st_ino
    with path.open("r+b") as file:
        file.write(b"THE")
    assert kept.read_bytes() == b"the first content"


def test_a_big_file(world: World) -> None:
    content = os.urandom(1 << 16) * 80
    world.write("big", content)
    world.scan()
    assert world.contents() == [content]


def test_a_file_that_changes_meanwhile_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"content")
    kept = VersionArchive(str(tmp_path / "kept"))

    class Changing(LocalFileSource):
        def snapshot(self, root: bytes, name: bytes, to: str):  # type: ignore[no-untyped-def]
            raise FileChangedError("it changed")

    monkeypatch.setattr(archive, "_clone", lambda root, path, to: None)
    with pytest.raises(FileChangedError):
        ArchivingSource(Changing(), kept).read_hash(os.fsencode(tmp_path), b"a")
    assert [p for p in (tmp_path / "kept").rglob("*") if p.is_file()] == []


def test_members_are_kept_too(world: World) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as zipped:
        zipped.writestr("a.csv", b"of a member")
    world.write("drop.zip", made.getvalue())
    world.scan()
    assert world.contents() == sorted([b"of a member", made.getvalue()])


def test_copies_that_were_left_unfinished_go(tmp_path: Path) -> None:
    kept = VersionArchive(str(tmp_path))
    with kept.unfinished() as name:
        directory = Path(name).parent
    old, young = directory / "old", directory / "young"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    kept.sweep()
    assert os.listdir(directory) == ["young"]
    VersionArchive(str(tmp_path / "none")).sweep()


# --- for jobs --------------------------------------------------------------------------------


def gone(path: Path) -> None:
    path.unlink()


def changed(path: Path) -> None:
    path.write_bytes(b"something else")


@pytest.mark.parametrize("lose", [gone, changed])
@pytest.mark.parametrize("mode", ["stat", "hash", "snapshot"])
def test_a_job_reads_its_version(world: World, lose: Callable[[Path], None], mode: Verify) -> None:
    path = world.write("orders.csv", b"of the version")
    world.scan()
    lose(path)
    assert world.read(b"orders.csv", b"of the version", mode) == b"of the version"


def test_a_compressed_file_and_a_member(world: World) -> None:
    compressed, made = gzip.compress(b"what is in it"), io.BytesIO()
    with zipfile.ZipFile(made, "w") as zipped:
        zipped.writestr("a.csv", b"of a member")
    paths = [world.write("c.csv.gz", compressed), world.write("drop.zip", made.getvalue())]
    world.scan()
    for lose in (changed, gone):
        for path in paths:
            lose(path)
        assert world.read(b"c.csv.gz", compressed) == b"what is in it"
        assert world.read(b"drop.zip!/a.csv", b"of a member") == b"of a member"


def test_what_is_not_kept_or_rotten_is_gone(world: World) -> None:
    path = world.write("a.csv", b"content")
    world.scan()
    path.unlink()
    kept = Path(world.archive.path_of(sha(b"content")))
    kept.chmod(0o600)
    kept.write_bytes(b"rotten!")
    for content in (b"content", b"never seen"):
        with pytest.raises(JobError) as error:
            world.read(b"a.csv", content)
        assert error.value.error_class is ErrorClass.SOURCE_GONE
    assert os.listdir(world.snapshots) == []


def test_a_directory_in_a_source_root_is_refused(tmp_path: Path) -> None:
    roots = [{"path": "in"}]
    assert version_archive(Settings.of({"source_root": roots}, tmp_path)) is None
    for directory in ("in", "in/kept"):
        document = {"source_root": roots, "archive": {"directory": directory}}
        with pytest.raises(ConfigurationError, match="lies in the source root 'in'"):
            version_archive(Settings.of(document, tmp_path))
