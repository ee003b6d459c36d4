"""Scratch directories, of sidecars and of shadow runs: each held by a lock that ends with the
process that made it.

One that is killed leaves its own behind. The next host on the machine removes whatever nobody
holds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress

SIDECAR, SHADOW = PREFIXES = ("casparian-sidecar-", "casparian-shadow-")
YOUNG_S = 60.0
"""A directory younger than this may not be locked yet by who has just made it."""


class Scratch:
    """A directory for one use, held until it is removed: by `remove`, or with the context."""

    def __init__(self, prefix: str = SIDECAR) -> None:
        """Raises OSError."""
        self.path = tempfile.mkdtemp(prefix=prefix)
        try:
            # A lock of this open directory, not of the process: no child inherits it.
            self._held = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            os.rmdir(self.path)
            raise
        # A file system without such locks leaves nothing to be found by, which is no harm.
        with suppress(OSError):
            fcntl.flock(self._held, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._held)


def sweep(now: float | None = None) -> int:
    """Remove the directories of processes that are gone; how many those were."""
    oldest = (time.time() if now is None else now) - YOUNG_S
    with os.scandir(tempfile.gettempdir()) as entries:
        found = [entry.path for entry in entries if entry.name.startswith(PREFIXES)]
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
        return False  # Held by a process that lives.
    finally:
        os.close(directory)
