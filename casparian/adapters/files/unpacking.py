"""What is in archives and compressed files. Nothing is trusted: neither sizes that an archive
states, nor names, nor that it is one. Bytes are counted as they come out.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple, Protocol, cast

from casparian.adapters.files.archive import VersionArchive
from casparian.adapters.files.local import BLOCK, identity_of, open_file
from casparian.domain.files import StatIdentity, path_bytes
from casparian.domain.ports import FileChangedError
from casparian.domain.unpacking import (
    Refused,
    UnpackLimits,
    is_zip,
    member_name,
    tar_compression,
)

_BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError,
    NotImplementedError, RuntimeError, ValueError, UnicodeError,
)  # fmt: skip
_HELD_IN_MEMORY = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip


class Readable(Protocol):
    """A stream as it is read here."""

    def read(self, size: int = ..., /) -> bytes: ...


Member = tuple[bytes, Readable]


class HashedMember(NamedTuple):
    """One member: its path within the archive, the SHA-256 of its bytes, and how many."""

    name: bytes
    content_hash: str
    size: int


class Expanded(NamedTuple):
    """An archive, hashed as a file, with its members."""

    content_hash: str
    identity: StatIdentity
    members: list[HashedMember]


class Unpacker:
    """Reads archives below source roots, within the limits of each.

    Raises Refused for an archive that is broken, encrypted, or beyond a limit, and for one with
    names that lead elsewhere or stand twice; FileChangedError for one that changes meanwhile.
    With `keep`, the bytes of every member that is hashed go into that archive of versions.
    """

    def __init__(self, keep: VersionArchive | None = None) -> None:
        self._keep = keep

    def expand(
        self, root: bytes, path: bytes, limits: UnpackLimits, wanted: Callable[[bytes], bool]
    ) -> Expanded:
        """Hash an archive, and each member whose path within it is `wanted`."""
        with _open(root, path) as (file, before):
            content_hash, _ = self._hash(file)
            members: list[HashedMember] = []
            for name, content in _members(file, path, before.size, limits):
                if wanted(name):
                    members.append(HashedMember(name, *self._hash(content)))
            return Expanded(content_hash, before, members)

    def _hash(self, content: Readable) -> tuple[str, int]:
        if self._keep is None:
            return _pour(content, None)
        with self._keep.unfinished() as copy:
            with open(copy, "xb") as to:
                content_hash, size = _pour(content, to)
            self._keep.adopt(copy, content_hash, size)
        return content_hash, size

    def extract(
        self, root: bytes, path: bytes, member: bytes, limits: UnpackLimits, to: str
    ) -> str:
        """Write one member to the new file `to`; the SHA-256 of what was written.

        Raises FileNotFoundError for a member that is not there.
        """
        with _open(root, path) as (file, before):
            for name, content in _members(file, path, before.size, limits):
                if name == member:
                    return _pour_into(content, to)
        raise FileNotFoundError(f"there is no member {member!r} in the archive")

    def decompress(
        self, root: bytes, path: bytes, kind: str, limits: UnpackLimits, to: str
    ) -> tuple[str, StatIdentity]:
        """Write what a compressed file holds to the new file `to`; the SHA-256 and the identity
        of the compressed file itself."""
        with _open(root, path) as (file, before):
            content_hash = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            _pour_into(_Counted(_decompressed(file, kind), before.size, limits), to)
            return content_hash, before


@contextmanager
def _open(root: bytes, path: bytes) -> Iterator[tuple[io.BufferedReader, StatIdentity]]:
    with os.fdopen(open_file(root, path), "rb") as file:
        before = identity_of(file.fileno())
        try:
            yield file, before
        except Refused:
            raise
        except _BROKEN as error:
            _unchanged(file, before)
            raise Refused(f"it cannot be unpacked: {error or type(error).__name__}") from error
        _unchanged(file, before)


def _unchanged(file: IO[bytes], before: StatIdentity) -> None:
    if identity_of(file.fileno()) != before:
        raise FileChangedError("The archive changed while it was read.")


def _members(file: IO[bytes], path: bytes, size: int, limits: UnpackLimits) -> Iterator[Member]:
    """Regular members, each to be read before the next is asked for."""
    file.seek(0)
    seen: set[bytes] = set()
    found = _in_zip(file, size, limits) if is_zip(path) else _in_tar(file, path, size, limits)
    for name, content in found:
        if name in seen:
            raise Refused(f"it has two members {name!r}, of which nobody knows which one is meant")
        seen.add(name)
        if len(seen) > limits.members:
            raise Refused(
                f"it has more than {limits.members:,} members ([scout] unpack_members): if they "
                "are wanted, raise the limit"
            )
        yield name, content


def _in_zip(file: IO[bytes], size: int, limits: UnpackLimits) -> Iterator[Member]:
    came_out = 0
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir() or kind not in (0, stat.S_IFREG):
                continue
            name = member_name(path_bytes(info.filename))
            with archive.open(info) as content:
                counted = _Counted(content, size, limits, came_out)
                yield name, counted
                came_out = counted.came_out


def _in_tar(file: IO[bytes], path: bytes, size: int, limits: UnpackLimits) -> Iterator[Member]:
    kind = tar_compression(path)
    # A tar archive as it is holds no more than its size: sparse members are the exception.
    stream = _Counted(_decompressed(file, kind), size, limits) if kind else file
    came_out = 0
    with tarfile.open(
        fileobj=cast(IO[bytes], stream), mode="r|", encoding="utf-8", tarinfo=_Entry
    ) as archive:
        for info in archive:
            if not info.isfile():
                continue
            name = member_name(path_bytes(info.name))
            content = archive.extractfile(info)
            assert content is not None
            counted = _Counted(content, size, limits, came_out)
            yield name, counted
            came_out = counted.came_out


class _Entry(tarfile.TarInfo):
    """An entry whose long name, or table of attributes, fits into memory."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _HELD_IN_MEMORY and self.size > BLOCK:
            raise Refused(f"it has a header of {self.size:,} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]


def _decompressed(file: IO[bytes], kind: str) -> IO[bytes]:
    if kind == "gzip":
        return cast(IO[bytes], gzip.GzipFile(fileobj=file, mode="rb"))
    if kind == "bz2":
        return bz2.BZ2File(file)
    if kind == "xz":
        return lzma.LZMAFile(file)
    import pyarrow as pa

    # Arrow closes what it has read from.
    own = os.fdopen(os.dup(file.fileno()), "rb")
    return cast(IO[bytes], pa.CompressedInputStream(pa.PythonFile(own, "r"), kind))


class _Counted(io.RawIOBase):
    """A stream that ends with Refused when more comes out than may."""

    def __init__(
        self, stream: Readable, size: int, limits: UnpackLimits, came_out: int = 0
    ) -> None:
        self._stream, self._size, self._limits, self.came_out = stream, size, limits, came_out

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            data = self._stream.read(BLOCK if size < 0 else min(size, BLOCK))
        except OSError as error:
            if error.errno is None:
                # The libraries' own: a checksum, a stream that is none.
                raise ValueError(str(error)) from error
            raise
        self.came_out += len(data)
        self._limits.check(self.came_out, self._size)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _pour(content: Readable, to: IO[bytes] | None) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while block := content.read(BLOCK):
        digest.update(block)
        size += len(block)
        if to is not None:
            to.write(block)
    return digest.hexdigest(), size


def _pour_into(content: Readable, to: str) -> str:
    target = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(target, "wb") as file:
        return _pour(content, file)[0]
