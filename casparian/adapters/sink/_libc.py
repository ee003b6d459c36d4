"""Two calls that Python lacks, from the C library by name: renameat2 and syncfs."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache
from typing import Any

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2


@cache
def _function(name: str, *argument_types: Any) -> Any:
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
    except AttributeError as error:
        raise OSError(errno.ENOSYS, f"the C library of this system has no {name}") from error
    function.argtypes = argument_types
    function.restype = ctypes.c_int
    return function


def _renameat2(source: str, target: str, flags: int) -> None:
    call = _function(
        "renameat2", ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint
    )
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), source, None, target)


def rename_new(source: str, target: str) -> None:
    """Rename; raises FileExistsError where `target` exists."""
    _renameat2(source, target, _RENAME_NOREPLACE)


def exchange(one: str, other: str) -> None:
    """Let two names change places, in one step; raises FileNotFoundError unless both exist."""
    _renameat2(one, other, _RENAME_EXCHANGE)


def syncfs(descriptor: int) -> None:
    """Write all that is dirty in the file system of an open file."""
    if _function("syncfs", ctypes.c_int)(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
