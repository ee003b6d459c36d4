"""What the pool keeps of each sidecar, of the jobs at it, and of the plugin that it runs."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from casparian.domain.errors import ErrorClass
from casparian.domain.instructions import RouterRules
from casparian.domain.jobs import Claim
from casparian.domain.messages import TopicTotals
from casparian.domain.plugins import LivePlugin

STOPPED = (ErrorClass.CRASH, "stopped")


class Phase(StrEnum):
    STARTING = "starting"
    READY = "ready"
    ENDING = "ending"


@dataclass(slots=True)
class Run:
    """A job at a sidecar, and what has arrived of it."""

    claim: Claim
    sequence: int = 0
    received: dict[str, TopicTotals] = field(default_factory=dict)
    condemned: bool = False


@dataclass(slots=True)
class Sidecar:
    """`window` bytes may be on their way, `outstanding` are, `owed` are not yet credited.

    `dismissed`: it is no longer needed, so that its end is nobody's fault.
    """

    session: str
    plugin: LivePlugin
    started_at: float
    phase: Phase = Phase.STARTING
    peer: bytes = b""
    sandbox: str = ""
    last_seen: float = 0.0
    runs: deque[Run] = field(default_factory=deque)
    run_since: float = 0.0
    window: int = 0
    outstanding: int = 0
    owed: int = 0
    ending: tuple[ErrorClass, str] | None = None
    dismissed: bool = False

    @property
    def deadline(self) -> float:
        return self.run_since + self.plugin.config.timeout_s


@dataclass(slots=True)
class Lane:
    """One plugin: its live code, waiting jobs and the record of how its sidecars fared."""

    plugin: LivePlugin
    waiting: deque[Claim] = field(default_factory=deque)
    broken: str = ""
    broken_class: ErrorClass = ErrorClass.PLUGIN
    mended_at: float = 0.0
    failed_starts: int = 0
    crashes: int = 0
    start_after: float = 0.0
    offenders: list[int] = field(default_factory=list)
    usual_job_s: float = 1.0

    def depth(self, rules: RouterRules) -> int:
        """Jobs to hold at one sidecar: more of short ones, so it never waits for the next."""
        short = self.usual_job_s < rules.short_job_s
        return rules.longest_prefetch if short else rules.prefetch

    def give_up(self, reason: str, error_class: ErrorClass, until: float) -> None:
        """Until then jobs fail with this reason; later ones are tried again."""
        self.broken, self.broken_class, self.mended_at = reason, error_class, until

    @property
    def lacks_a_process(self) -> bool:
        """What a sidecar needs is not to be had: jobs are better off in the queue meanwhile, where
        other engines find them."""
        return bool(self.broken) and self.broken_class is ErrorClass.INFRASTRUCTURE

    def try_again(self, now: float) -> None:
        if self.broken and not self.plugin.quarantined and now >= self.mended_at:
            self.broken, self.failed_starts = "", 0

    def back_off(self, times: int, rules: RouterRules, now: float) -> None:
        wait = min(rules.restart_s * 2 ** min(times - 1, 16), rules.longest_restart_s)
        self.start_after = max(self.start_after, now + wait)
