"""The systemd unit says what is so: the engine is started as there, tells its manager, and ends."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import Project

UNIT = Path(__file__).parents[2] / "deploy" / "casparian-engine.service"


@pytest.fixture
def service() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT)
    return parser["Service"]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(60)
        yield listening


ANALYZE = shutil.which("systemd-analyze")


def verified(directory: Path, text: str) -> str:
    """What systemd has to say of this unit; nothing is good."""
    unit = directory / UNIT.name
    # It asks for the program, which is only there where it was installed.
    unit.write_text(text.replace("/opt/casparian/bin/casparian-engine", "/bin/true"))
    done = subprocess.run(
        [str(ANALYZE), "verify", unit], capture_output=True, text=True, timeout=60, check=False
    )
    said = done.stdout + done.stderr
    return "" if done.returncode == 0 and not said else f"{done.returncode}: {said}"


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed here")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    text = UNIT.read_text()
    assert verified(tmp_path, text) == ""
    misspelt = text.replace("KillMode=", "KilMode=")
    assert "KilMode" in verified(tmp_path, misspelt)


def command(service: configparser.SectionProxy, project: Project) -> list[str]:
    """ExecStart, with the programs of this environment and the configuration of this project."""
    program, *arguments = shlex.split(service["ExecStart"])
    assert Path(program).name == "casparian-engine"
    configuration = arguments[arguments.index("--config") + 1]
    assert Path(configuration).is_relative_to(service["ReadWritePaths"])
    arguments[arguments.index("--config") + 1] = str(project.directory / "casparian.toml")
    return [sys.executable, "-m", "casparian.app.cli.engine", *arguments]


@pytest.mark.parametrize("abstract", [False, True], ids=["a path", "an abstract name"])
def test_ready_is_said_when_it_is_and_the_end_when_it_begins(
    service: configparser.SectionProxy, project: Project, manager: socket.socket, abstract: bool
) -> None:
    assert service["Type"] == "notify"
    address = manager.getsockname()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        if abstract:
            other.bind(f"\0casparian-test-{os.getpid()}")
            other.settimeout(60)
            manager, address = other, f"@casparian-test-{os.getpid()}"
        project.csv_to("parquet://./output")
        engine = subprocess.Popen(
            command(service, project),
            env={**os.environ, "NOTIFY_SOCKET": address},
            stderr=subprocess.PIPE,
        )
        try:
            assert manager.recv(4096).splitlines()[0] == b"READY=1"
            assert project.database.exists()
            assert engine.poll() is None
            engine.terminate()
            assert manager.recv(4096).splitlines()[0] == b"STOPPING=1"
            _, log = engine.communicate(timeout=60)
        finally:
            engine.kill()
    assert engine.returncode == 0, log


def test_a_wrong_configuration_is_not_started_again(
    service: configparser.SectionProxy, project: Project, manager: socket.socket
) -> None:
    project.configure('[queue]\nadapter = "no such"\n')
    done = subprocess.run(
        command(service, project),
        env={**os.environ, "NOTIFY_SOCKET": manager.getsockname()},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert str(done.returncode) in service["RestartPreventExitStatus"].split()
    # Its end was never announced, since it never began.
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(4096)


def test_a_stop_leaves_the_sidecars_to_the_engine(service: configparser.SectionProxy) -> None:
    """Else a stop would end them at once, and a sidecar that grew too big would end the engine."""
    assert service["KillMode"] == "mixed"
    assert service["OOMPolicy"] == "continue"
