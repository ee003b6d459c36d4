"""The directory or file that a sink publishes to, known again after it was away.

Where a disk is not mounted, there is a directory below its mount point, and it looks like a new
place. What is published there is gone for readers as soon as the disk is back. So a place that is
kept is never made anew: whoever wants to write there gets an error of a disk that is away.
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid

from casparian.adapters.sink._durable import fsync_all
from casparian.adapters.sink._libc import rename_new

_NAME = "place"


class KeptPlace:
    """Any thread. `working` is the sink's private directory, on the same file system: a file in
    it names the place, since a disk may come back as another device."""

    def __init__(self, path: str, working: str) -> None:
        self.path = path
        self._working = working
        self._file = os.path.join(working, _NAME)
        self._name = ""
        self._seen: tuple[int, int] | None = None

    @property
    def kept(self) -> bool:
        return self._name != ""

    def keep(self) -> None:
        """It is there, and must be this one from now on. Raises OSError."""
        self._seen = _identity(self.path)
        self._name = self._read() or self._write()

    def look(self) -> bool:
        """False where it is as at the last look, True where it came back since then. Raises
        OSError where it is gone, or another one."""
        if not self.kept:
            return False
        seen = _identity(self.path)
        if seen == self._seen:
            return False
        if not self._is_known(seen):
            raise OSError(errno.ENODEV, self.gone())
        self._seen = seen
        return True

    def same(self) -> bool:
        """The same as an answer, for somebody who does not write."""
        return not self.kept or self._is_known(_identity(self.path))

    def _is_known(self, found: tuple[int, int] | None) -> bool:
        return found is not None and (found == self._seen or self._read() == self._name)

    def gone(self) -> str:
        """What is to be said where it is not there."""
        what = "another place than before" if os.path.exists(self.path) else "gone"
        return f"{self.path} is {what}, and rows were published there. Is its disk mounted?"

    def _read(self) -> str:
        """The name, empty where there is none."""
        try:
            with open(self._file, encoding="ascii") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def _write(self) -> str:
        """Give it a name; the one that somebody else gives it meanwhile counts."""
        new = f"{self._file}-{uuid.uuid4().hex}"
        with open(new, "x", encoding="ascii") as file:
            file.write(uuid.uuid4().hex)
        fsync_all([new])
        try:
            rename_new(new, self._file)
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)
        fsync_all([self._working])
        return self._read()


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
