"""Every plugin host of this project against the contract, and what is each one's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casparian.adapters.host import launch
from casparian.adapters.host import subprocess as subprocess_host
from casparian.adapters.host.inline import InlineHost
from casparian.adapters.host.launch import Launched
from casparian.adapters.host.subprocess import SubprocessHost
from casparian.adapters.transport import connection_for
from casparian.adapters.transport.memory import MemoryTransport
from casparian.adapters.transport.zmq_ipc import ZmqIpcTransport
from casparian.app.sidecar import ENGINE_GONE
from casparian.domain.errors import ConfigurationError
from casparian.domain.plugins import LivePlugin, PluginConfig
from casparian.domain.ports import PluginHost, SidecarSpec, Transport
from casparian.testing.host import Loop, OpenHost, PluginHostContract, ProcessHostContract

ENGINE = """
import sys
from pathlib import Path
from casparian.adapters.host.subprocess import SubprocessHost
from casparian.adapters.transport.zmq_ipc import ZmqIpcTransport
from casparian.testing.host import engine_with_a_sidecar

engine_with_a_sidecar(ZmqIpcTransport(sys.argv[1]), SubprocessHost, Path(sys.argv[2]))
"""


@pytest.fixture
def short_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sockets have short paths; pytest's own directories are named after tests."""
    return tmp_path_factory.mktemp("s")


class TestSubprocess(ProcessHostContract):
    @pytest.fixture
    def open_host(self) -> OpenHost:
        return SubprocessHost

    @pytest.fixture
    def transport(self, short_dir: Path) -> Transport:
        return ZmqIpcTransport(str(short_dir / "r.ipc"))

    @pytest.fixture
    def start_engine(self, short_dir: Path) -> Callable[[Path], subprocess.Popen[str]]:
        def start(directory: Path) -> subprocess.Popen[str]:
            socket = str(short_dir / "engine.ipc")
            return subprocess.Popen(
                [sys.executable, "-c", ENGINE, socket, str(directory)],
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

        monkeypatch.setattr(subprocess_host, "log", Log())
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


class TestLaunchedAhead:
    """A process that was launched before it was known what for."""

    @pytest.fixture
    def launched(self) -> Iterator[Launched]:
        launch.launch_ahead(2)
        ((_, _, launched),) = launch._ahead
        yield launched
        launch.discard_ahead()
        assert not Path(launched.scratch.path).exists()

    def test_the_host_takes_it(self, launched: Launched, tmp_path: Path, short_dir: Path) -> None:
        loop = Loop(ZmqIpcTransport(str(short_dir / "r.ipc")), SubprocessHost, tmp_path)
        try:
            loop.configure()
            loop.run("any.csv")
            assert launch.take_ahead(launch.COMMAND, launch.environment(2)) is None
            (process,) = loop.host._processes.values()  # type: ignore[attr-defined]
            assert process.launched is launched
        finally:
            loop.close()

    def test_one_with_another_environment_is_not_what_was_asked_for(
        self, launched: Launched, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert launch.take_ahead([*launch.COMMAND, "more"], launch.environment(2)) is None
        monkeypatch.setenv("TZ", "Asia/Kathmandu")
        assert launch.take_ahead(launch.COMMAND, launch.environment(2)) is None

    def test_one_that_nobody_took_ends(self, launched: Launched) -> None:
        launch.discard_ahead()
        assert launched.popen.returncode == -signal.SIGKILL

    def test_it_ends_with_an_engine_that_never_instructed_it(self, launched: Launched) -> None:
        launched.stdin.close()
        assert launched.popen.wait(60) == ENGINE_GONE
        assert launched.stderr.read() == b""
        assert not Path(launched.scratch.path).exists()
        assert launch.take_ahead(launch.COMMAND, launch.environment(2)) is None


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
