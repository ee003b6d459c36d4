"""No new privileges, and none of the old: what root is without capabilities is a plain user.

As root, Landlock alone would leave the secrets of other processes in /proc to read.
"""

from __future__ import annotations

import ctypes
import errno

from casparian.adapters.host.sandbox.libc import capset, prctl

PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
CAPABILITY_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Set(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def no_new_privileges() -> None:
    """No program that is started can gain rights, set-user-id or not. Raises OSError."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """All of them, of every set. Raises OSError."""
    _empty_bounding_set()
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    capset(_Header(CAPABILITY_VERSION_3, 0), (_Set * 2)())


def _empty_bounding_set() -> None:
    """Only who may set capabilities may do this; to nobody else does the set give anything, since
    no program can gain privileges."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError as error:
            # EINVAL: beyond the last one that this kernel knows.
            if error.errno not in (errno.EINVAL, errno.EPERM):
                raise
            return
