"""Archives made for tests, and a place to put one."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from casparian.adapters.files.unpacking import Unpacker
from casparian.domain.unpacking import Refused, UnpackLimits

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
