"""The bytes of every version, kept once by their SHA-256.

A file is cloned (a reflink, which shares blocks until one of the two is written to), else copied;
it is never a hard link, which would change with an overwrite in place. What is kept is what was
hashed: a scan reads a file through its copy.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from casparian.adapters.files.local import identity_of, open_file
from casparian.domain.files import StatIdentity, path_text
from casparian.domain.ports import FileChangedError, FileEntry, FileRun, FileSource, WalkError

_FICLONE = 0x40049409
_NO_CLONE = {
    errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM,
    errno.EISDIR, errno.ETXTBSY,
}  # fmt: skip
_UNFINISHED = "unfinished"
_STALE_S = 24 * 3600.0


class VersionArchive:
    """A directory of contents: `ab/cdef…` is that of the hash `abcdef…`."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def path_of(self, content_hash: str) -> str:
        return os.path.join(self.directory, content_hash[:2], content_hash[2:])

    def keep(self, source: FileSource, root: bytes, path: bytes) -> tuple[str, StatIdentity]:
        """Copy and hash one file, as `FileSource.read_hash` would."""
        with self.unfinished() as copy:
            found = _clone(root, path, copy)
            content_hash, identity = found or source.snapshot(root, path, copy)
            self.adopt(copy, content_hash, identity.size)
        return content_hash, identity

    @contextmanager
    def unfinished(self) -> Iterator[str]:
        """A name for a copy in the making; what is left under it is removed."""
        directory = os.path.join(self.directory, _UNFINISHED)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        copy = os.path.join(directory, secrets.token_hex(16))
        try:
            yield copy
        finally:
            with suppress(FileNotFoundError):
                os.unlink(copy)

    def adopt(self, copy: str, content_hash: str, size: int) -> None:
        """Keep a copy under the hash of its bytes, unless they are kept already."""
        place = self.path_of(content_hash)
        with suppress(FileNotFoundError):
            if os.stat(place).st_size == size:
                return
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        os.chmod(copy, 0o400)
        _sync(copy)
        os.rename(copy, place)
        _sync(os.path.dirname(place))

    def has(self, content_hash: str) -> bool:
        return os.path.exists(self.path_of(content_hash))

    def restore(self, content_hash: str, to: str) -> bool:
        """Copy kept bytes to the new file `to`; False where they are not kept, or no longer are
        what their name says."""
        try:
            with open(self.path_of(content_hash), "rb") as kept, open(to, "xb") as copy:
                digest = hashlib.sha256()
                while block := kept.read(1 << 20):
                    digest.update(block)
                    copy.write(block)
        except FileNotFoundError:
            return False
        if digest.hexdigest() == content_hash:
            return True
        os.unlink(to)
        return False

    def sweep(self) -> None:
        """Remove copies that an engine left unfinished long ago."""
        directory = os.path.join(self.directory, _UNFINISHED)
        with suppress(FileNotFoundError), os.scandir(directory) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.stat().st_mtime < time.time() - _STALE_S:
                        os.unlink(entry.path)


class ArchivingSource:
    """A FileSource whose reads leave a copy in the archive."""

    def __init__(self, source: FileSource, archive: VersionArchive) -> None:
        self._source, self._archive = source, archive

    def walk(self, root: bytes, below: bytes = b"") -> Iterator[FileEntry | WalkError]:
        return self._source.walk(root, below)

    def runs(self, root: bytes, below: bytes = b"") -> Iterator[FileRun | WalkError]:
        return self._source.runs(root, below)

    def stat(self, root: bytes, path: bytes) -> StatIdentity:
        return self._source.stat(root, path)

    def read_hash(self, root: bytes, path: bytes) -> tuple[str, StatIdentity]:
        return self._archive.keep(self._source, root, path)

    def read_hashes(
        self, root: bytes, paths: Sequence[bytes]
    ) -> Sequence[tuple[str, StatIdentity] | None]:
        # Each is kept by itself.
        return [None] * len(paths)

    def snapshot(self, root: bytes, path: bytes, to: str) -> tuple[str, StatIdentity]:
        return self._source.snapshot(root, path, to)


def _clone(root: bytes, path: bytes, to: str) -> tuple[str, StatIdentity] | None:
    """None where the file system cannot."""
    with os.fdopen(open_file(root, path), "rb") as file:
        before = identity_of(file.fileno())
        with open(to, "x+b") as copy:
            try:
                fcntl.ioctl(copy, _FICLONE, file.fileno())
            except OSError as error:
                os.unlink(to)
                if error.errno in _NO_CLONE:
                    return None
                raise
            content_hash = hashlib.file_digest(copy, "sha256").hexdigest()
            size = os.fstat(copy.fileno()).st_size
        if identity_of(file.fileno()) != before or size != before.size:
            raise FileChangedError(
                f"The file {path_text(path)!r} changed while it was read; it is read again when it "
                "has settled."
            )
        return content_hash, before


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
