"""Input files on a mounted file system. Paths are bytes, and no symbolic link below the root
is followed: every name is resolved one directory at a time, from a descriptor of the one above.

A name that is not a regular file (a link, a FIFO, a socket, a device, or anything reached
through a link) is treated as not being there at all.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

from casparian.adapters.files import listing
from casparian.adapters.files.listing import NO_FILES, list_directory, read_files
from casparian.domain.files import StatIdentity, path_text
from casparian.domain.ports import FileChangedError, FileEntry, FileListing, FileRun, WalkError

BLOCK = 1 << 20
# The largest file that is read with others at a time.
SMALL = 128 << 10

# With O_PATH a directory need not be readable to be passed through.
_THROUGH = os.O_DIRECTORY | os.O_NOFOLLOW | getattr(os, "O_PATH", os.O_RDONLY)
_LIST = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_RDONLY
# A FIFO that took the file's place must not block the open.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_NOT_A_FILE = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ENODEV})


class LocalFileSource:
    """The FileSource of local and network mounts.

    `stat` of the empty path is the identity of the root directory itself; `stat` of any other
    directory raises IsADirectoryError.
    """

    def walk(self, root: bytes, below: bytes = b"") -> Iterator[FileEntry | WalkError]:
        """Every regular file below `root`/`below`, by its path below `root`.

        At most one descriptor is open at a time, however deep the tree.
        """
        for part in self.runs(root, below):
            if isinstance(part, WalkError):
                yield part
            else:
                yield from part.files

    def runs(self, root: bytes, below: bytes = b"") -> Iterator[FileRun | WalkError]:
        begin, last = range_below(below)
        # What is left to do of each directory on the way, in reverse order, and its paths' prefix.
        todo: list[tuple[bytes, list[FileListing | bytes]]] = [(b"", [below])]
        while todo:
            prefix, parts = todo[-1]
            if not parts:
                todo.pop()
                continue
            part = parts.pop()
            if not isinstance(part, bytes):
                if not len(part):
                    continue
                # Behind files comes a directory, if anything.
                end = (
                    range_below(prefix + cast(bytes, parts[-1]))[0]
                    if parts
                    else (range_below(prefix[:-1])[1])
                )
                yield FileRun(begin, end, part)
                if end is None:
                    return
                begin = end
                continue
            path = prefix + part
            listed = _list(root, path)
            if not isinstance(listed, WalkError):
                todo.append((path + b"/" if path else b"", listed[::-1]))
                continue
            first, behind = range_below(path)
            yield FileRun(begin, first, NO_FILES)
            yield listed
            if behind is None:
                return
            begin = behind
        yield FileRun(begin, last, NO_FILES)

    def stat(self, root: bytes, path: bytes) -> StatIdentity:
        if not path:
            return listing.identity_of(os.stat(root))
        with _parent_of(root, path) as (directory, name):
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path_text(path))
        if not stat.S_ISREG(found.st_mode):
            raise _no_file(path)
        return listing.identity_of(found)

    def read_hash(self, root: bytes, path: bytes) -> tuple[str, StatIdentity]:
        return _read(root, path, _nowhere)

    def read_hashes(
        self, root: bytes, paths: Sequence[bytes]
    ) -> list[tuple[str, StatIdentity] | None]:
        found: list[tuple[str, StatIdentity] | None] = []
        for above, names in _by_directory(paths):
            try:
                fd = _open_directory(root, above, _THROUGH)
            except OSError:
                found += [None] * len(names)
                continue
            try:
                contents = read_files(fd, names, SMALL)
            finally:
                os.close(fd)
            found += [
                None if c is None else (hashlib.sha256(c[0]).hexdigest(), c[1]) for c in contents
            ]
        return found

    def snapshot(self, root: bytes, path: bytes, to: str) -> tuple[str, StatIdentity]:
        target = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            return _read(root, path, lambda data: _write_all(target, data))
        except BaseException:
            os.unlink(to)
            raise
        finally:
            os.close(target)


def _by_directory(paths: Sequence[bytes]) -> Iterator[tuple[bytes, list[bytes]]]:
    """Paths that follow one another in a directory: the directory, and their names in it."""
    above, names = b"", list[bytes]()
    for path in paths:
        directory, _, name = path.rpartition(b"/")
        if directory != above and names:
            yield above, names
            names = []
        above = directory
        names.append(name)
    if names:
        yield above, names


def range_below(directory: bytes) -> tuple[bytes, bytes | None]:
    """The first path that may be below a directory, and the first that is behind all of them."""
    if not directory:
        return b"", None
    return directory + b"/", directory + bytes([ord("/") + 1])


def _list(root: bytes, path: bytes) -> list[FileListing | bytes] | WalkError:
    """What is in a directory, in parts; nothing where it went away. A root that did is an error."""
    try:
        fd = _open_directory(root, path, _LIST)
    except FileNotFoundError as error:
        return [] if path else WalkError(b"", _reason(error))
    except OSError as error:
        return WalkError(path, _reason(error))
    try:
        return list_directory(fd, path + b"/" if path else b"")
    except OSError as error:
        return WalkError(path, _reason(error))
    finally:
        os.close(fd)


def _read(
    root: bytes, path: bytes, keep: Callable[[bytes | memoryview], None]
) -> tuple[str, StatIdentity]:
    """Hash one file, handing its bytes to `keep`, and hold it to what `fstat` said before."""
    with _parent_of(root, path) as (directory, name):
        try:
            fd = os.open(name, _READ, dir_fd=directory)
        except OSError as error:
            raise (_no_file(path) if error.errno in _NOT_A_FILE else error) from error
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise _no_file(path)
        digest, length = _digest(fd, before.st_size, keep)
        identity = listing.identity_of(os.fstat(fd))
    finally:
        os.close(fd)
    if length != before.st_size or identity != listing.identity_of(before):
        raise FileChangedError(
            f"The file {path_text(path)!r} changed while it was read; "
            "it is read again when it has settled."
        )
    return digest, identity


def _digest(fd: int, size: int, keep: Callable[[bytes | memoryview], None]) -> tuple[str, int]:
    """SHA-256 and length of what is in `fd`, one byte past `size` at most.

    hashlib lets go of the GIL for all but the smallest blocks.
    """
    if size < BLOCK:
        data = os.read(fd, size + 1)
        keep(data)
        # A read that stopped short of the size leaves the rest to the loop below.
        digest, length = hashlib.sha256(data), len(data)
        if length >= size:
            return digest.hexdigest(), length
    else:
        digest, length = hashlib.sha256(), 0
    block = memoryview(bytearray(BLOCK))
    while length <= size:
        count = os.readv(fd, [block[: size + 1 - length]])
        if not count:
            break
        digest.update(block[:count])
        keep(block[:count])
        length += count
    return digest.hexdigest(), length


@contextmanager
def _parent_of(root: bytes, path: bytes) -> Iterator[tuple[int, bytes]]:
    """A descriptor of the directory that holds `path`, and the last name."""
    above, _, name = path.rpartition(b"/")
    fd = _open_directory(root, above, _THROUGH)
    try:
        yield fd, name
    finally:
        os.close(fd)


def open_file(root: bytes, path: bytes) -> int:
    """A descriptor of a regular file, for the caller to close; FileNotFoundError for any other."""
    with _parent_of(root, path) as (directory, name):
        try:
            fd = os.open(name, _READ, dir_fd=directory)
        except OSError as error:
            raise (_no_file(path) if error.errno in _NOT_A_FILE else error) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _no_file(path)
    return fd


def identity_of(fd: int) -> StatIdentity:
    return listing.identity_of(os.fstat(fd))


def open_directory(root: bytes, path: bytes) -> int:
    """A descriptor of a directory below `root`, for the caller to close."""
    return _open_directory(root, path, _LIST)


def _open_directory(root: bytes, path: bytes, flags: int) -> int:
    """Open a directory, following links in `root` and in nothing below it.

    What turns out to be a link, or no directory, is FileNotFoundError: it is not met.
    """
    names = path.split(b"/") if path else []
    fd = os.open(root, (_THROUGH if names else flags) & ~os.O_NOFOLLOW)
    for i, name in enumerate(names, 1):
        try:
            inner = os.open(name, flags if i == len(names) else _THROUGH, dir_fd=fd)
        except NotADirectoryError as error:
            raise _no_file(path) from error
        finally:
            os.close(fd)
        fd = inner
    return fd


def _no_file(path: bytes) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "There is no regular file", path_text(path))


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _write_all(fd: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _nowhere(data: bytes | memoryview) -> None:
    """Keep nothing."""
