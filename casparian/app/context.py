"""EtlContext: who this process is. Captured once, written with every heartbeat."""

from __future__ import annotations

import getpass
import os
import platform
import socket
import subprocess
import threading
import uuid
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import ClassVar

from casparian import _fastpath
from casparian.domain.ports import WorkerNode
from casparian.domain.scouting import Scanner


class Seat:
    """A number among the engines of this process, from 1: the lowest that none of them has.

    It is free again when its engine is closed, or forgotten.
    """

    _taken: ClassVar[weakref.WeakSet[Seat]] = weakref.WeakSet()
    _lock: ClassVar[threading.Lock] = threading.Lock()
    number: int

    def __init__(self) -> None:
        with Seat._lock:
            numbers = {seat.number for seat in Seat._taken}
            self.number = next(n for n in range(1, len(numbers) + 2) if n not in numbers)
            Seat._taken.add(self)

    def leave(self) -> None:
        with Seat._lock:
            Seat._taken.discard(self)


PACKAGES = ("casparian-flow", "pyarrow", "pyzmq", "sqlalchemy")


@dataclass(frozen=True, slots=True)
class EtlContext:
    """`id` is unique for ever; `host_key` names the host, its boot and its pid namespace.

    Engines of one process have a seat each. What names a process is the pid for the first, and
    says the seat for others: workers are listed by host and pid.
    """

    id: str
    hostname: str
    host_key: str
    pid: int
    pid_started: int
    user: str
    git_hash: str
    versions: Mapping[str, str]
    seat: Seat = field(default_factory=Seat, compare=False)

    @staticmethod
    def capture() -> EtlContext:
        hostname, pid = socket.gethostname(), os.getpid()
        return EtlContext(
            id=f"{hostname}:{pid}:{uuid.uuid4().hex[:12]}",
            hostname=hostname,
            host_key=host_key(hostname),
            pid=pid,
            pid_started=process_start(pid) or 0,
            user=_user(),
            git_hash=_git_hash(),
            versions={
                "python": platform.python_version(),
                "fastpath": _fastpath.IMPLEMENTATION,
                **{name: _version(name) for name in PACKAGES},
            },
        )

    @property
    def process(self) -> str:
        """The pid, with the seat where it is not the first: a name for files of this engine."""
        return f"{self.pid}-{self.seat.number}" if self.seat.number > 1 else str(self.pid)

    @property
    def host(self) -> str:
        """The host, with the seat where it is not the first."""
        return self.hostname if self.seat.number == 1 else f"{self.hostname}/{self.seat.number}"

    @property
    def scanner(self) -> Scanner:
        """As the holder of a scout's lease."""
        return Scanner(self.id, self.host, self.host_key, self.pid, self.pid_started)

    def node(self, roles: tuple[str, ...], endpoint: str, started_at_us: int) -> WorkerNode:
        return WorkerNode(
            id=self.id,
            hostname=self.host,
            pid=self.pid,
            host_key=self.host_key,
            pid_started=self.pid_started,
            roles=roles,
            endpoint=endpoint,
            versions=self.versions,
            git_hash=self.git_hash,
            user=self.user,
            started_at_us=started_at_us,
        )

    def is_dead(self, node: WorkerNode | Scanner) -> bool:
        """True when a worker of this host surely ended; False when that cannot be known."""
        if node.host_key != self.host_key or node.id == self.id:
            return False
        return process_start(node.pid) != node.pid_started


def host_key(hostname: str) -> str:
    """Equal for two processes only if each can see the other's pid."""
    parts = [hostname]
    for place in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            target = os.readlink(place) if place.endswith("pid") else Path(place).read_text()
            parts.append(target.strip())
        except OSError:
            import psutil

            parts.append(str(int(psutil.boot_time())))
    return "|".join(parts)


def process_start(pid: int) -> int | None:
    """When a process started, in clock ticks or milliseconds; None when there is none.

    From /proc where there is one: psutil turns ticks into a time of day, which a step of
    the clock would move.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):
            return None
        import psutil

        try:
            return int(psutil.Process(pid).create_time() * 1000)
        except psutil.NoSuchProcess:
            return None
    except ProcessLookupError:
        return None
    fields = stat.rpartition(b")")[2].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git_hash() -> str:
    """The commit of the checkout this code runs from; empty for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
