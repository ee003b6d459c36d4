"""The C library's door to the kernel, for calls that Python has not."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    libc.prctl.restype = ctypes.c_int
    return libc


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)


def syscall(number: int, *arguments: Any) -> int:
    """Raises OSError. Whole numbers are passed as long, all else as it is."""
    passed = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _checked(_libc().syscall(ctypes.c_long(number), *passed))


def prctl(option: int, *arguments: int) -> int:
    """Raises OSError. The kernel wants zero in the arguments that are not used."""
    filled = [*arguments, *[0] * (4 - len(arguments))]
    return _checked(_libc().prctl(option, *[ctypes.c_ulong(a) for a in filled]))


def capset(header: Any, data: Any) -> None:
    """Raises OSError."""
    _checked(_libc().capset(ctypes.byref(header), data))
