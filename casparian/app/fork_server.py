"""The process that sidecars are forked from: it has loaded what every plugin needs, and has one
thread.

Loading takes ten times as long as all else that a sidecar does before its plugin's code runs. What
is forked goes on as a sidecar that was started: the sandbox, its instructions, all is its own. The
server itself runs no plugin's code and holds no secret. Standard input is its socket, by which the
engine asks (`adapters/host/forking.py`); when that is closed it ends, as when the engine does.
"""

from __future__ import annotations

import errno
import gc
import importlib
import os
import signal
import socket
import sys

from casparian.adapters.host.forking import ANSWER, COMMAND, LONGEST_REQUEST, PID
from casparian.adapters.host.sandbox.layers import THREADS
from casparian.adapters.host.sandbox.parent import die_with_parent
from casparian.adapters.host.sandbox.reading import interpreter_paths
from casparian.adapters.host.title import rename

SIDECAR = "casparian.app.sidecar"
# What a sidecar would load when it comes to it.
LATER = (
    "casparian.adapters.transport.ipc_connection",
    "casparian.adapters.transport.tcp_connection",
    "encodings.utf_8_sig",
)


def main() -> int:
    """Serves until the engine is gone; in what was forked it is the sidecar, and returns its exit
    code."""
    die_with_parent()
    # What is loaded stays: looking through it for garbage is a fifth of the time to load it.
    gc.disable()
    run_sidecar = importlib.import_module(SIDECAR).main
    for name in LATER:
        importlib.import_module(name)
    interpreter_paths()
    # Memory that the collector does not write to stays shared.
    gc.freeze()
    gc.enable()
    threads = len(os.listdir(THREADS))
    if threads > 1:
        # What they hold at the moment of a fork would be held for ever in what was forked.
        print(f"{threads - 1} threads were started by what was loaded", file=sys.stderr)
        return 1
    door = socket.socket(fileno=sys.stdin.fileno())
    while True:
        request, descriptors, _, _ = socket.recv_fds(door, LONGEST_REQUEST, 2)
        if not request:
            return 0
        if not descriptors:
            _tell_end(door, *PID.unpack(request))
        elif _fork(door, descriptors):
            _become_sidecar(os.fsdecode(request), door, *descriptors)
            return int(run_sidecar())


def _fork(door: socket.socket, descriptors: list[int]) -> bool:
    """Answer with what was forked; True in that."""
    try:
        pid = os.fork()
        if not pid:
            return True
        _hand_over(door, pid)
    except OSError as error:
        door.send(ANSWER.pack(error.errno or errno.EIO, 0))
    for descriptor in descriptors:
        os.close(descriptor)
    return False


def _hand_over(door: socket.socket, pid: int) -> None:
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    socket.send_fds(door, [ANSWER.pack(0, pid)], [handle])
    os.close(handle)


def _tell_end(door: socket.socket, pid: int) -> None:
    """Only now is the pid free for others: the engine has done with it."""
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError as error:
        door.send(ANSWER.pack(error.errno, 0))
    else:
        door.send(ANSWER.pack(0, os.waitstatus_to_exitcode(status)))


def _become_sidecar(directory: str, door: socket.socket, stdin: int, stderr: int) -> None:
    """From what was forked to what a sidecar is when it is started: its own group, directory and
    streams, and nothing of the server's."""
    os.setsid()
    os.dup2(stderr, 2)
    door.detach()
    os.dup2(stdin, 0)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(directory)
    os.environ["HOME"] = os.environ["TMPDIR"] = directory
    rename(COMMAND[-1], SIDECAR)


if __name__ == "__main__":
    sys.exit(main())
