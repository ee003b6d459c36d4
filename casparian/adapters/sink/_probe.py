"""Proves that a root and its working directory allow what publishing needs, by doing it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import uuid
from collections.abc import Iterator

from casparian.adapters.sink._libc import exchange, rename_new
from casparian.domain.errors import ConfigurationError

_PREFIX = ".casparian-probe-"
_INSTEAD = "Use a directory on a local file system (ext4, XFS, btrfs, tmpfs), or a SQL sink."


def probe(root: str, working: str, sink: str) -> None:
    """Raise ConfigurationError unless directories can be exchanged between the two places."""
    try:
        with _alone(working):
            _remove_leftovers(root, working)
            try:
                _try_out(root, working)
            finally:
                _remove_leftovers(root, working)
    except OSError as error:
        raise ConfigurationError(_reason(error, root, working, sink)) from error


@contextlib.contextmanager
def _alone(working: str) -> Iterator[None]:
    """One probe at a time: what another one left behind was then left by a dead process."""
    descriptor = os.open(working, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _try_out(root: str, working: str) -> None:
    name = _PREFIX + uuid.uuid4().hex
    there, here = os.path.join(root, name), os.path.join(working, name)
    os.mkdir(there)
    os.mkdir(here)
    with open(os.path.join(here, "mark"), "x"):
        pass
    exchange(here, there)
    if not os.path.exists(os.path.join(there, "mark")):
        raise OSError(errno.EOPNOTSUPP, "an exchange of two directories had no effect")
    os.unlink(os.path.join(there, "mark"))
    with contextlib.suppress(FileExistsError):
        rename_new(here, there)
        raise OSError(errno.EOPNOTSUPP, "a rename replaced a directory against its order")


def _remove_leftovers(*places: str) -> None:
    for place in places:
        for name in os.listdir(place):
            if name.startswith(_PREFIX):
                path = os.path.join(place, name)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(path, "mark"))
                os.rmdir(path)


def _reason(error: OSError, root: str, working: str, sink: str) -> str:
    if error.errno == errno.EXDEV:
        return (
            f"The sink {sink} cannot publish in one step: {root} and {working} are on different "
            f"file systems. Make {root} a mount point of its own or no link. {_INSTEAD}"
        )
    if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY):
        return (
            f"The sink {sink} cannot replace rows in one step: the file system of {root} does not "
            f"exchange directories (renameat2 with RENAME_EXCHANGE: {error.strerror}). {_INSTEAD}"
        )
    return (
        f"The sink {sink} cannot work in {root} and {working}: {error}. Give the engine's user "
        f"the right to write there. {_INSTEAD}"
    )
