"""Landlock: which files may be read and written, by rules on paths that hold for good.

It covers the calling thread and what that starts later. It says nothing of stat, chmod, times, UDP
and Unix sockets; of these the system call filter does.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntFlag

from casparian.adapters.host.sandbox.libc import syscall

# The same numbers on every architecture.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH, RULE_NET_PORT = 1, 2
NEEDED_ABI = 3
"""Before it, a file that may be read may be truncated."""


class Access(IntFlag):
    """Rights on files. Those of a directory hold for all below it."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


OF_FILES = (
    Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE | Access.IOCTL_DEV
)
READ = Access.READ_FILE | Access.READ_DIR
WRITE = Access.WRITE_FILE | Access.TRUNCATE
OWN = (
    READ | WRITE | Access.REMOVE_DIR | Access.REMOVE_FILE | Access.MAKE_DIR | Access.MAKE_REG
    | Access.MAKE_FIFO | Access.MAKE_SYM | Access.REFER
)  # fmt: skip
"""What a process may do in a directory of its own."""
BIND_TCP, CONNECT_TCP = 1, 2
ABSTRACT_SOCKETS, SIGNALS = 1, 2
_BITS_BY_ABI = (0, 13, 14, 15, 15, 16)
_NET_SINCE, _SCOPE_SINCE = 4, 6


@dataclass(frozen=True, slots=True)
class Rules:
    """What remains possible, by path; `port` is the TCP port that may be connected to, None for
    none. With `network` TCP is left alone."""

    allowed: tuple[tuple[str, Access], ...]
    port: int | None = None
    network: bool = False


def abi() -> int:
    """The version of Landlock in this kernel; 0 where it has none, or has it switched off."""
    try:
        return syscall(CREATE_RULESET, None, 0, CREATE_RULESET_VERSION)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
            return 0
        raise


def restrict(rules: Rules, version: int) -> None:
    """Hold this thread, and what it starts, to the rules, as far as `version` can. Raises OSError.

    A path that is not there is left out: nothing can be done with it. The process must have no
    new privileges.
    """
    bits = _BITS_BY_ABI[min(version, len(_BITS_BY_ABI) - 1)]
    handled = Access((1 << bits) - 1)
    net = 0 if rules.network or version < _NET_SINCE else BIND_TCP | CONNECT_TCP
    scope = ABSTRACT_SOCKETS | SIGNALS if version >= _SCOPE_SINCE else 0
    ruleset = _create(handled, net, scope, version)
    try:
        for path, access in rules.allowed:
            with suppress(FileNotFoundError, NotADirectoryError):
                _allow(ruleset, path, access & handled)
        if net and rules.port is not None:
            port = struct.pack("=QQ", CONNECT_TCP, rules.port)
            syscall(ADD_RULE, ruleset, RULE_NET_PORT, ctypes.c_char_p(port), 0)
        syscall(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _create(handled: Access, net: int, scope: int, version: int) -> int:
    fields = [int(handled)]
    if version >= _NET_SINCE:
        fields.append(net)
    if version >= _SCOPE_SINCE:
        fields.append(scope)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    return syscall(CREATE_RULESET, ctypes.c_char_p(attributes), len(attributes), 0)


def _allow(ruleset: int, path: str, access: Access) -> None:
    file = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(file).st_mode):
            access &= OF_FILES
        rule = struct.pack("=Qi", int(access), file)
        syscall(ADD_RULE, ruleset, RULE_PATH_BENEATH, ctypes.c_char_p(rule), 0)
    finally:
        os.close(file)


def readable(paths: Iterable[str]) -> tuple[tuple[str, Access], ...]:
    return tuple((path, READ) for path in paths)
