"""WorkerConfig: how a worker works."""

from __future__ import annotations

from dataclasses import dataclass

from casparian.domain.instructions import RouterRules
from casparian.domain.jobs import RetryPolicy


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """How a worker works; times in seconds. `writers` is the number of encoding threads."""

    rules: RouterRules
    policy: RetryPolicy
    lease_s: float = 30.0
    renew_s: float = 10.0
    sweep_s: float = 5.0
    give_up_s: float = 20.0
    writers: int = 2
    roles: tuple[str, ...] = ("worker",)
