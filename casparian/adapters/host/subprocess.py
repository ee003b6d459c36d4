"""Each sidecar a process of its own: cleared environment, own process group, watched by handle.

Those that run by the engine's interpreter are forked from one process; others, and all where that
cannot be had, are started anew. One thread starts, watches and ends them all. It lives as long as
the host, which matters: the kernel ends a process when the *thread* that started it is gone.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import platform
import queue
import selectors
import signal
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

import structlog

from casparian.adapters.host import launch
from casparian.adapters.host.forking import ForkServer, ForkServerGoneError, take_ahead
from casparian.adapters.host.job_note import JOB_ID, JOB_NOTE
from casparian.adapters.host.launch import Launched
from casparian.adapters.host.output import TAIL_BYTES, Output
from casparian.adapters.host.sandbox.layers import Mode
from casparian.adapters.host.scratch import sweep
from casparian.domain.errors import ConfigurationError
from casparian.domain.ports import SidecarExit, SidecarSpec, not_started

OUT_OF_MEMORY_SIGNS = (b"MemoryError", b"ArrowMemoryError", b"bad_alloc", b"start new thread")

log = structlog.get_logger("casparian.host")


@dataclass(slots=True)
class _Process:
    spec: SidecarSpec
    launched: Launched
    output: Output
    killed: bool = False

    @property
    def stderr(self) -> IO[bytes]:
        return self.launched.stderr


class SubprocessHost:
    """The `subprocess` plugin host.

    `on_exit` is called, from the host's thread, as soon as a sidecar has ended. `environment`
    names the variables of the engine that sidecars may see; by default the time zone alone.
    `sandbox` says whether its layers are put on, and whether one may be missing.
    """

    def __init__(
        self,
        on_exit: Callable[[], None],
        sidecars: int = 2,
        environment: Sequence[str] = launch.SEEN,
        command: Sequence[str] = launch.COMMAND,
        sandbox: Mode = "auto",
    ) -> None:
        if not (hasattr(os, "pidfd_open") and hasattr(os, "eventfd")):
            raise ConfigurationError(
                'plugin_host.adapter = "subprocess" needs handles of processes (pidfd_open) and '
                f"eventfd, as Linux 5.3 and newer have; this is {platform.system()}. Run the "
                'engine on Linux, or try a plugin out with plugin_host.adapter = "inline" and '
                'transport.adapter = "memory".'
            )
        if sandbox == "required":
            # Not loaded by those who do not ask.
            from casparian.adapters.host.sandbox.trial import missing_layers, refuse_missing

            refuse_missing(missing_layers())
        self._on_exit = on_exit
        self._command = list(command)
        self._sandbox = sandbox
        self._environment = launch.environment(sidecars, environment)
        self._orders: queue.SimpleQueue[SidecarSpec | str | None] = queue.SimpleQueue()
        self._exits: queue.SimpleQueue[SidecarExit] = queue.SimpleQueue()
        self._processes: dict[str, _Process] = {}
        self._fork_server: ForkServer | None = None
        self._selector = selectors.DefaultSelector()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closed = False
        self._failure: Exception | None = None
        threading.Thread(target=sweep, name="casparian-scratch", daemon=True).start()
        self._thread = threading.Thread(target=self._serve, name="casparian-host", daemon=True)
        self._thread.start()

    # --- any thread -----------------------------------------------------------------------

    def start(self, spec: SidecarSpec) -> None:
        self._order(spec)

    def kill(self, session: str) -> None:
        self._order(session)

    def exits(self) -> list[SidecarExit]:
        """Raises what ended the host's thread: then nobody watches sidecars any more."""
        if self._failure is not None:
            raise self._failure
        ended = []
        with contextlib.suppress(queue.Empty):
            while True:
                ended.append(self._exits.get_nowait())
        return ended

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._order(None)
            self._thread.join()
            os.close(self._wake_fd)

    def _order(self, order: SidecarSpec | str | None) -> None:
        self._orders.put(order)
        os.eventfd_write(self._wake_fd, 1)

    # --- the host's thread ----------------------------------------------------------------

    def _serve(self) -> None:
        try:
            self._watch()
        except Exception as error:
            log.exception("the plugin host stopped, and its sidecars with it")
            self._failure = error
            self._on_exit()
            for process in self._processes.values():
                self._kill(process)
                process.launched.process.wait()
                process.launched.release()
        finally:
            self._selector.close()
            self._end_fork_server()

    def _watch(self) -> None:
        self._selector.register(self._wake_fd, selectors.EVENT_READ, None)
        ending = False
        while not ending or self._processes:
            for key, _ in self._selector.select():
                if key.data is None:
                    os.eventfd_read(self._wake_fd)
                    ending = self._obey() or ending
                else:
                    process, source = key.data
                    if process.spec.session not in self._processes:
                        continue  # It ended by an event of this same round.
                    if source == "stderr":
                        self._read_stderr(process)
                    else:
                        self._ended(process)

    def _obey(self) -> bool:
        """Carry out what was ordered; True when told to close."""
        closing = False
        with contextlib.suppress(queue.Empty):
            while True:
                order = self._orders.get_nowait()
                if order is None:
                    closing = True
                    for process in self._processes.values():
                        self._kill(process)
                elif isinstance(order, SidecarSpec):
                    if closing:
                        self._exits.put(SidecarExit(order.session, 0, "the host is closing"))
                    else:
                        self._start(order)
                elif order in self._processes:
                    self._kill(self._processes[order])
        return closing

    def _start(self, spec: SidecarSpec) -> None:
        try:
            launched = self._launch(spec)
        except OSError as error:
            self._report(not_started(spec.session, error))
            return
        os.set_blocking(launched.stderr.fileno(), False)
        process = _Process(spec, launched, Output(spec.plugin.name))
        self._processes[spec.session] = process
        self._selector.register(launched.pidfd, selectors.EVENT_READ, (process, "pidfd"))
        self._selector.register(process.stderr, selectors.EVENT_READ, (process, "stderr"))
        # A sidecar that dies before reading is seen through its handle. The pipe stays open.
        with contextlib.suppress(BrokenPipeError):
            launched.stdin.write(_instructions(spec, self._sandbox, launched.parent_pid))
            launched.stdin.flush()

    def _launch(self, spec: SidecarSpec) -> Launched:
        """Raises OSError."""
        if spec.python:
            return launch.launch([spec.python, *self._command[1:]], self._environment)
        if self._command == list(launch.COMMAND):
            try:
                return self._forking().launch()
            except ForkServerGoneError as error:
                log.warning("a sidecar is started anew, not forked", reason=str(error))
                self._end_fork_server()
        return launch.launch(self._command, self._environment)

    def _forking(self) -> ForkServer:
        if self._fork_server is None:
            self._fork_server = take_ahead(self._environment) or ForkServer(self._environment)
        return self._fork_server

    def _end_fork_server(self) -> None:
        if self._fork_server is not None:
            self._fork_server.close()
            self._fork_server = None

    def _kill(self, process: _Process) -> None:
        process.killed = True
        _kill_group(process.launched.process.pid)
        # One that was forked a moment ago may have no group yet.
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process.launched.pidfd, signal.SIGKILL)

    def _read_stderr(self, process: _Process) -> None:
        try:
            data = os.read(process.stderr.fileno(), 65536)
        except BlockingIOError:
            return
        if not data:
            self._selector.unregister(process.stderr)
            return
        process.output.take(data)

    def _ended(self, process: _Process) -> None:
        self._read_rest(process)
        process.output.finish()
        # What the plugin started in its process group ends with it.
        _kill_group(process.launched.process.pid)
        code = process.launched.process.wait()
        job_id = _noted_job(process.launched.scratch.path)
        self._selector.unregister(process.launched.pidfd)
        del self._processes[process.spec.session]
        process.launched.release()
        tail = process.output.tail
        # SIGABRT is how Arrow and C++ end on a failed allocation.
        memory = not process.killed and (
            code == -signal.SIGABRT or (code > 0 and any(s in tail for s in OUT_OF_MEMORY_SIGNS))
        )
        self._report(
            SidecarExit(
                process.spec.session,
                code,
                tail.decode("utf-8", "replace"),
                out_of_memory=memory,
                cpu_exceeded=code == -signal.SIGXCPU,
                job_id=job_id,
            )
        )

    def _read_rest(self, process: _Process) -> None:
        while process.stderr in (k.fileobj for k in self._selector.get_map().values()):
            before = len(process.output.tail)
            self._read_stderr(process)
            if len(process.output.tail) in (before, TAIL_BYTES):
                break
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(process.stderr)

    def _report(self, exit_: SidecarExit) -> None:
        self._exits.put(exit_)
        self._on_exit()


def _noted_job(scratch: str) -> int | None:
    """The last job that a sidecar began; 0 when it began none, None where it left no note."""
    try:
        with open(os.path.join(scratch, JOB_NOTE), "rb") as note:
            return int(JOB_ID.unpack(note.read(JOB_ID.size))[0])
    except (OSError, struct.error):
        return None


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _instructions(spec: SidecarSpec, mode: Mode, parent_pid: int) -> bytes:
    config = spec.plugin.config
    text = json.dumps(
        {
            "parent_pid": parent_pid,
            "session": spec.session,
            "plugin": config.plugin,
            "plugin_hash": spec.plugin.content_hash,
            "code": base64.b64encode(spec.code).decode("ascii"),
            "settings": dict(config.settings),
            "endpoint": spec.endpoint,
            "access": dict(spec.access),
            "heartbeat_s": spec.heartbeat_s,
            "memory_mb": config.memory_mb,
            "cpu_s": config.cpu_s,
            "sandbox": {"mode": mode, "read": spec.readable, "grants": config.grants.to_json()},
        }
    )
    return text.encode("ascii") + b"\n"
