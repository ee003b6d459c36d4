"""What the router tells the worker to do, and the figures it goes by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from casparian.domain.deployments import DeployCheck
from casparian.domain.errors import ErrorClass
from casparian.domain.jobs import Claim
from casparian.domain.messages import FromRouter, TopicTotals
from casparian.domain.plugins import LivePlugin
from casparian.domain.ports import Buffer
from casparian.domain.wire import Flag, Json, Limits


@dataclass(frozen=True, slots=True)
class RouterRules:
    """Times in seconds. `sidecars` is per plugin, `prefetch` per sidecar; jobs shorter than
    `short_job_s` are sent up to `longest_prefetch` ahead. A plugin that cannot be loaded or
    started is tried again after `mend_s`: what it lacked may have been installed."""

    sidecars: int = 2
    suspect_s: float = 5.0
    kill_s: float = 60.0
    start_s: float = 60.0
    restart_s: float = 0.5
    longest_restart_s: float = 30.0
    most_failed_starts: int = 3
    mend_s: float = 30.0
    quarantine_after: int = 3
    prefetch: int = 2
    longest_prefetch: int = 32
    short_job_s: float = 0.05
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class StartSidecar:
    """`code` is given for a trial, whose plugin is not live."""

    session: str
    plugin: LivePlugin
    code: bytes | None = None


@dataclass(frozen=True, slots=True)
class KillSidecar:
    """`dismissed`: nothing is wrong with it, it only had not started yet."""

    session: str
    reason: str
    dismissed: bool = False


@dataclass(frozen=True, slots=True)
class Send:
    peer: bytes
    message: FromRouter


@dataclass(frozen=True, slots=True)
class StageFrame:
    """Hand one DATA payload to the job's lane of sink writers."""

    session: str
    claim: Claim
    topic: str
    flags: Flag
    payload: Buffer


@dataclass(frozen=True, slots=True)
class FinishJob:
    """Everything of the job has arrived; `topics` is what its rows must add up to, `seconds`
    what the plugin took."""

    claim: Claim
    topics: Mapping[str, TopicTotals]
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class FailJob:
    """The attempt is over: drop what was staged, then tell the queue."""

    claim: Claim
    error_class: ErrorClass
    message: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class QuarantinePlugin:
    plugin: str
    content_hash: str
    reason: str


@dataclass(frozen=True, slots=True)
class TakeDeploy:
    """Hand a DEPLOY to the Architect, who answers the peer."""

    peer: bytes
    metadata: Mapping[str, Json]
    payload: Buffer


@dataclass(frozen=True, slots=True)
class RefuseDeploy:
    """A DEPLOY that is not even looked at. `peer` empty: it gets no answer."""

    peer: bytes
    check: DeployCheck
    message: str
    plugin: str = ""


@dataclass(frozen=True, slots=True)
class TrialEnded:
    """The trial of that ticket is over; `failure` is empty where the plugin could be loaded."""

    ticket: int
    failure: str


DeployInstruction: TypeAlias = TakeDeploy | RefuseDeploy | TrialEnded

Instruction: TypeAlias = (
    StartSidecar
    | KillSidecar
    | Send
    | StageFrame
    | FinishJob
    | FailJob
    | QuarantinePlugin
    | DeployInstruction
)
