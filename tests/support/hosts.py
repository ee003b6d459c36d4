"""Hosts of a small network, as namespaces of this machine: a switch, a database server, engines.

Each host has its own address, name, process ids and /proc; all share the file system. A host is
cut off by taking its port of the switch down, and loses single packets by a rule of its own. Needs
root, `ip` and `unshare`; for the loss, `iptables` with its match `statistic`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

NETWORK = "10.77.0"


def missing() -> str:
    """Why there can be no hosts here; empty where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"probe{uuid.uuid4().hex[:6]}"
    try:
        _run("ip", "netns", "add", name)
        try:
            _run("ip", "-n", name, "link", "add", "br0", "type", "bridge")
            _run("ip", "netns", "exec", name, *_ISOLATED, "true")
        finally:
            _run("ip", "netns", "del", name)
    except FileNotFoundError as error:
        return f"{error.filename} is not installed"
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here: {error.stderr.strip()}"
    return ""


def missing_loss() -> str:
    """Why no packets can be lost here; empty where they can."""
    name = f"probe{uuid.uuid4().hex[:6]}"
    rule = ("-m", "statistic", "--mode", "random", "--probability", "0.5", "-j", "DROP")
    try:
        _run("ip", "netns", "add", name)
        try:
            _run("ip", "netns", "exec", name, "iptables", "-A", "INPUT", *rule)
        finally:
            _run("ip", "netns", "del", name)
    except FileNotFoundError as error:
        return f"{error.filename} is not installed"
    except subprocess.CalledProcessError as error:
        return f"no packets can be lost here: {error.stderr.strip()}"
    return ""


_ISOLATED = ("unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


class Network:
    """The switch; the server's address is that of the switch itself."""

    address = f"{NETWORK}.1"

    def __init__(self) -> None:
        self._id = uuid.uuid4().hex[:6]
        self._hosts: list[str] = []
        self.space = f"db{self._id}"
        _run("ip", "netns", "add", self.space)
        self._ip("link", "add", "br0", "type", "bridge")
        self._ip("link", "set", "br0", "up")
        self._ip("addr", "add", f"{self.address}/24", "dev", "br0")
        self._ip("link", "set", "lo", "up")

    def _ip(self, *arguments: str) -> None:
        _run("ip", "-n", self.space, *arguments)

    def within(self) -> list[str]:
        """What a command begins with that is to run beside the switch."""
        return ["ip", "netns", "exec", self.space]

    def host(self, name: str) -> Host:
        space, number = f"{name}{self._id}", len(self._hosts) + 2
        _run("ip", "netns", "add", space)
        self._hosts.append(space)
        _run("ip", "link", "add", f"v{space}", "netns", space, "type", "veth",
             "peer", "name", f"w{space}", "netns", self.space)  # fmt: skip
        _run("ip", "-n", space, "addr", "add", f"{NETWORK}.{number}/24", "dev", f"v{space}")
        for device in (f"v{space}", "lo"):
            _run("ip", "-n", space, "link", "set", device, "up")
        self._ip("link", "set", f"w{space}", "master", "br0", "up")
        return Host(self, name, space)

    def set_port(self, space: str, state: str) -> None:
        self._ip("link", "set", f"w{space}", state)

    def remove(self) -> None:
        for space in [*self._hosts, self.space]:
            _run("ip", "netns", "del", space)


class Host:
    """One of the machines."""

    def __init__(self, network: Network, name: str, space: str) -> None:
        self.name, self._network, self._space = name, network, space

    def cut_off(self) -> None:
        """Nothing comes or goes, and no end of a connection hears of it."""
        self._network.set_port(self._space, "down")

    def reconnect(self) -> None:
        self._network.set_port(self._space, "up")

    @contextlib.contextmanager
    def losing(self, share: float) -> Iterator[None]:
        """That share of all packets is lost, by chance, in both directions."""
        rules = [
            (
                chain,
                "-m",
                "statistic",
                "--mode",
                "random",
                "--probability",
                str(share),
                "-j",
                "DROP",
            )
            for chain in ("INPUT", "OUTPUT")
        ]
        inside = ("ip", "netns", "exec", self._space, "iptables", "-w")
        for rule in rules:
            _run(*inside, "-A", *rule)
        try:
            yield
        finally:
            for rule in rules:
                _run(*inside, "-D", *rule)

    def lost(self) -> int:
        """How many packets its rules have dropped so far."""
        listed = subprocess.run(
            ["ip", "netns", "exec", self._space, "iptables", "-w", "-L", "-n", "-v", "-x"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        found = (line.split() for line in listed.stdout.splitlines() if "statistic" in line)
        return sum(int(words[0]) for words in found)

    def start(self, *program: str, cwd: Path, **environment: str) -> subprocess.Popen[bytes]:
        """A program on this host; its log goes to NAME.log."""
        inner = f'hostname {self.name} && exec "$@"'
        command = ["ip", "netns", "exec", self._space, *_ISOLATED]
        command += ["sh", "-c", inner, "sh", *program]
        with (cwd / f"{self.name}.log").open("ab") as log:
            root = Path(__file__).parents[2]
            return subprocess.Popen(
                command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=log,
                env={**os.environ, "PYTHONPATH": str(root), **environment},
            )  # fmt: skip

    @contextlib.contextmanager
    def running(
        self, *program: str, cwd: Path, **environment: str
    ) -> Iterator[subprocess.Popen[bytes]]:
        process = self.start(*program, cwd=cwd, **environment)
        try:
            yield process
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the program inside to end; what unshare started dies with it."""
    if process.poll() is None:
        for pid in _children(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _children(pid: int) -> Sequence[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
