"""Run Python as on a kernel that has not got some layer: `without.py landlock -m MODULE ...`.

The system call of that layer is answered with ENOSYS, in this process and all it starts.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys

from casparian.adapters.host.sandbox import landlock, seccomp
from casparian.adapters.host.sandbox.bpf import INSTRUCTION, program
from casparian.adapters.host.sandbox.libc import prctl
from casparian.adapters.host.sandbox.privileges import no_new_privileges
from casparian.adapters.host.sandbox.syscalls import ARCHITECTURES, number_of

PR_SET_SECCOMP, MODE_FILTER = 22, 2


def main(layer: str, arguments: list[str]) -> None:
    architecture = ARCHITECTURES[platform.machine()]
    numbers = {
        "landlock": landlock.CREATE_RULESET,
        "seccomp": number_of("seccomp", architecture),
        "capabilities": number_of("capset", architecture),
    }
    number = numbers[layer]
    assert number is not None
    code = program(architecture, {}, {errno.ENOSYS: [number]}, errno.ENOSYS)
    steps = ctypes.create_string_buffer(code, len(code))
    no_new_privileges()
    filter_ = seccomp._Program(len(code) // INSTRUCTION.size, ctypes.addressof(steps))
    prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.addressof(filter_))
    os.execv(sys.executable, [sys.executable, *arguments])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
