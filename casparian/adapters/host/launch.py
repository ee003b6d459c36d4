"""A sidecar's process as it begins: how one is started anew, by any interpreter or command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import IO, Protocol

from casparian.adapters.host.freed_memory import KEEP_FREED_MEMORY
from casparian.adapters.host.scratch import Scratch

COMMAND = (sys.executable, "-I", "-m", "casparian.app.sidecar")
# Libraries that start threads when they are loaded, which is before the sandbox is there; threads
# that run by then would not be covered. (BLAS may be told otherwise by the plugin; the second is
# an allocator of Arrow that is not in use.)
ONE_THREAD = {
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
SEEN = ("TZ",)
"""The engine's variables that sidecars may see."""


class Process(Protocol):
    """One that has to be waited for once it has ended; until then its pid is its own."""

    @property
    def pid(self) -> int: ...

    def wait(self) -> int:
        """The exit code, or minus the signal."""
        ...


@dataclass(slots=True)
class Launched:
    """A process that waits for its instructions, and the process that it is to end with."""

    process: Process
    parent_pid: int
    pidfd: int
    stdin: IO[bytes]
    stderr: IO[bytes]
    scratch: Scratch

    def release(self) -> None:
        """What is held of it, once it has been waited for."""
        os.close(self.pidfd)
        self.stderr.close()
        with suppress(BrokenPipeError):
            self.stdin.close()
        self.scratch.remove()


def environment(sidecars: int, seen: Sequence[str] = SEEN) -> dict[str, str]:
    """The whole environment of a sidecar, its scratch directory apart, where a plugin may have so
    many of them."""
    threads_each = max(1, (os.cpu_count() or 1) // max(1, sidecars))
    names = (*seen, "CASPARIAN_PURE")
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": str(threads_each),
        **ONE_THREAD,
        **KEEP_FREED_MEMORY,
        **{name: os.environ[name] for name in names if name in os.environ},
    }


def begin(
    command: Sequence[str], variables: Mapping[str, str], scratch: Scratch, stdin: int
) -> subprocess.Popen[bytes]:
    """A process with these variables and no others, its own directory and group, and none of this
    process's descriptors. Raises OSError. The kernel ends it when the thread that calls this is
    gone, as soon as it has asked for that."""
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**variables, "HOME": scratch.path, "TMPDIR": scratch.path},
        cwd=scratch.path,
        close_fds=True,
        start_new_session=True,
    )


def launch(command: Sequence[str], variables: Mapping[str, str]) -> Launched:
    """Raises OSError."""
    with ExitStack() as undo:
        scratch = Scratch()
        undo.callback(scratch.remove)
        popen = begin(command, variables, scratch, subprocess.PIPE)
        undo.callback(_end, popen)
        assert popen.stdin is not None
        assert popen.stderr is not None
        pidfd = os.pidfd_open(popen.pid)
        undo.pop_all()
        return Launched(popen, os.getpid(), pidfd, popen.stdin, popen.stderr, scratch)


def _end(popen: subprocess.Popen[bytes]) -> None:
    popen.kill()
    popen.communicate()
