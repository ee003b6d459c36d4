"""Takes an input file away without ever losing a byte that nobody has seen.

The file first gets a private name in its own directory, in one step. What then has that name is
compared with what was read: if it is anything else, it gets its own name back. Before bytes are
removed, the kernel must grant a lease on the file, which it does only while nobody has it open
for writing; nobody can open it anew, since nobody knows its name.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from casparian.adapters.files.local import BLOCK, open_directory
from casparian.domain.departures import Action, CannotLeave, Departure
from casparian.domain.files import StatIdentity, path_text
from casparian.domain.ports import FileSource

_RENAME_NOREPLACE = 1
_UNFINISHED = b".casparian-arriving-%d"


class LocalLeaving:
    """Every step may be repeated after a crash."""

    def __init__(self, source: FileSource) -> None:
        self._source = source

    def set_aside(self, root: bytes, departure: Departure) -> bool:
        """Give the file its private name; False when it has left before.

        Raises CannotLeave when the file is not what the last scan saw, OSError otherwise.
        """
        if self._stat(root, departure.private) is not None:
            return True
        found = self._stat(root, departure.path)
        if found is None:
            return False
        if found != departure.identity:
            raise CannotLeave("it has changed since the last scan")
        with self._directory_of(root, departure.path) as directory:
            _rename_new(directory, _name(departure.path), directory, _name(departure.private))
        return True

    def send_off(self, root: bytes, departure: Departure) -> None:
        """Delete or archive what has the private name.

        Raises CannotLeave where it is not the content of the version, or cannot be removed
        safely; the file then has its own name again, or keeps the private one where that was
        taken meanwhile.
        """
        try:
            with self._directory_of(root, departure.private) as directory:
                if departure.action is Action.ARCHIVE:
                    _archive(directory, departure)
                else:
                    with _checked(directory, departure, must_be_alone=True):
                        os.unlink(_name(departure.private), dir_fd=directory)
                os.fsync(directory)
        except (CannotLeave, OSError) as error:
            self._put_back(root, departure, error)
            raise

    def is_archived(self, departure: Departure) -> bool:
        """Whether the version's bytes are at their place in the archive."""
        try:
            with open(departure.place, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == departure.content_hash
        except OSError:
            return False

    def _put_back(self, root: bytes, departure: Departure, reason: Exception) -> None:
        with self._directory_of(root, departure.path) as directory:
            try:
                _rename_new(directory, _name(departure.private), directory, _name(departure.path))
                os.fsync(directory)
            except FileNotFoundError:
                return
            except OSError as error:
                raise CannotLeave(
                    f"{reason}, and its name could not be given back to it ({error.strerror}): it "
                    f"lies beside it as {path_text(_name(departure.private))!r}"
                ) from error

    def _stat(self, root: bytes, path: bytes) -> StatIdentity | None:
        try:
            return self._source.stat(root, path)
        except (FileNotFoundError, IsADirectoryError):
            return None

    @contextmanager
    def _directory_of(self, root: bytes, path: bytes) -> Iterator[int]:
        fd = open_directory(root, path.rpartition(b"/")[0])
        try:
            yield fd
        finally:
            os.close(fd)


def _archive(directory: int, departure: Departure) -> None:
    above, _, name = departure.place.rpartition(b"/")
    os.makedirs(above, exist_ok=True)
    target = os.open(above, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if os.fstat(target).st_dev == departure.identity.device:
            # Where nobody can tell of writers, what they still add is archived, and not lost.
            with _checked(directory, departure, must_be_alone=False):
                _place(directory, _name(departure.private), target, name)
        else:
            with _checked(directory, departure, must_be_alone=True) as fd:
                _copy(fd, target, departure)
                _place(target, _UNFINISHED % departure.version_id, target, name)
                os.fsync(target)
                os.unlink(_name(departure.private), dir_fd=directory)
        os.fsync(target)
    finally:
        os.close(target)


def _place(source: int, name: bytes, target: int, new: bytes) -> None:
    try:
        _rename_new(source, name, target, new)
    except FileExistsError as error:
        raise CannotLeave(f"the archive has a file {path_text(new)!r} there already") from error


def _copy(fd: int, target: int, departure: Departure) -> None:
    """A copy that is on the disk, under a name that says that it is not finished."""
    name = _UNFINISHED % departure.version_id
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    copy = os.open(name, flags, 0o600, dir_fd=target)
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        digest = hashlib.sha256()
        while block := os.read(fd, BLOCK):
            digest.update(block)
            view = memoryview(block)
            while view:
                view = view[os.write(copy, view) :]
        _give_to_its_readers(copy, os.fstat(fd))
        os.utime(copy, ns=(departure.identity.mtime_ns, departure.identity.mtime_ns))
        os.fsync(copy)
    finally:
        os.close(copy)
    if digest.hexdigest() != departure.content_hash:
        raise CannotLeave("its content has changed")


def _give_to_its_readers(copy: int, original: os.stat_result) -> None:
    """Who could not read the file cannot read its copy either. Only root gives files away, and
    some file systems know no owners or modes: there the copy stays this user's alone."""
    for give in (
        lambda: os.fchown(copy, original.st_uid, original.st_gid),
        lambda: os.fchmod(copy, stat.S_IMODE(original.st_mode) & 0o777),
    ):
        try:
            give()
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP):
                raise


@contextmanager
def _checked(directory: int, departure: Departure, must_be_alone: bool) -> Iterator[int]:
    """The file with the private name, open, and known to hold the version's content.

    Nobody has it open for writing, from before it is read until the end; where the system does
    not tell, that is an error if it `must_be_alone`.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = os.open(_name(departure.private), flags, dir_fd=directory)
    try:
        _lease(fd, must_be_alone)
        _check(fd, departure)
        yield fd
    finally:
        # The lease goes with it.
        os.close(fd)


def _check(fd: int, departure: Departure) -> None:
    expected = departure.identity
    digest = hashlib.sha256()
    while block := os.read(fd, BLOCK):
        digest.update(block)
    found = os.fstat(fd)
    # Its new name has changed the ctime.
    same = (
        (found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev)
        == (expected.size, expected.mtime_ns, expected.inode, expected.device)
    )  # fmt: skip
    if not same or digest.hexdigest() != departure.content_hash:
        raise CannotLeave("its content has changed")


def _lease(fd: int, required: bool) -> None:
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise CannotLeave("somebody has it open for writing") from error
        if not required:
            return
        raise CannotLeave(
            "the system does not tell whether somebody has it open for writing "
            f"({error.strerror}: the engine's user must own the file, and the file system must "
            'know leases); use after = "archive:DIR" with a directory on the same file system'
        ) from error


def _name(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


@cache
def _renameat2() -> Any:
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError as error:
        raise OSError(errno.ENOSYS, "the C library of this system has no renameat2") from error
    function.argtypes = (
        ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint,
    )  # fmt: skip
    return function


def _rename_new(source: int, name: bytes, target: int, new: bytes) -> None:
    """Rename within open directories; raises FileExistsError where the new name exists."""
    if _renameat2()(source, name, target, new, _RENAME_NOREPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path_text(name), None, path_text(new))
