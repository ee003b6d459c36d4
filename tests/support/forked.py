"""The programs as real processes that have nothing to import: forked from one that has it all.

What a start costs is mostly imports, the same each time. Here they are paid for once in a test
run: a nursery imports every module, and forks for each start. The process has its own directory,
environment, standard streams, signals, and exit code. What is about the start itself (imports,
variables that Python reads) is run by `subprocess` instead. The shim of faults can be preloaded:
each process counts its own calls, from its first on.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

PROGRAMS = {"casparian": "casparian.app.cli", "casparian-engine": "casparian.app.cli.engine"}
REQUEST_BYTES = 1 << 18
INHERITED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
"""Whoever starts a program may have it ignore these."""


class Process:
    """What `subprocess.Popen` would be for it, as far as tests need."""

    def __init__(self, args: Sequence[str], pid: int, status: int) -> None:
        self.args, self.pid = list(args), pid
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            told = os.read(self._status, 16)
            os.close(self._status)
            assert told, "the nursery ended before this process did"
            self.returncode = os.waitstatus_to_exitcode(int(told))
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def start(
    program: str,
    *arguments: str,
    cwd: Path,
    stdin: int | IO[Any] = subprocess.DEVNULL,
    stdout: int | IO[Any] = subprocess.DEVNULL,
    stderr: int | IO[Any] = subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
    shim: Path | None = None,
) -> Process:
    """`casparian` or `casparian-engine` with these arguments; streams are files or DEVNULL. With
    the shim of faults preloaded, which reads the variables given here."""
    environment = dict(os.environ if env is None else env)
    request = {
        "program": program,
        "arguments": arguments,
        "cwd": str(cwd),
        "env": environment,
        "ignored": [n for n in INHERITED if signal.getsignal(n) is signal.SIG_IGN],
    }
    reading, writing = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    try:
        streams = [null if s == subprocess.DEVNULL else s for s in (stdin, stdout, stderr)]
        numbers = [s if isinstance(s, int) else s.fileno() for s in streams]
        nursery = _nursery(shim)
        socket.send_fds(nursery, [json.dumps(request).encode()], [*numbers, writing])
        pid = int(nursery.recv(16))
    finally:
        os.close(writing)
        os.close(null)
    return Process([program, *arguments], pid, reading)


def run(
    program: str, *arguments: str, cwd: Path, timeout: float = 90, **options: Any
) -> subprocess.CompletedProcess[str]:
    """The program to its end, with what it wrote."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = start(program, *arguments, cwd=cwd, stdout=out, stderr=err, **options)
        try:
            code = process.wait(timeout)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        said = [
            os.pread(s.fileno(), 1 << 26, 0).decode(errors="surrogateescape") for s in (out, err)
        ]
    return subprocess.CompletedProcess(process.args, code, *said)


@cache
def _nursery(shim: Path | None) -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-P", __file__, str(theirs.fileno())]
        environment = dict(os.environ)
        if shim is not None:
            command.append(str(shim))
            environment["LD_PRELOAD"] = str(shim)
        process = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()])

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


# --- the nursery ------------------------------------------------------------------------


def nursery(control: socket.socket, shim: str | None) -> Callable[[], None]:
    """Fork for each request, tell how each child ended. Returns, in a child, what it is to do."""
    reading, writing = os.pipe()
    for number in (reading, writing):
        os.set_blocking(number, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    running: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([control, reading], [], [])
        if reading in ready:
            os.read(reading, 1024)
        for pid in list(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                told = running.pop(pid)
                os.write(told, str(status).encode())
                os.close(told)
        if control not in ready:
            continue
        message, descriptors, _, _ = socket.recv_fds(control, REQUEST_BYTES, 4)
        if not message:
            sys.exit(0)
        *streams, told = descriptors
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            for number in (reading, writing, told, *running.values()):
                os.close(number)
            return _become(json.loads(message), streams, shim)
        running[pid] = told
        for number in streams:
            os.close(number)
        control.send(str(pid).encode())


def _become(
    request: dict[str, Any], streams: Sequence[int], shim: str | None
) -> Callable[[], None]:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(  # noqa: SIM115
        2, "w", buffering=1, errors="backslashreplace", closefd=False
    )
    for number in INHERITED:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else usual)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv = [request["program"], *request["arguments"]]
    main: Callable[[], None] = importlib.import_module(PROGRAMS[request["program"]]).main
    if shim is not None:
        ctypes.CDLL(shim).count_from_here()
    return main


def import_everything() -> None:
    import casparian

    for module in pkgutil.walk_packages(casparian.__path__, "casparian."):
        left_out = ("migrations", "__main__", "casparian.testing", "casparian.app.sidecar")
        if not any(word in module.name for word in left_out):
            importlib.import_module(module.name)
    # Else the first collection in each child would copy the pages of all that is here.
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    import_everything()
    do = nursery(socket.socket(fileno=int(sys.argv[1])), sys.argv[2] if sys.argv[2:] else None)
    do()
