"""Sidecars that are forked from a process which has loaded what each of them needs.

This is the engine's side: the fork server is asked for a process, and later how that ended. It is
their parent, so they end with it, and it ends with the engine. It is told nothing but descriptors
and the name of a directory: what a sidecar is to do goes to the sidecar alone.

The server may be started before the engine itself is loaded; the first host of this process that
would start the same takes it.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from casparian.adapters.host.launch import Launched, begin, environment
from casparian.adapters.host.scratch import Scratch

COMMAND = (sys.executable, "-I", "-m", "casparian.app.fork_server")
# A request with descriptors asks for a process: the directory it is to be in, and what are to be
# its standard input and its standard error. One without names a process that has ended.
PID = struct.Struct("!i")
# The number of an error, or 0; a pid, which comes with its handle, or how the process ended.
ANSWER = struct.Struct("!ii")
LONGEST_REQUEST = 4096
# It answers within milliseconds, but for the first time, when it has to be loaded.
PATIENCE_S = 60.0
LAST_WORDS = 8192


class ForkServerGoneError(OSError):
    """It ended, and so has all that it forked. The text has its last words."""


@dataclass(frozen=True, slots=True)
class Forked:
    """One that was forked: its parent says how it ended."""

    server: ForkServer
    pid: int

    def wait(self) -> int:
        try:
            return self.server.wait_for(self.pid)
        except OSError:
            # Whatever it was, the server cannot be trusted with the others any more.
            self.server.end()
            return -signal.SIGKILL


class ForkServer:
    """See the module. Of one thread at a time."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        """Raises OSError. The kernel ends the server when the thread that calls this is gone."""
        self.variables = dict(variables)
        with ExitStack() as undo:
            self._scratch = Scratch()
            undo.callback(self._scratch.remove)
            self._door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(self._door.close)
            with theirs:
                self._popen = begin(COMMAND, variables, self._scratch, theirs.fileno())
            undo.pop_all()
        self._door.settimeout(PATIENCE_S)

    @property
    def gone(self) -> bool:
        return self._popen.poll() is not None

    def launch(self) -> Launched:
        """A sidecar's process. Raises OSError, of which ForkServerGoneError is one."""
        with ExitStack() as undo:
            scratch = Scratch()
            undo.callback(scratch.remove)
            reading, writing = os.pipe()
            stdin = undo.enter_context(os.fdopen(writing, "wb"))
            with ExitStack() as theirs:
                theirs.callback(os.close, reading)
                said, saying = os.pipe()
                theirs.callback(os.close, saying)
                stderr = undo.enter_context(os.fdopen(said, "rb", buffering=0))
                pid, handles = self._ask(os.fsencode(scratch.path), reading, saying)
            if not handles:
                # Nobody else ends it, or takes its pid: it has not been waited for.
                os.kill(pid, signal.SIGKILL)
                self.wait_for(pid)
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            undo.pop_all()
        return Launched(Forked(self, pid), self._popen.pid, handles[0], stdin, stderr, scratch)

    def wait_for(self, pid: int) -> int:
        """How one ended that has: exit code, or minus the signal. Raises ForkServerGoneError."""
        return self._ask(PID.pack(pid))[0]

    def _ask(self, request: bytes, *descriptors: int) -> tuple[int, list[int]]:
        try:
            socket.send_fds(self._door, [request], descriptors)
            answer, handles, _, _ = socket.recv_fds(
                self._door, ANSWER.size, 1, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError as error:
            raise self._gone("ended") from error
        except TimeoutError as error:
            raise self._gone(f"did not answer for {PATIENCE_S:g} s") from error
        if not answer:
            raise self._gone("ended")
        number, value = ANSWER.unpack(answer)
        if number:
            raise OSError(number, os.strerror(number))
        return value, handles

    def _gone(self, what: str) -> ForkServerGoneError:
        code = self.end()
        assert self._popen.stderr is not None
        # The pipe has no end where one that was forked just now has it still.
        os.set_blocking(self._popen.stderr.fileno(), False)
        said = (self._popen.stderr.read() or b"")[-LAST_WORDS:].decode("utf-8", "replace").strip()
        return ForkServerGoneError(f"the fork server {what}, exit code {code}. {said}".rstrip())

    def end(self) -> int:
        """And with it what it has forked; its exit code."""
        self._popen.kill()
        return self._popen.wait()

    def close(self) -> None:
        """End it, and remove what is left of it. What it forked may be waited for still."""
        self.end()
        self._door.close()
        assert self._popen.stderr is not None
        self._popen.stderr.close()
        self._scratch.remove()


# --- before there is a host -------------------------------------------------------------------

_lock = threading.Lock()
_ahead: list[ForkServer] = []


def start_ahead(sidecars: int) -> None:
    """Start one for the host to come. To be called by the main thread: it must not end first."""
    with suppress(OSError):  # The host will meet the same, and report it.
        server = ForkServer(environment(sidecars))
        with _lock:
            _ahead.append(server)


def take_ahead(variables: Mapping[str, str]) -> ForkServer | None:
    """One that was started ahead with these variables, and lives; it is the caller's."""
    with _lock:
        for server in _ahead:
            if server.variables == variables and not server.gone:
                _ahead.remove(server)
                return server
    return None


def discard_ahead() -> None:
    """End what nobody took."""
    with _lock:
        servers, _ahead[:] = _ahead[:], []
    for server in servers:
        server.close()
