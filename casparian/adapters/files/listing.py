"""The listing of a directory: compiled (_walk.pyx) where possible, the same in Python where not.

`list_directory(fd, prefix)` gives what is in an open directory in the byte order of whole paths:
a FileListing, the name of a directory, a FileListing, and so on; the first and the last part are
listings, and any may be empty. Paths are `prefix` and a name. A regular file has been examined
without following links; links, FIFOs, sockets and devices are left out. OSError if the directory
cannot be read.

CASPARIAN_PURE=1 in the environment asks for the Python twin. It is not in the fast path, whose
import brings Arrow: commands list files, too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Hashable, Iterator
from hashlib import blake2b
from importlib import import_module
from struct import Struct
from typing import cast

from casparian.domain.files import StatIdentity
from casparian.domain.ports import FileEntry, FileListing

__all__ = ["NO_FILES", "list_directory", "list_in_python"]

_IDENTITY = Struct("<qqqQQ")


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
                yield FileEntry(self._prefix + name, StatIdentity(*_IDENTITY.unpack(found)))

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
        found[name] = _IDENTITY.pack(
            status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev
        )
    elif stat.S_ISDIR(status.st_mode):
        # It was another kind of thing when it was listed.
        found[name + b"/"] = None


ListDirectory = Callable[[int, bytes], list[FileListing | bytes]]


def _compiled() -> ListDirectory | None:
    if os.environ.get("CASPARIAN_PURE", "") not in {"", "0"}:
        return None
    try:
        twin = import_module("casparian.adapters.files._walk")
    except ImportError:
        # `casparian check` says that nothing was compiled: slower, but no less right.
        return None
    return cast(ListDirectory, twin.list_directory)


list_directory = _compiled() or list_in_python
