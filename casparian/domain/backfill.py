"""Backfill: jobs for file versions whose rows were made by other code than the live one.

What a job may still install is decided by generations (`casparian.domain.publish`): of a location
whose rows replace each other only the version that stands is worth a job, of appended rows every
version is. A version of which a job waits, runs or failed since is told with that job, and gets
none beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from casparian.domain.files import StatIdentity
from casparian.domain.statuses import JobStatus

IN_THE_WAY = frozenset(
    {
        JobStatus.QUEUED,
        JobStatus.RUNNING,
        JobStatus.PROMOTING,
        JobStatus.FAILED,
        JobStatus.BLOCKED,
        JobStatus.SKIPPED,
    }
)
"""Statuses of a version's newest run for which it gets no other one."""


class InTheWay(NamedTuple):
    """A run of a version that is newer than its rows."""

    job_id: int
    status: JobStatus


class Outdated(NamedTuple):
    """A version with the job that made its rows, by the code `plugin_hash` (empty where that is
    not known). `current`: it is what the last scan found in its place."""

    plugin: str
    version_id: int
    location_id: int
    ordinal: int
    root_path: bytes
    path: bytes
    content_hash: str
    identity: StatIdentity
    seen_at_us: int
    current: bool
    job_id: int
    plugin_hash: str
    rows: int
    in_the_way: InTheWay | None = None


def made_by(job_id: int, plugin_hash: str, live_hash: str) -> str:
    """Why a version is outdated, as the history of its new job says it."""
    code = f"code {plugin_hash[:12]}" if plugin_hash else "code that is not known"
    return f"Job {job_id} made its rows with {code}; {live_hash[:12]} is live."


class Backfills(Protocol):
    """Kept with the queue.

    1. `outdated` tells, by id, each version of a plugin whose newest COMPLETED run was of other
       code than the plugin's live one; none of a plugin that is not active or has no live code.
    2. It leaves out a version that a run of the live code could not install any more: one of a
       location where a newer version was decided, unless the plugin has a topic in mode append.
    3. It leaves out rows that were purged, or withdrawn for another file of the same content.
    4. A run of the version that is newer than its rows, and has a status of IN_THE_WAY, is told.
    5. `enqueue_backfills` makes, for each of these versions that is outdated and has nothing in
       the way, a QUEUED job in the transaction that looked; `job_event` says who asked, and which
       code made the rows that stand. Called again, or by two at once, it makes none twice.
    6. These jobs are claimed after all jobs that files have by themselves, however long they wait,
       and among themselves by id.
    """

    def outdated(self, plugin: str) -> Iterator[Outdated]:
        """In pages, without a transaction held between them."""
        ...

    def enqueue_backfills(
        self, plugin: str, version_ids: Sequence[int], actor: str
    ) -> Mapping[int, int]:
        """The new job of each version that got one."""
        ...
