"""The system call filter, run step by step as the kernel does, for each architecture."""

from __future__ import annotations

import errno
import platform
import re
from pathlib import Path

import pytest

from casparian.adapters.host.sandbox import bpf, seccomp
from casparian.adapters.host.sandbox.syscalls import (
    ARCHITECTURES,
    NEWEST,
    NUMBERS,
    Architecture,
    number_of,
)

PID = 4711
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
READ = {"x86_64": 0, "aarch64": 63}


def verdict(code: bytes, audit: int, number: int, *arguments: int) -> int:
    """What the filter answers: 0 for allowed, else the errno; -1 where it kills."""
    steps = list(bpf.INSTRUCTION.iter_unpack(code))
    words = {bpf._NUMBER: number, bpf._ARCHITECTURE: audit}
    words |= {bpf._ARGUMENTS + 8 * i: a & bpf.ALL_BITS for i, a in enumerate(arguments)}
    accumulator = at = 0
    while True:
        code_, if_true, if_false, operand = steps[at]
        at += 1
        match code_:
            case bpf.LOAD:
                accumulator = words.get(operand, 0)
            case bpf.AND:
                accumulator &= operand
            case bpf.JUMP:
                at += operand
            case bpf.JUMP_EQUAL:
                at += if_true if accumulator == operand else if_false
            case bpf.JUMP_FROM:
                at += if_true if accumulator >= operand else if_false
            case bpf.RETURN:
                return {bpf.ALLOW: 0, bpf.KILL_PROCESS: -1}.get(operand, operand & 0xFFFF)


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    return ARCHITECTURES[request.param]


class Filter:
    def __init__(self, architecture: Architecture, **granted: bool) -> None:
        granted = {"network": False, "subprocess": False} | granted
        self.architecture = architecture
        self.code = seccomp.filter_program(architecture, PID, **granted)

    def __call__(self, name: str, *arguments: int) -> int:
        number = number_of(name, self.architecture)
        if number is None:
            pytest.skip(f"this architecture has no {name}")
        return verdict(self.code, self.architecture.audit, number, *arguments)


CASES = [
    # name, arguments, allowed without grants, with the network, with subprocesses
    ("clone", (seccomp.CLONE_THREAD | 0x3D0F00,), True, True, True),
    ("clone", (17,), False, False, True),
    ("clone", (0x10000000 | 17,), False, False, False),
    ("execve", (), False, False, True),
    ("kill", (PID,), True, True, True),
    ("kill", (1,), False, False, True),
    ("tgkill", (PID, 99), True, True, True),
    ("tgkill", (1, 1), False, False, True),
    ("socket", (seccomp.AF_INET,), False, True, False),
    ("socket", (seccomp.AF_INET6,), False, True, False),
    ("socket", (seccomp.AF_UNIX,), False, False, False),
    ("connect", (), False, True, False),
    ("socketpair", (seccomp.AF_UNIX, seccomp.SOCK_STREAM | 0x80800), True, True, True),
    ("socketpair", (seccomp.AF_UNIX, 2), False, False, False),
    ("socketpair", (seccomp.AF_INET, seccomp.SOCK_STREAM), False, False, False),
    ("mmap", (0, 4096, 3, 0x22), True, True, True),
    ("mmap", (0, 4096, 3, 0x21), False, False, False),
    ("mmap", (0, 4096, 3, 0x01), True, True, True),
    ("fcntl", (3, 1), True, True, True),
    ("fcntl", (3, seccomp.F_SETOWN), False, False, False),
    ("fcntl", (3, seccomp.F_NOTIFY), False, False, False),
    ("ioctl", (0, 0x5401), True, True, True),
    ("ioctl", (0, seccomp.TIOCSTI), False, False, False),
    ("ioctl", (0, seccomp.FS_IOC_SETFLAGS), False, False, False),
    ("prctl", (15,), True, True, True),
    ("prctl", (seccomp.PR_SET_PDEATHSIG,), False, False, False),
    ("prlimit64", (0, 7), True, True, True),
    ("prlimit64", (PID, 7), True, True, True),
    ("prlimit64", (1, 7), False, False, False),
    ("setpriority", (0, 0), True, True, True),
    ("setpriority", (0, 1), False, False, False),
    ("setpriority", (2, 0), False, False, False),
    ("sched_setscheduler", (99, seccomp.SCHED_OTHER), True, True, True),
    ("sched_setscheduler", (99, 5), False, False, False),
    ("sched_setaffinity", (0,), True, True, True),
    ("sched_setaffinity", (1,), False, False, False),
    ("chmod", (), False, False, False),
    ("memfd_create", (), False, False, False),
]


@pytest.mark.parametrize(("name", "arguments", "plain", "network", "subprocess"), CASES)
def test_what_passes(
    architecture: Architecture,
    name: str,
    arguments: tuple[int, ...],
    plain: bool,
    network: bool,
    subprocess: bool,
) -> None:
    seen = [
        Filter(architecture)(name, *arguments),
        Filter(architecture, network=True)(name, *arguments),
        Filter(architecture, subprocess=True)(name, *arguments),
    ]
    assert seen == [0 if passes else errno.EPERM for passes in (plain, network, subprocess)]


def test_what_is_listed_is_refused(architecture: Architecture) -> None:
    held = Filter(architecture)
    for name in (*seccomp.REFUSED, *seccomp.NETWORK, *seccomp.SUBPROCESS):
        number = number_of(name, architecture)
        if number is not None:
            assert verdict(held.code, architecture.audit, number) == errno.EPERM, name


def test_what_is_plain_work_passes(architecture: Architecture) -> None:
    (machine,) = [m for m, known in ARCHITECTURES.items() if known is architecture]
    held = Filter(architecture)
    assert verdict(held.code, architecture.audit, READ[machine], 3, 0, 10) == 0
    assert verdict(held.code, architecture.audit, NEWEST) == 0


def test_what_is_unknown_is_answered_as_if_it_were_not_there(architecture: Architecture) -> None:
    held = Filter(architecture)
    assert held("clone3") == errno.ENOSYS
    for number in (NEWEST + 1, NEWEST + 2, 1000):
        assert verdict(held.code, architecture.audit, number) == errno.ENOSYS
    assert verdict(held.code, 0x40000003, READ["x86_64"]) == -1
    if architecture.foreign is not None:
        assert verdict(held.code, architecture.audit, architecture.foreign) != 0


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_numbers_are_the_kernels(machine: str) -> None:
    header = HEADERS[machine]
    if not header.exists():
        pytest.skip(f"{header} is not there: the package of the kernel's headers has it")
    pattern = re.compile(r"#define\s+__NR(?:3264)?_(\w+)\s+(\d+)")
    known = {name: int(number) for name, number in pattern.findall(header.read_text())}
    # Their names differ by the width of what they take.
    known.setdefault("fcntl", known.get("fcntl64", -1))
    column = ARCHITECTURES[machine].column
    ours = {name: numbers[column] for name, numbers in NUMBERS.items()}
    newer = {n for n, number in ours.items() if n not in known and number and number > 450}
    assert {n: number for n, number in ours.items() if number is not None and n not in newer} == {
        name: number for name, number in known.items() if ours.get(name) is not None
    }


def test_another_architecture_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seccomp.unavailable() == ""
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert seccomp.unavailable() == (
        "no list of system calls for riscv64, only for x86_64, aarch64"
    )
