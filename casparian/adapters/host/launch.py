"""A sidecar's process as it begins: it loads what every plugin needs and reads its instructions.

One may be launched before it is known what it is for, so that it loads while the engine does; the
first host of this process that would launch the same takes it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

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


@dataclass(slots=True)
class Launched:
    """A process that waits for its instructions. `scratch` is its directory, to be removed when
    it has ended."""

    popen: subprocess.Popen[bytes]
    stdin: IO[bytes]
    stderr: IO[bytes]
    scratch: Scratch

    def discard(self) -> None:
        """End one that was given no instructions."""
        if self.popen.poll() is None:
            os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()
        self.stdin.close()
        self.stderr.close()
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


def launch(command: Sequence[str], variables: Mapping[str, str]) -> Launched:
    """Raises OSError. The kernel ends the process when the thread that calls this is gone."""
    scratch = Scratch()
    try:
        popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**variables, "HOME": scratch.path, "TMPDIR": scratch.path},
            cwd=scratch.path,
            close_fds=True,
            start_new_session=True,
        )
    except OSError:
        scratch.remove()
        raise
    assert popen.stdin is not None
    assert popen.stderr is not None
    return Launched(popen, popen.stdin, popen.stderr, scratch)


# --- before it is known what for --------------------------------------------------------------

_lock = threading.Lock()
_ahead: list[tuple[tuple[str, ...], dict[str, str], Launched]] = []


def launch_ahead(sidecars: int) -> None:
    """Launch one for the host to come. To be called by the main thread: it must not end first."""
    variables = environment(sidecars)
    with suppress(OSError):  # The host will meet the same, and report it.
        launched = launch(COMMAND, variables)
        with _lock:
            _ahead.append((COMMAND, variables, launched))


def take_ahead(command: Sequence[str], variables: Mapping[str, str]) -> Launched | None:
    """One that was launched ahead, lives, and is what `launch` would make; it is the caller's."""
    with _lock:
        for entry in _ahead:
            if entry[:2] == (tuple(command), variables) and entry[2].popen.poll() is None:
                _ahead.remove(entry)
                return entry[2]
    return None


def discard_ahead() -> None:
    """End what nobody took."""
    with _lock:
        entries, _ahead[:] = _ahead[:], []
    for _, _, launched in entries:
        launched.discard()
