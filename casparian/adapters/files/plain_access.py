"""What root could read without the privileges of root: a sidecar has none of them."""

from __future__ import annotations

import os
import stat

from casparian.domain.plugins import DirectoryId


def is_privileged() -> bool:
    """Whether this process may read more than modes and owners say."""
    return os.geteuid() == 0


def readable_plainly(path: bytes) -> bool:
    """Whether a process of this user reads the file by the modes along its absolute path alone."""
    me, groups = os.geteuid(), {os.getegid(), *os.getgroups()}
    parts = path.split(b"/")
    directories = [b"/".join(parts[:count]) or b"/" for count in range(1, len(parts))]
    try:
        return all(_may(os.stat(d), stat.S_IXOTH, me, groups) for d in directories) and _may(
            os.stat(path), stat.S_IROTH, me, groups
        )
    except OSError:
        # It is gone, say: whoever opens it will tell.
        return True


def _may(status: os.stat_result, right: int, user: int, groups: set[int]) -> bool:
    """`right` is that of others; those of group and owner lie three and six bits further."""
    if status.st_uid == user:
        return bool(status.st_mode & right << 6)
    if status.st_gid in groups:
        return bool(status.st_mode & right << 3)
    return bool(status.st_mode & right)


def directory_id(path: bytes) -> DirectoryId | None:
    """Which directory stands at a path: rules of the sandbox are on it and not on its name."""
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_dev, about.st_ino
