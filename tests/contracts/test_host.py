"""Every plugin host of this project against the contract, and what is each one's own."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from casparian.adapters.host import forking, launch, output
from casparian.adapters.host import subprocess as subprocess_host
from casparian.adapters.host.forking import ForkServer
from casparian.adapters.host.inline import InlineHost
from casparian.adapters.host.subprocess import SubprocessHost
from casparian.adapters.transport import connection_for
from casparian.adapters.transport.memory import MemoryTransport
from casparian.adapters.transport.zmq_ipc import ZmqIpcTransport
from casparian.domain.errors import ConfigurationError, ErrorClass
from casparian.domain.instructions import FailJob, FinishJob
from casparian.domain.plugins import LivePlugin, PluginConfig
from casparian.domain.ports import PluginHost, SidecarSpec, Transport
from casparian.domain.sandbox import Grants
from casparian.testing.host import PluginHostContract, ProcessHostContract, state_of
from casparian.testing.host_loop import Loop, OpenHost
from tests.support.project import wait_for

ANEW = (sys.executable, "-B", *launch.COMMAND[1:])
ENGINE = """
import functools, sys
from pathlib import Path
from casparian.adapters.host.subprocess import SubprocessHost
from casparian.adapters.transport.zmq_ipc import ZmqIpcTransport
from casparian.testing.host import engine_with_a_sidecar

host = functools.partial(SubprocessHost, command=sys.argv[3:])
engine_with_a_sidecar(ZmqIpcTransport(sys.argv[1]), host, Path(sys.argv[2]))
"""


class TestSubprocess(ProcessHostContract):
    command: Sequence[str] = launch.COMMAND

    @pytest.fixture
    def open_host(self) -> OpenHost:
        return partial(SubprocessHost, command=self.command)

    @pytest.fixture
    def transport(self, short_dir: Path) -> Transport:
        return ZmqIpcTransport(str(short_dir / "r.ipc"))

    @pytest.fixture
    def start_engine(self, short_dir: Path) -> Callable[[Path], subprocess.Popen[str]]:
        def start(directory: Path) -> subprocess.Popen[str]:
            socket = str(short_dir / "engine.ipc")
            return subprocess.Popen(
                [sys.executable, "-c", ENGINE, socket, str(directory), *self.command],
                stdout=subprocess.PIPE,
                text=True,
            )

        return start

    def test_what_it_says_is_logged_line_by_line(
        self, loop: Loop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lines: list[str] = []

        class Log:
            def info(self, event: str, plugin: str, line: str) -> None:
                assert (event, plugin) == ("plugin output", "tested")
                lines.append(line)

        monkeypatch.setattr(output, "log", Log())
        code = b"""
import os
from casparian.sdk import BasePlugin
class Handler(BasePlugin):
    def execute(self, file_path):
        print("a first line")
        print("x" * 5000)
        os.write(2, b"caf\\xe9\\nthe last one, without an end")
"""
        loop.configure(code)
        loop.run("any.csv")
        loop.perform(loop.router.stop()[0])
        loop.until(lambda: loop.exits)
        assert [line for line in lines if "x" not in line] == [
            "a first line",
            "caf\N{REPLACEMENT CHARACTER}",
            "the last one, without an end",
        ]
        assert "".join(line for line in lines if "x" in line) == "x" * 5000


class HeldLoop(Loop):
    """Its host's thread waits in the first exit that it tells until it is let go."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self.go_on = threading.Event()
        super().__init__(*arguments, **more)

    def _on_exit(self) -> None:
        super()._on_exit()
        assert self.go_on.wait(60)


def test_an_end_is_seen_together_with_the_end_of_what_it_said(
    tmp_path: Path, short_dir: Path
) -> None:
    """First the sidecar ends, then who shares its standard error, and then the host looks."""
    transport = ZmqIpcTransport(str(short_dir / "r.ipc"))
    loop = HeldLoop(transport, SubprocessHost, tmp_path, sidecars=2)
    try:
        loop.configure(grants=Grants(allow_subprocess=True))
        _, first = loop.started("wait.csv")
        _, second = loop.started("children.csv")
        os.kill(first["pid"], signal.SIGKILL)
        assert loop.told.wait(60)
        for pid in (second["pid"], second["child"]):
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda pid=pid: state_of(pid) is None)
        loop.go_on.set()
        loop.until(lambda: len(loop.exits) == 2)
        (after,) = loop.run("lines.csv")
        assert isinstance(after, FinishJob)
    finally:
        loop.go_on.set()
        loop.close()


class TestStartedAnew(TestSubprocess):
    """By another command, as by another interpreter, nothing can be forked."""

    command: Sequence[str] = ANEW


class TestForkServer:
    """What sidecars are forked from."""

    @pytest.fixture
    def loop(self, tmp_path: Path, short_dir: Path) -> Iterator[Loop]:
        loop = Loop(ZmqIpcTransport(str(short_dir / "r.ipc")), SubprocessHost, tmp_path)
        yield loop
        loop.close()

    @pytest.fixture
    def ahead(self) -> Iterator[ForkServer]:
        forking.start_ahead(2)
        (server,) = forking._ahead
        yield server
        forking.discard_ahead()
        assert server.gone
        assert not Path(server._scratch.path).exists()

    def test_sidecars_are_its_children_and_are_called_sidecars(self, loop: Loop) -> None:
        loop.configure()
        _, row = loop.started("wait.csv")
        server = server_of(loop)._popen.pid
        stat = Path(f"/proc/{row['pid']}/stat").read_text()
        assert int(stat.rpartition(")")[2].split()[1]) == server
        command = Path(f"/proc/{row['pid']}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        assert command == [os.fsencode(part) for part in launch.COMMAND]

    def test_it_ends_with_its_host(self, loop: Loop) -> None:
        loop.configure()
        loop.run("lines.csv")
        server = server_of(loop)
        loop.host.close()
        assert server.gone
        assert not Path(server._scratch.path).exists()

    def test_where_it_is_killed_its_sidecars_are_and_another_one_comes(self, loop: Loop) -> None:
        loop.configure()
        loop.started("wait.csv")
        server = server_of(loop)
        os.kill(server._popen.pid, signal.SIGKILL)
        loop.until(lambda: loop.ends)
        assert [e.code for e in loop.exits] == [-signal.SIGKILL]
        (failed,) = loop.ends.values()
        assert isinstance(failed, FailJob)
        assert failed.error_class is ErrorClass.CRASH
        for _ in range(2):
            (after,) = loop.run("lines.csv")
            assert isinstance(after, FinishJob)
        assert server_of(loop) is not server

    def test_where_it_cannot_be_had_sidecars_are_started_anew(
        self, loop: Loop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = (sys.executable, "-c", "import sys; sys.exit('a thread was started')")
        monkeypatch.setattr(forking, "COMMAND", broken)
        warned: list[str] = []

        class Log:
            def warning(self, event: str, reason: str) -> None:
                assert event == "a sidecar is started anew, not forked"
                warned.append(reason)

        monkeypatch.setattr(subprocess_host, "log", Log())
        loop.configure()
        (done,) = loop.run("lines.csv")
        assert isinstance(done, FinishJob)
        (reason,) = warned
        assert reason == "the fork server ended, exit code 1. a thread was started"

    def test_what_it_cannot_fork_is_an_exit(self, loop: Loop) -> None:
        """And leaves nothing behind: the next one is forked."""
        loop.configure()
        loop.run("lines.csv")
        pid = server_of(loop)._popen.pid
        opened = len(os.listdir(f"/proc/{pid}/fd"))
        usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        # Room for what it is sent, and not for the handle of what it forks.
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (opened + 2, usual[1]))
        spec = loop.specs[0]
        loop.host.start(replace(spec, session="another"))
        loop.until(lambda: loop.exits)
        (exit_,) = loop.exits
        assert (exit_.session, exit_.code) == ("another", 127)
        assert exit_.tail.endswith("Too many open files")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, usual)
        assert len(os.listdir(f"/proc/{pid}/fd")) == opened
        loop.host.kill(spec.session)
        loop.until(lambda: len(loop.exits) == 2)
        (done,) = loop.run("lines.csv")
        assert isinstance(done, FinishJob)
        assert server_of(loop)._popen.pid == pid

    def test_a_sidecar_holds_what_one_that_is_started_anew_does(
        self, loop: Loop, tmp_path: Path, short_dir: Path
    ) -> None:
        """Descriptors, by kind, and variables."""
        transport = ZmqIpcTransport(str(short_dir / "anew.ipc"))
        anew = Loop(transport, lambda told: SubprocessHost(told, command=ANEW), tmp_path)
        held = []
        try:
            for one in (loop, anew):
                one.configure()
                one.run("surroundings.csv")
                (seen,) = one.rows(1)
                # Sockets, pipes and the like have numbers of their own.
                kinds = Counter(re.sub(r"\d+|casparian-sidecar-\w+", "", p) for p in seen["open"])
                held.append((kinds, seen["environment"]))
        finally:
            anew.close()
        assert held[0] == held[1]

    def test_chance_differs_from_sidecar_to_sidecar(self, tmp_path: Path, short_dir: Path) -> None:
        code = b"""
import os, random, time, uuid
import numpy
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        self.publish("rows", [{"pid": os.getpid(), "drawn": [
            str(random.random()), str(numpy.random.random()), str(uuid.uuid4())
        ]}])
        while not os.path.exists(self.config["go"]):
            time.sleep(0.01)
"""
        loop = Loop(ZmqIpcTransport(str(short_dir / "r.ipc")), SubprocessHost, tmp_path, sidecars=2)
        try:
            loop.configure(code)
            numbers = loop.offer("a.csv", "b.csv")
            loop.until(lambda: all(loop.rows(number) for number in numbers))
            one, other = (loop.rows(number)[0] for number in numbers)
            assert one["pid"] != other["pid"]
            assert len({*one["drawn"], *other["drawn"]}) == 6
        finally:
            loop.close()

    def test_the_host_takes_the_one_that_was_started_ahead(
        self, ahead: ForkServer, loop: Loop
    ) -> None:
        loop.configure()
        loop.run("lines.csv")
        assert server_of(loop) is ahead
        loop.host.close()

    def test_one_with_another_environment_is_not_what_was_asked_for(
        self, ahead: ForkServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TZ", "Asia/Kathmandu")
        assert forking.take_ahead(launch.environment(2)) is None

    def test_one_that_has_ended_is_not_taken(self, ahead: ForkServer) -> None:
        ahead._popen.kill()
        ahead._popen.wait()
        assert forking.take_ahead(launch.environment(2)) is None

    def test_it_ends_when_nobody_can_ask_it_any_more(self, ahead: ForkServer) -> None:
        ahead._door.close()
        assert ahead._popen.wait(60) == 0


def server_of(loop: Loop) -> ForkServer:
    server: ForkServer = loop.host._fork_server  # type: ignore[attr-defined]
    return server


def test_what_ends_the_hosts_thread_is_told_to_who_asks(
    tmp_path: Path, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine whose sidecars nobody watches must not go on as if there were none to watch."""

    def broken(scratch: str) -> int:
        raise RuntimeError("a mistake of the host's")

    monkeypatch.setattr(subprocess_host, "_noted_job", broken)
    loop = Loop(ZmqIpcTransport(str(short_dir / "r.ipc")), SubprocessHost, tmp_path, sidecars=2)
    try:
        loop.configure()
        _, first = loop.started("wait.csv")
        _, second = loop.started("wait.csv")
        os.kill(first["pid"], signal.SIGKILL)
        with pytest.raises(RuntimeError, match="a mistake of the host's"):
            loop.until(lambda: loop.ends)
        wait_for(lambda: state_of(second["pid"]) is None)
    finally:
        loop.close()


def test_a_system_without_handles_of_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    with pytest.raises(ConfigurationError, match="needs handles of processes"):
        SubprocessHost(lambda: None)


def test_a_program_that_is_not_there_is_an_exit() -> None:
    """Promise 1."""
    told = threading.Event()
    host = SubprocessHost(told.set, command=["/nowhere/python"])
    try:
        plugin = LivePlugin(PluginConfig("tested", frozenset()), "h")
        host.start(SidecarSpec("secret", plugin, b"", "ipc:///nowhere", 1))
        assert told.wait(20)
        (exit_,) = host.exits()
        assert exit_.code == 127
        assert "/nowhere/python" in exit_.tail
    finally:
        host.close()


class TestInline(PluginHostContract):
    """Threads of the engine: promises 3 to 5 are those of a process, and not this host's. Its
    `kill` gives a sidecar up, and says so; the thread of a plugin that hangs is left."""

    @pytest.fixture
    def open_host(self) -> OpenHost:
        return lambda on_exit: InlineHost(on_exit, connection_for)

    @pytest.fixture
    def transport(self, tmp_path: Path) -> Transport:
        return MemoryTransport(str(tmp_path))


class TestInlineOverZmq(TestInline):
    @pytest.fixture
    def transport(self, short_dir: Path) -> Transport:
        return ZmqIpcTransport(str(short_dir / "r.ipc"))


def test_every_host_is_one() -> None:
    """For the type checker, which compares the signatures."""
    hosts: list[PluginHost] = [
        SubprocessHost(lambda: None),
        InlineHost(lambda: None, connection_for),
    ]
    for host in hosts:
        host.close()
