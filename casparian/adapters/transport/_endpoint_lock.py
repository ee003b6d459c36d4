"""Who listens at a socket's path: a lock on the file beside it, which ends with its process.

ZMQ lets a second process take a path away from the one that listens there, and says nothing to
either. Asking the socket is not enough: two that start at once would both find nobody.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from contextlib import suppress

from casparian.domain.errors import ConfigurationError

SUFFIX = ".lock"


class EndpointLock:
    """Held from `take` to `release`; names its holder to whoever comes second."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = path + SUFFIX
        self._held: int | None = None

    def take(self) -> None:
        """Raises ConfigurationError, which names the process that holds it."""
        while self._held is None:
            file = self._open()
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = _read(file)
                os.close(file)
                raise self._refusal(error, holder) from error
            if _is_still(file, self._file):
                self._held = file
            else:
                # Its holder has just removed it: the lock is on a file that nobody else finds.
                os.close(file)
        with suppress(OSError):  # The name is for whoever comes second; the lock is what counts.
            os.ftruncate(self._held, 0)
            os.pwrite(self._held, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        if self._held is not None:
            # While it is still held, so that what is removed is nobody else's.
            held, self._held = self._held, None
            try:
                if _is_still(held, self._file):
                    os.unlink(self._file)
            finally:
                os.close(held)

    def _open(self) -> int:
        try:
            return os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise ConfigurationError(
                f"[transport] endpoint: the lock {self._file!r} beside the socket cannot be "
                f"opened: {error.strerror}. Give each engine's user a path of its own"
            ) from error

    def _refusal(self, error: OSError, holder: str) -> ConfigurationError:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            return ConfigurationError(
                f"[transport] endpoint: the file system of {self._file!r} cannot lock files: "
                f"{error.strerror}. Choose a path on a local disk, below /run for instance"
            )
        return ConfigurationError(
            f"[transport] endpoint: another engine listens at {self._path!r}"
            f"{': ' + holder if holder else ''}. Stop it, or give each engine a path of its own, "
            "for instance with {pid} in it"
        )


def _read(file: int) -> str:
    return os.pread(file, 1000, 0).decode("utf-8", "replace").strip()


def _is_still(file: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
