"""The system call filter: what a plugin has no need of, and what Landlock says nothing about.

What is refused fails with EPERM, which Python raises as PermissionError. Other threads of the
process get the filter too. It names what is refused and lets the rest pass; what is newer than this
list is answered like a kernel that has not got it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform

from casparian.adapters.host.sandbox.bpf import INSTRUCTION, Condition, program
from casparian.adapters.host.sandbox.libc import syscall
from casparian.adapters.host.sandbox.syscalls import ARCHITECTURES, Architecture, number_of

SET_MODE_FILTER, FLAG_TSYNC = 1, 1
CLONE_THREAD = 0x10000
CLONE_NEW = 0x7E020000
MAP_TYPE, MAP_SHARED, MAP_ANONYMOUS = 0x0F, 0x01, 0x20
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
SOCK_TYPE, SOCK_STREAM = 0x0F, 1
PR_SET_PDEATHSIG = 1
SCHED_OTHER = 0
PRIO_PROCESS, IOPRIO_WHO_PROCESS = 0, 1
TIOCSTI, TIOCLINUX, FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR = 0x5412, 0x541C, 0x40086602, 0x401C5820
F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY = 8, 10, 15, 1024, 1026

# What each group would let a plugin do stands above it.
REFUSED = (
    # change files that it may only read
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat",
    "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr",
    "utime", "utimes", "futimesat", "utimensat",
    # watch directories that it may not read
    "inotify_add_watch", "fanotify_init", "fanotify_mark",
    # read, write, or steer other processes
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease",
    "kcmp", "pidfd_getfd", "pidfd_send_signal", "move_pages", "migrate_pages",
    # leave the group that it is ended with
    "setsid", "setpgid",
    # have memory that its limit does not count, or that others share
    "memfd_create", "memfd_secret", "shmget", "shmat", "shmctl", "semget", "semop", "semctl",
    "semtimedop", "msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink",
    # keyrings
    "keyctl", "add_key", "request_key",
    # system calls past this filter
    "io_uring_setup", "io_uring_enter", "io_uring_register",
    # other views of the file system, files without a path
    "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsconfig",
    "fsmount", "fspick", "mount_setattr", "name_to_handle_at", "open_by_handle_at", "quotactl",
    "quotactl_fd", "swapon", "swapoff", "acct", "unshare", "setns",
    # large and seldom used parts of the kernel
    "bpf", "perf_event_open", "userfaultfd", "personality", "ioperm", "iopl", "modify_ldt",
    "uselib", "lookup_dcookie",
    # be another user
    "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid",
    "setgroups", "capset",
    # run the machine
    "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot",
    "syslog", "sethostname", "setdomainname", "settimeofday", "clock_settime", "clock_adjtime",
    "adjtimex", "vhangup",
)  # fmt: skip
NETWORK = ("connect", "bind", "listen", "accept", "accept4")
SUBPROCESS = ("fork", "vfork", "execve", "execveat", "tkill")


def unavailable() -> str:
    """Why this process cannot have a filter; empty where it can."""
    if platform.machine() not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        return f"no list of system calls for {platform.machine()}, only for {known}"
    return ""


def install(network: bool = False, subprocess: bool = False) -> None:
    """Put the filter on all threads of this process. Raises OSError."""
    architecture = ARCHITECTURES[platform.machine()]
    code = filter_program(architecture, os.getpid(), network, subprocess)
    steps = ctypes.create_string_buffer(code, len(code))
    name = number_of("seccomp", architecture)
    assert name is not None
    filter_ = _Program(len(code) // INSTRUCTION.size, ctypes.addressof(steps))
    thread = syscall(name, SET_MODE_FILTER, FLAG_TSYNC, ctypes.byref(filter_))
    if thread:
        raise OSError(errno.EBUSY, f"thread {thread} has a filter of its own")


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def filter_program(architecture: Architecture, pid: int, network: bool, subprocess: bool) -> bytes:
    """The filter of the process `pid`, with what it is granted."""
    names = [*REFUSED, *(() if network else NETWORK), *(() if subprocess else SUBPROCESS)]
    conditional = _conditional(pid, network, subprocess)
    return program(
        architecture,
        {
            number: conditions
            for name, conditions in conditional.items()
            if (number := number_of(name, architecture)) is not None
        },
        {
            errno.EPERM: [n for name in names if (n := number_of(name, architecture)) is not None],
            # Its flags lie in memory, where no filter can see them: clone is used instead.
            errno.ENOSYS: [n for n in [number_of("clone3", architecture)] if n is not None],
        },
        unknown=errno.ENOSYS,
    )


def _conditional(pid: int, network: bool, subprocess: bool) -> dict[str, tuple[Condition, ...]]:
    """The most frequent first: it is looked for in this order."""
    itself = (0, pid)
    conditions: dict[str, tuple[Condition, ...]] = {
        # Shared memory without a file is not counted by the limit.
        "mmap": (Condition(3, (MAP_SHARED | MAP_ANONYMOUS,), MAP_TYPE | MAP_ANONYMOUS, but=True),),
        "fcntl": (Condition(1, (F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY), but=True),),
        "ioctl": (
            Condition(1, (TIOCSTI, TIOCLINUX, FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR), but=True),
        ),
        "clone": (_no_new_namespace() if subprocess else _only_threads(),),
        "prctl": (Condition(0, (PR_SET_PDEATHSIG,), but=True),),
        # Both ends of a pair are its own; of these only streams cannot send elsewhere.
        "socketpair": (Condition(0, (AF_UNIX,)), Condition(1, (SOCK_STREAM,), SOCK_TYPE)),
        "socket": (Condition(0, (AF_INET, AF_INET6, AF_NETLINK) if network else ()),),
        "prlimit64": (Condition(0, itself),),
        "setpriority": (Condition(0, (PRIO_PROCESS,)), Condition(1, itself)),
        "ioprio_set": (Condition(0, (IOPRIO_WHO_PROCESS,)), Condition(1, itself)),
        "sched_setaffinity": (Condition(0, itself),),
        # Of whatever thread: pools do so to theirs, and to others it does nothing.
        "sched_setscheduler": (Condition(1, (SCHED_OTHER,)),),
        "sched_setparam": (Condition(0, itself),),
        "sched_setattr": (Condition(0, itself),),
    }
    if not subprocess:
        # With children it is Landlock that keeps signals among themselves.
        signals = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
        conditions |= dict.fromkeys(signals, (Condition(0, (pid,)),))
    return conditions


def _only_threads() -> Condition:
    return Condition(0, (CLONE_THREAD,), CLONE_THREAD)


def _no_new_namespace() -> Condition:
    return Condition(0, (0,), CLONE_NEW)
