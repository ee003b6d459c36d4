"""The process that runs one plugin: limits first, then the plugin, until the engine says stop.

Started by the subprocess host with its instructions as one JSON line on standard input, which
stays open as a lifeline: when the engine is gone, so is this process.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import io
import json
import logging
import mmap
import os
import resource
import signal
import sys
import threading
from typing import Any

from casparian.adapters.host.job_note import JOB_ID, JOB_NOTE
from casparian.adapters.transport import connection_for
from casparian.domain.peers import PeerGone
from casparian.sdk.loader import load_handler
from casparian.sdk.runtime import Runtime

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
MOST_OPEN_FILES = 1024
LARGEST_FILE = 16 << 30
ENGINE_GONE = 75


def main() -> int:
    """Read the instructions, run the plugin. Exit code 0 when told to stop, ENGINE_GONE when
    the engine went away without a word."""
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        # Launched ahead of its instructions, and there came none: nobody else clears up.
        with contextlib.suppress(OSError):
            os.rmdir(os.environ["TMPDIR"])
        return ENGINE_GONE
    instructions: dict[str, Any] = json.loads(line)
    _die_with_parent(instructions["parent_pid"])
    _take_lifeline()
    _limit(instructions["memory_mb"])
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s %(message)s"
    )
    code = base64.b64decode(instructions["code"])
    name = instructions["plugin"]
    runtime = Runtime(
        connection_for(instructions["endpoint"], instructions["access"]),
        instructions["session"],
        instructions["heartbeat_s"],
        _JobNote(instructions["cpu_s"]),
        "partial: without capabilities, landlock, seccomp",
    )
    try:
        runtime.run(
            name,
            instructions["plugin_hash"],
            os.getpid(),
            lambda: load_handler(name, code),
            instructions["settings"],
        )
    except PeerGone:
        # The engine closed the connection first, as it does when it stops: no news for anybody.
        return ENGINE_GONE
    return 0


def _die_with_parent(parent: int) -> None:
    """Linux ends this process with the engine's; the check closes the race before the call."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(ENGINE_GONE)


def _take_lifeline() -> None:
    """Watch the pipe of standard input, and give the plugin an empty one."""
    lifeline = os.dup(0)
    os.set_inheritable(lifeline, False)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    # What a plugin prints is for people: it must not be lost, nor mistaken for output.
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)

    def watch() -> None:
        while os.read(lifeline, 1):
            pass
        os._exit(ENGINE_GONE)

    threading.Thread(target=watch, name="casparian-lifeline", daemon=True).start()


def _limit(memory_mb: int) -> None:
    memory = memory_mb << 20
    _set_limit(resource.RLIMIT_DATA, memory)
    _set_limit(resource.RLIMIT_CORE, 0)
    _set_limit(resource.RLIMIT_NOFILE, MOST_OPEN_FILES)
    _set_limit(resource.RLIMIT_FSIZE, LARGEST_FILE)


def _set_limit(kind: int, value: int) -> None:
    """Lower a limit; one that is already lower stays."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


class _JobNote:
    """Called before each job: notes its id where the host finds it even after a SIGKILL."""

    def __init__(self, cpu_s: int) -> None:
        self._cpu_s = cpu_s
        file = os.open(JOB_NOTE, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(file, JOB_ID.size)
        self._note = mmap.mmap(file, JOB_ID.size)
        os.close(file)

    def __call__(self, job_id: int) -> None:
        JOB_ID.pack_into(self._note, 0, job_id)
        _allow_cpu(self._cpu_s)


def _allow_cpu(seconds: int) -> None:
    """CPU time for one more job; past it the kernel sends SIGXCPU, which ends the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


if __name__ == "__main__":
    sys.exit(main())
