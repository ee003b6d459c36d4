"""What stands where a file is looked for, when a scan does not meet it as a file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISLNK, "a symbolic link, and links are not followed"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO, and no file"),
    (stat.S_ISSOCK, "a socket, and no file"),
    (stat.S_ISCHR, "a device, and no file"),
    (stat.S_ISBLK, "a device, and no file"),
)


def in_the_way(root: str, path: str) -> str | None:
    """A sentence about the first name on the way to `path` below `root` that keeps it from being
    read as a file; None where nothing does, and where there is nothing."""
    names = path.split("/")
    for count in range(1, len(names) + 1):
        place = "/".join(names[:count])
        try:
            mode = os.lstat(os.path.join(root, place)).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return f"It is not taken: {place!r} cannot be examined: {error.strerror}."
        kind = next((text for is_kind, text in _KINDS if is_kind(mode)), None)
        if kind is not None and (count == len(names) or stat.S_ISLNK(mode)):
            return f"It is not taken: {'it' if place == path else repr(place)} is {kind}."
    return _unreadable(os.path.join(root, path))


def _unreadable(place: str) -> str | None:
    try:
        os.close(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK))
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"It is not taken: it cannot be read: {error.strerror}."
    return None
