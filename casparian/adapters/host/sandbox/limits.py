"""Limits of one process: memory, files, CPU time for each job. They hold without a sandbox too."""

from __future__ import annotations

import resource

MOST_OPEN_FILES = 1024
LARGEST_FILE = 16 << 30


def take_limits(memory_mb: int) -> None:
    """Memory that a process fills itself counts; a file that it maps may be larger."""
    _lower(resource.RLIMIT_DATA, memory_mb << 20)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, MOST_OPEN_FILES)
    _lower(resource.RLIMIT_FSIZE, LARGEST_FILE)


def _lower(kind: int, value: int) -> None:
    """One that is already lower stays."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def allow_cpu(seconds: int) -> None:
    """CPU time for one more job; past it the kernel sends SIGXCPU, which ends the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
