"""The port to jobs that wait and run, and to the workers that run them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from casparian.domain.jobs import Claim, Failure, JobKind, JobStatus, RetryPolicy


@dataclass(frozen=True, slots=True)
class WorkerNode:
    """A process of the engine and its last heartbeat. `id` is unique for ever.

    `host_key` says which processes can see each other's pids (host, boot, pid namespace);
    `pid_started` tells a process from a later one of the same pid.
    """

    id: str
    hostname: str
    pid: int
    host_key: str
    pid_started: int
    roles: tuple[str, ...]
    endpoint: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    git_hash: str = ""
    user: str = ""
    started_at_us: int = 0
    heartbeat_at_us: int = 0
    load: Mapping[str, Any] = field(default_factory=dict)
    stopped: bool = False


class Lost(NamedTuple):
    """Who has ended, by id, and whether anybody left jobs behind: those, or one that did not
    renew its lease."""

    dead: Sequence[str]
    jobs: bool


class Pruned(NamedTuple):
    """How many rows of history were removed."""

    jobs: int = 0
    events: int = 0


class Unfinished(NamedTuple):
    """A job of a (plugin, location) that has not ended."""

    job_id: int
    plugin: str
    location_id: int
    status: JobStatus
    kind: JobKind

    @property
    def key(self) -> tuple[str, int]:
        return self.plugin, self.location_id


class PurgesBegun(NamedTuple):
    """The purges that were begun, and the jobs for which others were not. `unseen`: the (plugin,
    location) whose file has no version here, so that its rows can only be adopted ones."""

    claims: Sequence[Claim]
    in_the_way: Sequence[Unfinished]
    unseen: Sequence[tuple[str, int]] = ()


class JobQueue(Protocol):
    """The queue proper: claims, leases, failures.

    1. One winner per claim: among concurrent claimers no job is given twice.
    2. Jobs are claimed by `due`, then id, none before its `not_before`; one so far away that only
       a clock set back since can have said it does not count.
    3. `claim` raises `attempt` by one and sets a fresh random token, worker and lease.
    4. A stale token (another attempt, another status) changes nothing: `fail`, `release`
       and `renew` say so by their result, and never raise for it.
    5. `fail` follows the RetryPolicy, adds a row to `job_event`, keeps what the attempts
       before it said, and clears token and lease.
    6. `release` gives back a claim that never ran: no budget is used.
    7. `reap` requeues or fails RUNNING jobs whose lease is over, or whose worker is named
       dead, checking again in the writing statement.
    8. The lease clock is the database's own, or, where database and engine share the host,
       the injected clock.
    9. Statuses move only along `casparian.domain.jobs.TRANSITIONS`.
    10. `cancel` takes a running job's token away; `retry` resets the budgets, and puts a
        BLOCKED job back to PROMOTING; both are recorded in `job_event`.
    11. `prune` removes the events of jobs that ended before a time, and those of these jobs
        that never were decided and whose file has a newer version: what a published row is
        traced by stays. A call that removes something leaves a record, by whom and how much, in
        the transactions that remove it; `Reports.status` has the newest.
    12. `begin_purges` makes a job of kind PURGE for each (plugin, location) that has no job
        QUEUED, RUNNING or PROMOTING: RUNNING from its beginning, held by the caller, at the
        location's current version, and newer than every job before it; `job_event` says who
        asked. For the others it says which jobs are in the way.
    13. A purge is never QUEUED: `fail` and `reap` end it FAILED whatever the policy, `release`
        changes nothing, `retry` takes it up only where it is BLOCKED. It counts as no job of
        the version where jobs are enqueued for versions that have none.
    14. Of the versions of one content that a plugin wants which skips duplicates, one has a job
        that is not SKIPPED: the doer. Where rows of a skipped file's earlier versions stand, or
        may come to stand, a job of kind WITHDRAW is QUEUED for it as well. When a doer ends
        FAILED, CANCELLED or SUPERSEDED, or its rows are replaced or purged, one of the skipped
        files that is there, as it was, gets a QUEUED job in the same transaction: the doer from
        then on.
    15. `retry` ends a job SUPERSEDED whose content is done by another file's meanwhile; `cancel`
        ends a SKIPPED one.
    16. `lost` says whether `reap` or `take_over` may have anything to do, and writes nothing.
    """

    def claim(
        self, worker: str, plugins: Mapping[str, str], limit: int, lease_us: int
    ) -> list[Claim]:
        """Up to `limit` jobs of these plugins (name to the hash of the code that will run)."""
        ...

    def renew(self, worker: str, jobs: Mapping[int, str], lease_us: int) -> set[int]:
        """Extend the leases of these (job id to token); returns the ids still held."""
        ...

    def release(self, jobs: Mapping[int, str], delay_us: int = 0) -> set[int]: ...

    def fail(self, failures: Sequence[Failure], policy: RetryPolicy) -> dict[int, JobStatus]:
        """The new status of each; ids whose token was stale are absent."""
        ...

    def fail_queued(self, plugin: str, message: str) -> int:
        """End all QUEUED jobs of a quarantined plugin FAILED (QUARANTINED)."""
        ...

    def reap(self, policy: RetryPolicy, dead_workers: Iterable[str] = ()) -> int: ...

    def lost(self, is_dead: Callable[[WorkerNode], bool]) -> Lost:
        """`is_dead`: of a process that has not said that it stopped, whether it surely ended."""
        ...

    def retry(self, job_ids: Sequence[int], actor: str) -> list[int]: ...

    def cancel(self, job_ids: Sequence[int], actor: str) -> list[int]: ...

    def begin_purges(
        self, worker: str, keys: Sequence[tuple[str, int]], lease_us: int, actor: str
    ) -> PurgesBegun:
        """`keys`: each (plugin, location id) once."""
        ...

    def prune(self, before_us: int, actor: str) -> Pruned:
        """Remove old history; safe while engines run. `actor` is recorded."""
        ...

    def backlog(self) -> Mapping[JobStatus, int]:
        """Jobs by status; statuses without jobs may be absent."""
        ...

    def next_due_us(self, plugins: Iterable[str] | None = None) -> int | None:
        """The earliest `not_before` of the QUEUED jobs (of these plugins), None without any."""
        ...

    def beat(self, node: WorkerNode) -> None: ...

    def workers(self) -> Sequence[WorkerNode]: ...

    def wait(self, timeout_s: float) -> None:
        """Return early when jobs may have become claimable; never later than the timeout."""
        ...

    def wake(self) -> None: ...
