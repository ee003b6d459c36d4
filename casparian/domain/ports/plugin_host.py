"""The port to the processes in which plugins run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from casparian.domain.plugins import LivePlugin


@dataclass(frozen=True, slots=True)
class SidecarSpec:
    """What a sidecar needs to start. `session` is the secret it must show in REG, `readable` are
    the paths below which its input lies, `python` is the interpreter of an environment of the
    plugin's own, empty for the engine's."""

    session: str = field(repr=False)
    plugin: LivePlugin
    code: bytes
    endpoint: str
    window: int
    heartbeat_s: float = 1.0
    readable: tuple[str, ...] = ()
    access: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What the transport asks of who connects, besides."""
    python: str = ""


class SidecarExit(NamedTuple):
    """A sidecar ended: exit code, or minus the signal; `tail` is the end of its stderr.

    `job_id` is the last job it began (0: none), None where that is not known: its messages
    may have been lost with it, so the router cannot tell by itself. Where it was not `started`,
    what a process needs was not to be had.
    """

    session: str
    code: int
    tail: str
    out_of_memory: bool = False
    cpu_exceeded: bool = False
    job_id: int | None = None
    started: bool = True


def not_started(session: str, error: OSError) -> SidecarExit:
    """For a sidecar for which there is no process."""
    return SidecarExit(session, 127, str(error), started=False)


class PluginHost(Protocol):
    """Starts, watches, limits and ends sidecars.

    1. `start` returns at once; a sidecar that cannot start is a SidecarExit, one for which there
       is no process `not_started`.
    2. `exits` returns each ended sidecar once, and `on_exit` (given at construction) is
       called from any thread as soon as one ended.
    3. `kill` ends a sidecar and all it started, hung or stopped as it may be.
    4. Sidecars end when the engine ends, however it ends.
    5. A sidecar sees a cleared environment, no database address and no file of the engine's.
    6. `close` ends all.
    """

    def start(self, spec: SidecarSpec) -> None: ...

    def kill(self, session: str) -> None: ...

    def exits(self) -> list[SidecarExit]: ...

    def close(self) -> None: ...
