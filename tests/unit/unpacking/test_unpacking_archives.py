"""Archives and compressed files: what they are called, what comes out, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from casparian.adapters.files import LocalFileSource
from casparian.adapters.files.unpacking import Unpacker
from casparian.domain.ports import FileChangedError
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
from tests.support.clocks import next_tick
from tests.unit.unpacking.archives import TARS, A, B, Place, make, make_tar, make_zip, sha, zstd


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
