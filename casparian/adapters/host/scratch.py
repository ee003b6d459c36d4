"""Scratch directories of sidecars: each held by a lock of the engine, which ends with the engine.

An engine that is killed leaves those of its sidecars behind. The next host on the machine removes
whatever nobody holds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress

PREFIX = "casparian-sidecar-"
YOUNG_S = 60.0
"""A directory younger than this may not be locked yet by the engine that has just made it."""


class Scratch:
    """A directory of one sidecar, held until it is removed."""

    def __init__(self) -> None:
        """Raises OSError."""
        self.path = tempfile.mkdtemp(prefix=PREFIX)
        try:
            # A lock of this open directory, not of the process: no child inherits it.
            self._held = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            os.rmdir(self.path)
            raise
        # A file system without such locks leaves nothing to be found by, which is no harm.
        with suppress(OSError):
            fcntl.flock(self._held, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._held)


def sweep(now: float | None = None) -> int:
    """Remove the directories of engines that are gone; how many those were."""
    oldest = (time.time() if now is None else now) - YOUNG_S
    with os.scandir(tempfile.gettempdir()) as entries:
        found = [entry.path for entry in entries if entry.name.startswith(PREFIX)]
    return sum(_remove_abandoned(path, oldest) for path in found)


def _remove_abandoned(path: str, oldest: float) -> bool:
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False  # Gone, or somebody else's.
    try:
        seen = os.fstat(directory)
        if seen.st_uid != os.geteuid() or seen.st_mtime > oldest or not stat.S_ISDIR(seen.st_mode):
            return False
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
        return True
    except OSError:
        return False  # Held by an engine that lives.
    finally:
        os.close(directory)
