"""Archives and compressed files: what they are called, what comes out, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from casparian.adapters.files import LocalFileSource
from casparian.adapters.files.unpacking import Unpacker
from casparian.adapters.queue import QueueStores, open_memory, open_sqlite
from casparian.app.scout import Scout
from casparian.app.unpacked import Unpacked
from casparian.app.verify import ContentCheck
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.files import ScanReport, ScanRules
from casparian.domain.ports import Applied, FileChangedError
from casparian.domain.roots import RootRules
from casparian.domain.routing import RoutingRule
from casparian.domain.unpacking import (
    FREE_BYTES,
    Refused,
    UnpackLimits,
    compression,
    is_archive,
    member_name,
    split_member,
    unpacked_name,
)
from tests.support.clocks import Clock, next_tick
from tests.support.router import claim

A, B = b"a,b\n1,2\n", b"a,b\n3,4\n"
TARS = {".tar": "w", ".tar.gz": "w:gz", ".TGZ": "w:gz", ".tar.bz2": "w:bz2", ".txz": "w:xz"}


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def make_zip(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return made.getvalue()


def make_tar(members: dict[str, bytes], mode: str = "w") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def zstd(content: bytes) -> bytes:
    return pa.Codec("zstd").compress(content, asbytes=True)  # type: ignore[no-any-return]


def make(ending: str, members: dict[str, bytes]) -> bytes:
    if ending == ".zip":
        return make_zip(members)
    return make_tar(members, TARS[ending])


# --- names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "archive", "kind", "name"),
    [
        (b"d/a.zip", True, None, b"a.zip"),
        (b"a.TAR.GZ", True, None, b"a.TAR.GZ"),
        (b"a.csv.gz", False, "gzip", b"a.csv"),
        (b"d/a.csv.ZST", False, "zstd", b"a.csv"),
        (b".gz", False, "gzip", b".gz"),
        (b"a.csv", False, None, b"a.csv"),
        (b"a.zip!/b.csv.gz", False, None, b"b.csv.gz"),
        (b"a.zip!/b.zip", False, None, b"b.zip"),
    ],
)
def test_names(path: bytes, archive: bool, kind: str | None, name: bytes) -> None:
    assert (is_archive(path), compression(path), unpacked_name(path)) == (archive, kind, name)


def test_paths_of_members() -> None:
    assert split_member(b"d/a.zip!/x/y.csv") == (b"d/a.zip", b"x/y.csv")
    assert split_member(b"odd!/y.csv") is None
    assert split_member(b"a.zip") is None


@pytest.mark.parametrize(
    ("name", "is_"), [(b"./a", b"a"), (b"d//a", b"d/a"), (b"d/./a", b"d/a"), (b"\xff", b"\xff")]
)
def test_names_of_members(name: bytes, is_: bytes) -> None:
    assert member_name(name) == is_


@pytest.mark.parametrize("name", [b"/a", b"../a", b"d/../../a", b"a\0b", b"", b".", b"x" * 256])
def test_names_that_are_refused(name: bytes) -> None:
    with pytest.raises(Refused, match="its member"):
        member_name(name)


# --- what comes out -------------------------------------------------------------------------


class Place:
    """A root with one file in it."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "in"
        self.root.mkdir()
        self.out = str(directory / "out")
        self.limits = UnpackLimits(members=100, bytes=1 << 30, ratio=200.0)

    def expand(self, name: str, content: bytes) -> dict[bytes, tuple[str, int]]:
        (self.root / name).write_bytes(content)
        root = os.fsencode(self.root)
        found = Unpacker().expand(root, os.fsencode(name), self.limits, lambda member: True)
        assert found.content_hash == sha(content)
        return {member.name: (member.content_hash, member.size) for member in found.members}

    def refusal(self, name: str, content: bytes) -> str:
        with pytest.raises(Refused) as error:
            self.expand(name, content)
        return str(error.value)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("ending", [".zip", *TARS])
def test_members_of_every_kind(place: Place, ending: str) -> None:
    found = place.expand("drop" + ending, make(ending, {"./a.csv": A, "d/b.csv": B, "e": b""}))
    assert found == {b"a.csv": (sha(A), 8), b"d/b.csv": (sha(B), 8), b"e": (sha(b""), 0)}
    for name, content in ((b"a.csv", A), (b"d/b.csv", B)):
        root, path = os.fsencode(place.root), os.fsencode("drop" + ending)
        to = place.out + name.decode().replace("/", "-")
        assert Unpacker().extract(root, path, name, place.limits, to) == sha(content)
        assert Path(to).read_bytes() == content


def test_a_tar_of_zstd(place: Place) -> None:
    assert place.expand("a.tar.zst", zstd(make_tar({"a": A}))) == {b"a": (sha(A), 8)}


@pytest.mark.parametrize(
    ("ending", "compress"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstd)],
)
def test_compressed_files(place: Place, ending: str, compress: Callable[[bytes], bytes]) -> None:
    content = os.urandom(3_000_000) + b"x" * 3_000_000
    compressed = compress(content)
    (place.root / f"a{ending}").write_bytes(compressed)
    root, path = os.fsencode(place.root), os.fsencode(f"a{ending}")
    kind = compression(path)
    assert kind is not None
    content_hash, identity = Unpacker().decompress(root, path, kind, place.limits, place.out)
    assert Path(place.out).read_bytes() == content
    assert content_hash == sha(compressed)
    assert identity == LocalFileSource().stat(root, path)


def test_links_and_directories_in_archives_are_no_files(place: Place) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        kinds = {"link": tarfile.SYMTYPE, "..": tarfile.DIRTYPE, "fifo": tarfile.FIFOTYPE}
        for name, kind in kinds.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    assert place.expand("a.tar", made.getvalue()) == {}
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as zipped:
        zipped.writestr(link, "/etc/passwd")
        zipped.writestr("d/", "")
    assert place.expand("a.zip", made.getvalue()) == {}


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz"])
@pytest.mark.parametrize("name", ["../a.csv", "/etc/a.csv", "d/../../a.csv"])
def test_names_that_lead_elsewhere(place: Place, ending: str, name: str) -> None:
    said = place.refusal("drop" + ending, make(ending, {"good.csv": A, name: B}))
    assert "its member" in said


@pytest.mark.parametrize("ending", [".zip", ".tar.gz", ".tar.xz", ".txz"])
def test_bombs_by_ratio(place: Place, ending: str) -> None:
    kind = ".txz" if ending == ".tar.xz" else ending
    content = make(kind, {"zeros": bytes(3 * FREE_BYTES)})
    assert len(content) < FREE_BYTES // 100
    assert "unpack_ratio" in place.refusal("drop" + ending, content)


def test_little_of_nothing_is_no_bomb(place: Place) -> None:
    found = place.expand("a.zip", make_zip({"zeros": bytes(1_000_000)}))
    assert found[b"zeros"][1] == 1_000_000


def test_bombs_by_size_and_by_members(place: Place) -> None:
    place.limits = UnpackLimits(members=3, bytes=1000)
    assert "unpack_mb" in place.refusal("a.zip", make_zip({"a": b"x" * 600, "b": b"y" * 600}))
    assert "unpack_mb" in place.refusal("a.tgz", make_tar({"a": b"x" * 5000}, "w:gz"))
    assert "unpack_members" in place.refusal("b.tar", make_tar(dict.fromkeys("abcd", b"")))
    assert len(place.expand("c.zip", make_zip(dict.fromkeys("abc", b"")))) == 3


def test_a_stated_size_is_not_believed(place: Place) -> None:
    """The header says that ten bytes come out of what holds many millions."""
    content = bytearray(make_zip({"zeros": bytes(3 * FREE_BYTES)}))
    place_of_size = content.index(b"PK\x01\x02") + 24
    struct.pack_into("<I", content, place_of_size, 10)
    struct.pack_into("<I", content, content.index(b"PK\x03\x04") + 22, 10)
    try:
        found = place.expand("a.zip", bytes(content))
    except Refused:
        return
    # What came out is what the header says, and no more.
    assert found[b"zeros"][1] <= 10


def test_a_compressed_bomb(place: Place) -> None:
    (place.root / "a.gz").write_bytes(gzip.compress(bytes(3 * FREE_BYTES)))
    with pytest.raises(Refused, match="unpack_ratio"):
        Unpacker().decompress(os.fsencode(place.root), b"a.gz", "gzip", place.limits, place.out)


def test_two_members_of_one_name(place: Place) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in ("a", "./a"):
            archive.addfile(tarfile.TarInfo(name))
    assert "two members" in place.refusal("a.tar", made.getvalue())


def test_headers_that_would_fill_memory(place: Place) -> None:
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    assert "a header of" in place.refusal("a.tar", entry.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))


@pytest.mark.parametrize("ending", [".zip", *TARS, ".tar.zst"])
def test_what_is_no_archive_or_only_half_of_one(place: Place, ending: str) -> None:
    assert "it cannot be unpacked" in place.refusal("x" + ending, b"this is no archive" * 100)
    members = {"a": os.urandom(200_000)}
    whole = zstd(make_tar(members)) if ending == ".tar.zst" else make(ending, members)
    assert "it cannot be unpacked" in place.refusal("y" + ending, whole[: len(whole) // 2])


def test_encrypted_members(place: Place) -> None:
    content = bytearray(make_zip({"a": A}))
    for at in (content.index(b"PK\x03\x04") + 6, content.index(b"PK\x01\x02") + 8):
        content[at] |= 1
    assert "encrypted" in place.refusal("a.zip", bytes(content))


def test_an_archive_that_changes_meanwhile(place: Place) -> None:
    path = place.root / "a.zip"
    path.write_bytes(make_zip({"a": A, "b": B}))

    def change(name: bytes) -> bool:
        next_tick()
        with path.open("ab") as file:
            file.write(b"more")
        return True

    with pytest.raises(FileChangedError):
        Unpacker().expand(os.fsencode(place.root), b"a.zip", place.limits, change)


# --- the scout -------------------------------------------------------------------------------


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


# --- jobs ------------------------------------------------------------------------------------


def checked(place: Place, path: bytes, content_hash: str) -> tuple[ContentCheck, bytes]:
    root = os.fsencode(place.root)
    check = ContentCheck(LocalFileSource(), "stat", place.out, Unpacked({root: place.limits}))
    job = claim(7)._replace(root_path=root, path=path, content_hash=content_hash)
    prepared = check.prepare(job)
    content = Path(prepared.input_path).read_bytes()
    assert Path(prepared.input_path).name == os.fsdecode(unpacked_name(path))
    check.confirm(prepared)
    check.release(prepared)
    assert os.listdir(place.out) == []
    return check, content


def test_a_job_gets_a_private_file(place: Place) -> None:
    (place.root / "drop.zip").write_bytes(make_zip({"x/a.csv": A}))
    assert checked(place, b"drop.zip!/x/a.csv", sha(A))[1] == A
    compressed = gzip.compress(B)
    (place.root / "b.csv.gz").write_bytes(compressed)
    assert checked(place, b"b.csv.gz", sha(compressed))[1] == B


@pytest.mark.parametrize(
    ("path", "content", "error"),
    [
        (b"drop.zip!/a.csv", make_zip({"a.csv": B}), ErrorClass.SOURCE_CHANGED),
        (b"drop.zip!/a.csv", make_zip({"b.csv": A}), ErrorClass.SOURCE_GONE),
        (b"drop.zip!/a.csv", None, ErrorClass.SOURCE_GONE),
        (b"drop.zip!/a.csv", b"no archive", ErrorClass.DATA),
        (b"a.csv.gz", gzip.compress(A, mtime=0), ErrorClass.SOURCE_CHANGED),
        (b"a.csv.gz", b"no gzip", ErrorClass.DATA),
    ],
)
def test_a_job_whose_bytes_are_not_there(
    place: Place, path: bytes, content: bytes | None, error: ErrorClass
) -> None:
    if content is not None:
        (place.root / os.fsdecode(path.partition(b"!")[0])).write_bytes(content)
    with pytest.raises(JobError) as caught:
        checked(place, path, sha(A))
    assert caught.value.error_class is error
    assert os.listdir(place.out) == []
