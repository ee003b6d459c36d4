"""The disk that a sink publishes to, known again after it was away.

Where a disk is not mounted, there is a directory below its mount point, and it looks like a new
place. What is published there is gone for readers as soon as the disk is back. So whoever wants to
write there gets an error of a disk that is away.

What an operator removes is another matter: the disk is there, and the place is made anew.
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid

from casparian.adapters.sink._durable import fsync_all
from casparian.adapters.sink._libc import rename_new

_NAME = "place"

Identity = tuple[int, int]


class KeptPlace:
    """Any thread. `path` is what rows are published to, `working` the sink's private directory, on
    the same file system: where either is what it was, the disk is there. A file in the private
    directory names the place, since a disk may come back as another device."""

    def __init__(self, path: str, working: str) -> None:
        self.path = path
        self._working = working
        self._file = os.path.join(working, _NAME)
        self._name = ""
        self._seen: tuple[Identity | None, ...] = ()

    @property
    def kept(self) -> bool:
        return self._name != ""

    def keep(self) -> None:
        """It is there, and must be this one from now on. Raises OSError."""
        self._name = self._read() or self._write()
        self._seen = self._now()

    def look(self) -> bool:
        """False where it is as at the last look, True where it came back since then. Raises
        OSError where it is away."""
        if not self.kept:
            return False
        now = self._now()
        if now == self._seen:
            return False
        back = not self._is_the_disk_of(now)
        if back and self._read() != self._name:
            raise OSError(errno.ENODEV, self.gone())
        self._seen = now
        return back

    def same(self) -> bool:
        """The same as an answer, for somebody who does not write."""
        return not self.kept or self._is_the_disk_of(self._now()) or self._read() == self._name

    def gone(self) -> str:
        """What is to be said where it is away."""
        return f"Rows were published to {self.path}, and it is not there. Is its disk mounted?"

    def _now(self) -> tuple[Identity | None, ...]:
        return _identity(self.path), _identity(self._working)

    def _is_the_disk_of(self, now: tuple[Identity | None, ...]) -> bool:
        return any(
            found is not None and found == seen for found, seen in zip(now, self._seen, strict=True)
        )

    def _read(self) -> str:
        """The name, empty where there is none."""
        try:
            with open(self._file, encoding="ascii") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
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


def _identity(path: str) -> Identity | None:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
