"""Processing jobs: their states as a table, their budgets of tries, and what a failure leads to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from casparian.domain.errors import ErrorClass, IllegalTransitionError
from casparian.domain.files import StatIdentity
from casparian.domain.statuses import CANCELLABLE as CANCELLABLE
from casparian.domain.statuses import GIVEN_UP as GIVEN_UP
from casparian.domain.statuses import UNFINISHED as UNFINISHED
from casparian.domain.statuses import JobKind as JobKind
from casparian.domain.statuses import JobStatus as JobStatus

SECOND_US = 1_000_000
LONGEST_BACKOFF_US = 600 * SECOND_US
# What is to wait for longer was told so by a clock that was set back since: it does not wait.
NO_WAIT_BEYOND_US = 2 * LONGEST_BACKOFF_US
JITTER = 0.2


class JobEventKind(StrEnum):
    """What can happen to a job. The name is what `job_event.event` holds."""

    CLAIMED = "CLAIMED"
    DECIDED = "DECIDED"
    REQUEUED = "REQUEUED"
    RELEASED = "RELEASED"
    FAILED = "FAILED"
    REAPED = "REAPED"
    TAKEN_OVER = "TAKEN_OVER"
    SUPERSEDED = "SUPERSEDED"
    COMPLETED = "COMPLETED"
    BLOCKED = "BLOCKED"
    RETRIED = "RETRIED"
    CANCELLED = "CANCELLED"
    FORGOTTEN = "FORGOTTEN"
    """Its file is to be recorded anew: no step of the job, so not in TRANSITIONS."""
    ADOPTED = "ADOPTED"
    """It has this number since rows were taken over: no step of the job either."""
    PURGED = "PURGED"
    """Somebody purges its file: what makes a job of this kind, so not in TRANSITIONS."""
    REPLACED = "REPLACED"
    """It was skipped, and another job runs on its file now, since the doer is one no more."""
    ENQUEUED = "ENQUEUED"
    """It runs on a file that was skipped: what makes such a job, so not in TRANSITIONS."""
    BACKFILLED = "BACKFILLED"
    """Somebody wants rows made anew by the live code: what makes such a job, too."""


# Every step a job can take. Whatever is not here is illegal. The guards (token, lease,
# attempt) are checked by the same statement that writes the new status.
TRANSITIONS: dict[tuple[JobStatus, JobEventKind], frozenset[JobStatus]] = {
    (JobStatus.QUEUED, JobEventKind.CLAIMED): frozenset({JobStatus.RUNNING}),
    (JobStatus.QUEUED, JobEventKind.CANCELLED): frozenset({JobStatus.CANCELLED}),
    (JobStatus.RUNNING, JobEventKind.DECIDED): frozenset({JobStatus.PROMOTING}),
    (JobStatus.RUNNING, JobEventKind.RELEASED): frozenset({JobStatus.QUEUED}),
    (JobStatus.RUNNING, JobEventKind.REQUEUED): frozenset({JobStatus.QUEUED}),
    (JobStatus.RUNNING, JobEventKind.FAILED): frozenset({JobStatus.FAILED}),
    (JobStatus.RUNNING, JobEventKind.REAPED): frozenset({JobStatus.QUEUED, JobStatus.FAILED}),
    (JobStatus.RUNNING, JobEventKind.SUPERSEDED): frozenset({JobStatus.SUPERSEDED}),
    (JobStatus.RUNNING, JobEventKind.CANCELLED): frozenset({JobStatus.CANCELLED}),
    (JobStatus.PROMOTING, JobEventKind.TAKEN_OVER): frozenset({JobStatus.PROMOTING}),
    (JobStatus.PROMOTING, JobEventKind.COMPLETED): frozenset({JobStatus.COMPLETED}),
    (JobStatus.PROMOTING, JobEventKind.SUPERSEDED): frozenset({JobStatus.SUPERSEDED}),
    (JobStatus.PROMOTING, JobEventKind.BLOCKED): frozenset({JobStatus.BLOCKED}),
    (JobStatus.BLOCKED, JobEventKind.SUPERSEDED): frozenset({JobStatus.SUPERSEDED}),
    # SUPERSEDED where another file's job does the same content meanwhile.
    (JobStatus.FAILED, JobEventKind.RETRIED): frozenset({JobStatus.QUEUED, JobStatus.SUPERSEDED}),
    (JobStatus.CANCELLED, JobEventKind.RETRIED): frozenset(
        {JobStatus.QUEUED, JobStatus.SUPERSEDED}
    ),
    (JobStatus.BLOCKED, JobEventKind.RETRIED): frozenset({JobStatus.PROMOTING}),
    (JobStatus.SKIPPED, JobEventKind.REPLACED): frozenset({JobStatus.SUPERSEDED}),
    (JobStatus.SKIPPED, JobEventKind.CANCELLED): frozenset({JobStatus.CANCELLED}),
    # A plugin under quarantine takes its waiting jobs with it.
    (JobStatus.QUEUED, JobEventKind.FAILED): frozenset({JobStatus.FAILED}),
}


def check_transition(job_id: int, old: JobStatus, event: JobEventKind, new: JobStatus) -> None:
    """Raise IllegalTransitionError unless the table has this step."""
    if new not in TRANSITIONS.get((old, event), frozenset()):
        raise IllegalTransitionError(f"job {job_id}", old, f"{event} to {new}")


@dataclass(frozen=True, slots=True)
class ProcessingJob:
    """A unit of work: one plugin on one file version, or a purge of its rows.

    `attempt` counts claims and only grows: it is the fence. `tries` and `crashes` are the
    budgets already used; a retry by the operator resets them.
    """

    id: int
    status: JobStatus
    plugin: str
    plugin_hash: str | None
    file_version_id: int
    location_id: int
    ordinal: int
    priority: int
    attempt: int
    tries: int = 0
    crashes: int = 0
    token: str | None = None
    worker: str | None = None
    lease_until_us: int = 0
    not_before_us: int = 0
    enqueued_at_us: int = 0
    started_at_us: int | None = None
    finished_at_us: int | None = None
    rows: int = 0
    rejects: int = 0
    error_class: ErrorClass | None = None
    error_message: str | None = None
    kind: JobKind = JobKind.RUN
    sandbox: str | None = None
    environment: str | None = None


class Claim(NamedTuple):
    """A job won by a worker, with all it needs to run it: no further look-up.

    A tuple, since a batch makes a hundred of them, and those are made several times as fast.
    `input_path` is what the plugin opens, where that is not the file itself (a snapshot).
    `plugin_hash` is empty for a purge, which runs no code. `sandbox` is the level its sidecar
    reports, empty until one has the job; `environment` the digest of the one it runs in, where
    that is the plugin's own.
    """

    job_id: int
    plugin: str
    plugin_hash: str
    attempt: int
    token: str
    file_version_id: int
    location_id: int
    ordinal: int
    root_path: bytes
    path: bytes
    content_hash: str
    identity: StatIdentity
    priority: int = 0
    enqueued_at_us: int = 0
    input_path: str = ""
    kind: JobKind = JobKind.RUN
    sandbox: str = ""
    environment: str = ""

    @property
    def source(self) -> bytes:
        """The absolute path of the file itself."""
        return self.root_path.rstrip(b"/") + b"/" + self.path


@dataclass(frozen=True, slots=True)
class Failure:
    """What a worker reports of an attempt that ended without rows.

    `detail` is for reading (a traceback). With `supersede_if_newer` a job whose bytes are
    gone ends SUPERSEDED where its location already has a newer version. `plugin_hash` is the code
    that ran, where that may be another than the one it was claimed for, and `environment` what it
    ran in.
    """

    job_id: int
    attempt: int
    token: str
    error_class: ErrorClass
    message: str
    detail: str = ""
    supersede_if_newer: bool = False
    sandbox: str = ""
    plugin_hash: str = ""
    environment: str = ""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one failure of a class costs."""

    tries: int
    crashes: int
    final: bool


_FAILS_AT_ONCE = Budget(1, 0, final=True)
_COUNTS = Budget(1, 0, final=False)
_CRASHES = Budget(1, 1, final=False)
_FREE = Budget(0, 0, final=False)

COSTS: dict[ErrorClass, Budget] = {
    ErrorClass.DATA: _FAILS_AT_ONCE,
    ErrorClass.SCHEMA_DRIFT: _FAILS_AT_ONCE,
    ErrorClass.UNKNOWN_TOPIC: _FAILS_AT_ONCE,
    ErrorClass.PLUGIN: _FAILS_AT_ONCE,
    ErrorClass.QUARANTINED: _FAILS_AT_ONCE,
    ErrorClass.SOURCE_GONE: _FAILS_AT_ONCE,
    ErrorClass.FOREIGN_ROWS: _FAILS_AT_ONCE,
    ErrorClass.SOURCE_CHANGED: _COUNTS,
    ErrorClass.ENGINE: _COUNTS,
    ErrorClass.CRASH: _CRASHES,
    ErrorClass.OOM: _CRASHES,
    ErrorClass.TIMEOUT: _CRASHES,
    ErrorClass.PROTOCOL: _CRASHES,
    ErrorClass.INFRASTRUCTURE: _FREE,
    ErrorClass.CONFLICT: _FREE,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a job after a failure: the new status, budgets used, earliest next claim."""

    status: JobStatus
    tries: int
    crashes: int
    not_before_us: int


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Which failures are tried again, how often, and after what wait."""

    max_attempts: int = 5
    max_crashes: int = 3
    backoff_us: int = 10 * SECOND_US

    def judge(
        self,
        error_class: ErrorClass,
        tries: int,
        crashes: int,
        now_us: int,
        chance: float,
        kind: JobKind = JobKind.RUN,
    ) -> Verdict:
        """Decide on a job that failed with `error_class` having used `tries` and `crashes`.

        `chance` in [0, 1) spreads the wait by ±20 %. A purge is never tried again by itself.
        """
        cost = COSTS[error_class]
        tries, crashes = tries + cost.tries, crashes + cost.crashes
        spent = tries >= self.max_attempts or crashes >= self.max_crashes
        if cost.final or kind is JobKind.PURGE or (cost != _FREE and spent):
            return Verdict(JobStatus.FAILED, tries, crashes, 0)
        if error_class is ErrorClass.CONFLICT:
            return Verdict(JobStatus.QUEUED, tries, crashes, now_us)
        wait = self.backoff(max(1, tries), chance)
        return Verdict(JobStatus.QUEUED, tries, crashes, now_us + wait)

    def backoff(self, nth: int, chance: float) -> int:
        """Microseconds to wait after the nth failure: doubling, at most ten minutes, ±20 %."""
        wait = min(self.backoff_us << min(nth - 1, 30), LONGEST_BACKOFF_US)
        return int(wait * (1 - JITTER + 2 * JITTER * chance))
