"""The listing of a directory and the reading of its small files: compiled (_walk.pyx) where
possible, the same in Python where not.

`list_directory(fd, prefix)` gives what is in an open directory in the byte order of whole paths:
a FileListing, the name of a directory, a FileListing, and so on; the first and the last part are
listings, and any may be empty. Paths are `prefix` and a name. A regular file has been examined
without following links; links, FIFOs, sockets and devices are left out. OSError if the directory
cannot be read.

`read_files(fd, names, limit)` reads files of at most `limit` bytes in an open directory. For each
it gives the content and the identity that the file had before and after the read; None for what is
no regular file, is larger, changed, or cannot be read: whoever wants to know why has to look.

CASPARIAN_PURE=1 in the environment asks for the Python twin. It is not in the fast path, whose
import brings Arrow: commands list files, too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from hashlib import blake2b
from importlib import import_module
from struct import Struct

from casparian.domain.files import StatIdentity
from casparian.domain.ports import FileEntry, FileListing

__all__ = [
    "NO_FILES",
    "identity_of",
    "list_directory",
    "list_in_python",
    "read_files",
    "read_in_python",
]

_EXAMINED = Struct("<qqqQQ?")


class Run:
    """The Python twin's FileListing: names, and what was found there or why nothing was."""

    def __init__(self, prefix: bytes, found: list[tuple[bytes, bytes | str]]) -> None:
        self._prefix, self._found = prefix, found

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[FileEntry]:
        for name, found in self._found:
            if isinstance(found, str):
                yield FileEntry(self._prefix + name, None, found)
            else:
                *identity, linked = _EXAMINED.unpack(found)
                yield FileEntry(self._prefix + name, StatIdentity(*identity), None, linked)

    def digest(self) -> Hashable | None:
        sum_of_all = blake2b(digest_size=16)
        for name, found in self._found:
            if isinstance(found, str):
                return None
            sum_of_all.update(name + b"\0" + found)
        return sum_of_all.digest()


NO_FILES = Run(b"", [])


def list_in_python(fd: int, prefix: bytes) -> list[FileListing | bytes]:
    found: dict[bytes, bytes | str | None] = {}
    with os.scandir(fd) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)
            if entry.is_dir(follow_symlinks=False):
                found[name + b"/"] = None
            elif entry.is_file(follow_symlinks=False):
                _examine(fd, name, found)
    parts: list[FileListing | bytes] = []
    run: list[tuple[bytes, bytes | str]] = []
    for name, what in sorted(found.items(), key=lambda item: item[0]):
        if what is not None:
            run.append((name, what))
        else:
            parts += [Run(prefix, run), name[:-1]]
            run = []
    return [*parts, Run(prefix, run)]


def _examine(fd: int, name: bytes, found: dict[bytes, bytes | str | None]) -> None:
    try:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return
    except OSError as error:
        found[name] = error.strerror or str(error)
        return
    if stat.S_ISREG(status.st_mode):
        found[name] = _EXAMINED.pack(*identity_of(status), status.st_nlink > 1)
    elif stat.S_ISDIR(status.st_mode):
        # It was another kind of thing when it was listed.
        found[name + b"/"] = None


def identity_of(status: os.stat_result) -> StatIdentity:
    return StatIdentity(
        status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev
    )


def read_in_python(fd: int, names: list[bytes], limit: int) -> list[Content | None]:
    return [_read(fd, name, limit) for name in names]


def _read(directory: int, name: bytes, limit: int) -> Content | None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            return None
        # One byte more than there should be tells that there is more.
        content = os.read(fd, status.st_size + 1)
        identity = identity_of(status)
        whole = len(content) == status.st_size and identity_of(os.fstat(fd)) == identity
        return (content, identity) if whole else None
    except OSError:
        return None
    finally:
        os.close(fd)


Content = tuple[bytes, StatIdentity]
ListDirectory = Callable[[int, bytes], list[FileListing | bytes]]
ReadFiles = Callable[[int, list[bytes], int], list[Content | None]]


def _twin() -> tuple[ListDirectory, ReadFiles]:
    if os.environ.get("CASPARIAN_PURE", "") in {"", "0"}:
        # `casparian check` says that nothing was compiled: slower, but no less right.
        with suppress(ImportError):
            twin = import_module("casparian.adapters.files._walk")
            return twin.list_directory, twin.read_files
    return list_in_python, read_in_python


list_directory, read_files = _twin()
