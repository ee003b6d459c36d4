"""The messages of protocol v2 as values: what an engine and its sidecars say to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from casparian.domain.errors import ErrorClass
from casparian.domain.wire import Flag, Json

LONGEST_MESSAGE_TEXT = 8_000
LONGEST_DETAIL_TEXT = 24_000
LONGEST_LEVEL = 200
MOST_TOPICS = 500
LARGEST = 2**63 - 1
NO_FLAGS = Flag(0)

# The classes that a sidecar may claim for its own failure; all else is the engine's to say.
SIDECAR_ERRORS = frozenset({ErrorClass.DATA, ErrorClass.OOM, ErrorClass.PLUGIN})


@dataclass(frozen=True, slots=True)
class Register:
    """REG: a sidecar has loaded its plugin, or says in `failure` why it could not.

    `sandbox` is what it says stands around it: foreign code speaks here, so it is for reading.
    """

    session: str
    plugin: str
    plugin_hash: str
    pid: int
    failure: str = ""
    sandbox: str = ""


@dataclass(frozen=True, slots=True)
class Execute:
    """EXEC: run the plugin on one file. `input_path` is opened, `path` is what it is called."""

    job_id: int
    attempt: int
    input_path: str
    path: str
    file_version_id: int
    content_hash: str


@dataclass(frozen=True, slots=True)
class Data:
    """DATA: a schema or a batch of one topic. `sequence` counts a job's DATA from 0."""

    session: str
    job_id: int
    attempt: int
    topic: str
    sequence: int
    flags: Flag = NO_FLAGS


@dataclass(frozen=True, slots=True)
class Failed:
    """ERR: the plugin did not get through the file."""

    session: str
    job_id: int
    attempt: int
    error_class: ErrorClass
    message: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class TopicTotals:
    """What a sidecar says it sent of one topic; `bytes` are those of all DATA payloads."""

    batches: int = 0
    rows: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """DONE: the plugin returned. The totals must agree with what arrived."""

    session: str
    job_id: int
    attempt: int
    topics: Mapping[str, TopicTotals] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alive:
    """HEARTBEAT of a sidecar: it lives, and this is the job it is at (0: none)."""

    session: str
    job_id: int = 0


@dataclass(frozen=True, slots=True)
class Control:
    """HEARTBEAT of the router: more credit, a job to give up, or the end."""

    credit: int = 0
    abandon: int = 0
    stop: bool = False


@dataclass(frozen=True, slots=True)
class Deploy:
    """DEPLOY: plugin code in the payload; the Architect reads the metadata, and answers."""

    metadata: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Deployed:
    """DONE, to who sent DEPLOY: what is live now."""

    plugin: str
    version: int
    content_hash: str


@dataclass(frozen=True, slots=True)
class DeployRefused:
    """ERR, to who sent DEPLOY: which check failed. Nothing was changed."""

    check: str
    message: str


FromSidecar: TypeAlias = Register | Data | Failed | Done | Alive | Deploy
FromRouter: TypeAlias = Execute | Control | Deployed | DeployRefused
