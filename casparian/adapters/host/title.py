"""What the system shows as this process's command line."""

from __future__ import annotations

import ctypes
import os

# In /proc/self/stat, from behind the name: where the arguments begin and end in memory.
_ARGUMENTS = slice(45, 47)


def rename(last: str, other: str) -> None:
    """Show `other` where the last argument is `last`, which must not be shorter. A system that
    does not tell where the arguments are goes on to show the old one."""
    old, new = os.fsencode(last) + b"\0", os.fsencode(other)
    with open("/proc/self/cmdline", "rb") as file:
        shown = file.read()
    with open("/proc/self/stat", "rb") as file:
        begin, end = map(int, file.read().rpartition(b")")[2].split()[_ARGUMENTS])
    if end - begin == len(shown) and shown.endswith(old):
        ctypes.memmove(end - len(old), new.ljust(len(old), b"\0"), len(old))
