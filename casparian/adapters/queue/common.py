"""What the queue's adapters share: values, the clock of this host, and waking up waiters."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from casparian.domain.adoption import AdoptingQueue
from casparian.domain.audit import AuditedQueue
from casparian.domain.backfill import Backfills
from casparian.domain.errors import (
    ConfigurationError,
    IllegalTransitionError,
    StaleScoutError,
)
from casparian.domain.files import FileLocation, FileVersion, StatIdentity
from casparian.domain.jobs import JobEventKind, JobKind, JobStatus, ProcessingJob
from casparian.domain.plugins import REJECTS_TOPIC
from casparian.domain.ports import (
    Clock,
    FileCatalog,
    JobQueue,
    PluginStore,
    PublishLedger,
    Reports,
)
from casparian.domain.publish import Completion, Manifest, PublishedSlot, SlotKey, Target
from casparian.domain.scouting import Fence, ScoutLeases

POLL_S = 0.1
FORGET_WORKER_US = 24 * 3600 * 1_000_000
"""How long a worker that fell silent stays listed."""


def wall_clock_us() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1000


def iso(at_us: int) -> str:
    """A time as ISO 8601 with microseconds, UTC."""
    text = datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{at_us % 1_000_000:06d}Z"


def iso_or_none(at_us: int | None) -> str | None:
    """The same; None for what has no time: None, and 0."""
    return iso(at_us) if at_us else None


class QueueStores(NamedTuple):
    """One database, by port.

    `database_clock` is the database's own, where that is not this host's: it can be wrong.
    `adoption` is there where the queue can take over rows of others, `scout_leases` where it can
    keep scouts apart, `audit` where it can be held against its targets, `backfills` where it knows
    which rows were made by code that is live no more. `obstacle` tells why nothing can be written
    now, "" where it can.
    """

    catalog: FileCatalog
    queue: JobQueue
    ledger: PublishLedger
    store: PluginStore
    reports: Reports
    close: Callable[[], None]
    database_clock: Clock | None = None
    adoption: AdoptingQueue | None = None
    scout_leases: ScoutLeases | None = None
    audit: AuditedQueue | None = None
    backfills: Backfills | None = None
    obstacle: Callable[[], str] | None = None


class JobEvent(NamedTuple):
    """One row of a job's history. `actor` is the operator's name where one acted."""

    job_id: int
    attempt: int
    at_us: int
    event: JobEventKind
    worker: str | None = None
    error_class: str | None = None
    message: str | None = None
    detail: str | None = None
    actor: str | None = None


def identity_of(version: FileVersion, location: FileLocation) -> StatIdentity:
    """What `stat` should say of a version's bytes: the location's newer answer, where they
    are still the ones that stand there."""
    current = location.current_version_id == version.id
    if current and location.identity and location.content_hash == version.content_hash:
        return location.identity
    return version.identity


def below_range(below: bytes) -> tuple[bytes, bytes]:
    """The paths below a directory are those from the first (included) to the second (not)."""
    return below + b"/", below + b"0"


class WakeUp:
    """Lets threads wait for work; a wake between two waits of a thread is not lost.

    `changed`, where given, is asked every 100 ms whether someone else wrote, and `announce`
    tells others of each wake.
    """

    def __init__(
        self,
        changed: Callable[[], bool] | None = None,
        announce: Callable[[], None] | None = None,
    ) -> None:
        self._changed, self._announce = changed, announce
        self._condition = threading.Condition()
        self._count = 0
        self._seen = threading.local()

    def wake(self) -> None:
        self._wake_here()
        if self._announce is not None:
            self._announce()

    def _wake_here(self) -> None:
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def wait(self, timeout_s: float) -> None:
        """Return at the next wake, or when `timeout_s` seconds are over."""
        deadline = time.monotonic() + timeout_s
        while not self._woken(min(POLL_S, deadline - time.monotonic())):
            if time.monotonic() >= deadline:
                return
            if self._changed is not None and self._changed():
                self._wake_here()

    def _woken(self, timeout_s: float) -> bool:
        with self._condition:
            seen = getattr(self._seen, "count", 0)
            woken = self._condition.wait_for(lambda: self._count != seen, max(0.0, timeout_s))
            self._seen.count = self._count
            return woken


def reaped_because(job: ProcessingJob, dead: bool) -> str:
    """What a job's history says of the process it was taken from."""
    if job.kind is JobKind.PURGE:
        how = "died" if dead else "did not renew its lease in time"
        return f"The command that purged ({job.worker}) {how}: nothing was removed."
    if dead:
        return f"The engine that ran it ({job.worker}) died."
    return f"The engine that ran it ({job.worker}) did not renew its lease in time."


def taken_up(new_id: int) -> str:
    """Of a skipped job: another one runs on its file now."""
    return f"Job {new_id} runs on the file now."


def taking_up(skipped_id: int, former_id: int | None, why: str) -> str:
    """Of a job that runs on a file that was skipped. `why`: the status in which the job of the
    same content has ended, or what became of its rows."""
    if former_id is None:
        return f"Job {skipped_id} skipped the file, and no other job does its content."
    if why in ("purged", "replaced"):
        return f"Job {skipped_id} skipped the file, and the rows of job {former_id} were {why}."
    return f"Job {skipped_id} skipped the file for job {former_id}, which ended {why}."


def done_elsewhere(doer_id: int) -> str:
    """Of a job that is not tried again."""
    return f"Job {doer_id} does the same content, of another file."


def published_by(manifest: Manifest) -> list[PublishedSlot]:
    """The slots that will hold a marker, and maybe rows, once the manifest is promoted."""
    return [PublishedSlot(i.target, i.mode, i.slot, i.bundle) for i in manifest.items if i.staged]


def rejects_of(manifest: Manifest) -> int:
    return sum(i.rows for i in manifest.items if i.slot.topic == REJECTS_TOPIC)


def slot_order(published: PublishedSlot) -> tuple[SlotKey, Target]:
    """The order in which the slots of one location are listed."""
    return published.slot, published.target


def completing_event(completion: Completion) -> JobEventKind:
    """The event by which a promoted job ends; raises IllegalTransitionError for another."""
    check_ends(completion)
    return JobEventKind(completion.status.value)


def check_ends(completion: Completion) -> None:
    """Raise IllegalTransitionError where a promoted job does not end so."""
    if completion.status not in (JobStatus.COMPLETED, JobStatus.SUPERSEDED):
        raise IllegalTransitionError(
            f"job {completion.job_id}", JobStatus.PROMOTING, f"to end {completion.status}"
        )


def unknown_manifest(content_hash: str, plugin: str | None = None) -> ConfigurationError:
    of = f" of plugin {plugin!r}" if plugin else ""
    return ConfigurationError(
        f"The database has no code {content_hash!r}{of}. `casparian plugins` lists what it has."
    )


def stale_scout(fence: Fence) -> StaleScoutError:
    return StaleScoutError(
        f"Another scout has taken over source root {fence.root_id} since this one took it (fence "
        f"{fence.number}): nothing was written. It scans again when the root is free."
    )
