"""The invariants I1 to I10 of publishing, held against what a queue and its targets hold.

Here is what must hold of the queue by itself, and of stagings; what must hold of the targets is in
`casparian.domain.comparison`. docs/reliability.md has the invariants in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from casparian.domain.adoption import DECIDED
from casparian.domain.audit import AuditedJob, QueueReading
from casparian.domain.bundles import BundleState, revisions_of
from casparian.domain.jobs import JobKind, JobStatus
from casparian.domain.publish import (
    BundleKey,
    Generation,
    JobFate,
    Marker,
    SlotKey,
    SlotState,
    StagingKey,
    Target,
    is_orphan,
)

Key = tuple[str, int]
_HELD = frozenset({JobStatus.RUNNING, JobStatus.PROMOTING})
_WAITING = _HELD | {JobStatus.QUEUED}
_WITH_MANIFEST = frozenset({JobStatus.PROMOTING, JobStatus.BLOCKED, JobStatus.COMPLETED})


class Invariant(StrEnum):
    """What must hold at every moment, whatever stopped when."""

    ONE_ATTEMPT = "I1"
    """At most one committed attempt of each job and topic."""
    EXACT_ROWS = "I2"
    """A completed job's slot has its marker, its rows and its digest, or newer ones."""
    DECIDED_ONLY = "I3"
    """A marker means that its job was decided."""
    NEVER_OLDER = "I4"
    """A slot's generation never falls."""
    SAME_EVERYWHERE = "I5"
    """All sinks show one attempt of a job."""
    WHOLE_FOR_READERS = "I6"
    """No reader finds rows that are staged, partial or nobody's."""
    NO_STALE_TOKEN = "I7"
    """A token is held by who runs or promotes a job, and by nobody else."""
    ALIVE = "I8"
    """Every live job waits, is leased, or is taken over; no lock is held by nobody."""
    NO_ORPHANS = "I9"
    """No staging is left that belongs to nobody."""
    RIGHT_CONTENT = "I10"
    """What was published was read from the content of its file version."""


class Violation(NamedTuple):
    """One thing that should not be. `job_ids`: the jobs that it concerns."""

    invariant: Invariant
    where: str
    what: str
    job_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """What a slot holds by the queue's books: the newest completed job's, as a marker."""

    marker: Marker
    staged: bool
    bundled: bool


@dataclass(slots=True)
class Decided:
    """What is remembered of a decided job."""

    fate: JobFate
    key: Key
    generation: Generation
    version_id: int
    content_hash: str
    markers: dict[tuple[Target, SlotKey], Marker] = field(default_factory=dict)


class Books:
    """A queue's reading, digested, with what is wrong with it by itself.

    `overdue_us`: RUNNING and PROMOTING jobs whose lease ended before it are named; None where no
    engine runs that would have to reap them.
    """

    def __init__(self, reading: QueueReading, overdue_us: int | None = None) -> None:
        self.installation = reading.installation
        self.slots: Mapping[Key, SlotState] = reading.slots
        self.bundles: Mapping[BundleKey, BundleState] = reading.bundles
        self.violations: list[Violation] = []
        self.jobs = 0
        self.targets: set[Target] = set()
        self._fates: dict[int, JobFate] = {}
        self._decided: dict[int, Decided] = {}
        self._expected: dict[tuple[Target, SlotKey], Entry] = {}
        self._newest: dict[Key, Generation] = {}
        self._writing: dict[BundleKey, int] = {}
        for job in reading.jobs:
            self._take(job, overdue_us)
        self._check_locks()

    def in_motion(self, slots: Mapping[Key, SlotState]) -> set[Key]:
        """The (plugin, location) that were being published to, or have been since; `slots`: as
        they are after the targets were read."""
        held = {key for key, state in self.slots.items() if state.holder is not None}
        return held | {k for k in self.slots.keys() | slots if self.slots.get(k) != slots.get(k)}

    # --- the queue by itself --------------------------------------------------------------

    def _take(self, job: AuditedJob, overdue_us: int | None) -> None:
        self.jobs += 1
        self._fates[job.id] = JobFate(job.status, job.attempt, job.token)
        for invariant, what in _problems_of(job, overdue_us):
            self._add(invariant, f"job {job.id}", what, job.id)
        manifest = job.manifest
        if manifest is None or job.status not in DECIDED:
            return
        version_hash = job.version.content_hash if job.version is not None else ""
        decided = Decided(
            self._fates[job.id], job.key, manifest.generation, job.version_id, version_hash
        )
        self._decided[job.id] = decided
        self._newest[job.key] = max(
            self._newest.get(job.key, manifest.generation), manifest.generation
        )
        if job.status in (JobStatus.PROMOTING, JobStatus.BLOCKED):
            for key, revision in revisions_of(manifest).items():
                self._writing[key] = max(revision, self._writing.get(key, 0))
        for item in manifest.items:
            # Rows that changed their owner keep the manifest of the installation before.
            marker = replace(Marker.of(manifest, item), installation=self.installation)
            place = (item.target, item.slot)
            decided.markers[place] = marker
            self.targets.add(item.target)
            standing = self._expected.get(place)
            if job.status is JobStatus.COMPLETED and (
                standing is None or standing.marker.generation < marker.generation
            ):
                self._expected[place] = Entry(marker, item.staged, bool(item.bundle))

    def _check_locks(self) -> None:
        for (plugin, location_id), state in self.slots.items():
            where = f"the lock of {plugin} on location {location_id}"
            newest = self._newest.get((plugin, location_id))
            if newest is not None and (state.generation is None or state.generation < newest):
                self._add(
                    Invariant.NEVER_OLDER, where,
                    f"It is at generation {told(state.generation)}, but job "
                    f"{newest.enqueue} was decided at {told(newest)}.", newest.enqueue,
                )  # fmt: skip
            if state.holder is not None:
                fate = self._fates.get(state.holder)
                if fate is None or fate.status is not JobStatus.PROMOTING:
                    status = "is not known" if fate is None else f"is {fate.status}"
                    self._add(
                        Invariant.ALIVE, where,
                        f"Job {state.holder} holds it, and {status}: nobody will release it.",
                        state.holder,
                    )  # fmt: skip
        for job_id, decided in self._decided.items():
            state = self.slots.get(decided.key, SlotState())
            if decided.fate.status is JobStatus.PROMOTING and state.holder != job_id:
                self._add(
                    Invariant.ALIVE, f"job {job_id}",
                    f"It is PROMOTING without the lock of {decided.key[0]} on location "
                    f"{decided.key[1]}, which {_holder(state.holder)} holds.", job_id,
                )  # fmt: skip
        for key, bundle in self.bundles.items():
            if bundle.held and self._writing.get(key) != bundle.revision:
                self._add(
                    Invariant.ALIVE, f"bundle {key.name} of {key.target}",
                    f"Revision {bundle.revision} was decided and {bundle.installed} is installed, "
                    "but no job is left to install it: its files can no longer be corrected.",
                )  # fmt: skip

    def _add(self, invariant: Invariant, where: str, what: str, *job_ids: int) -> None:
        self.violations.append(Violation(invariant, where, what, job_ids))

    # --- against the targets --------------------------------------------------------------

    def of_stagings(self, sink: str, stagings: Iterable[StagingKey]) -> Iterator[Violation]:
        """I9. The stagings must have been listed before the queue was read."""
        for key in stagings:
            if key.installation == self.installation[: len(key.installation)] and is_orphan(
                key, self._fates.get(key.job_id)
            ):
                yield Violation(
                    Invariant.NO_ORPHANS, sink,
                    f"The staging {key.name} belongs to no job that runs or is decided.",
                    (key.job_id,),
                )  # fmt: skip

    def expected_in(self, targets: set[Target]) -> Iterator[tuple[tuple[Target, SlotKey], Entry]]:
        return ((p, entry) for p, entry in self._expected.items() if p[0] in targets)

    def decided(self, job_id: int) -> Decided | None:
        return self._decided.get(job_id)

    def fate(self, job_id: int) -> JobFate | None:
        return self._fates.get(job_id)


def _problems_of(job: AuditedJob, overdue_us: int | None) -> Iterator[tuple[Invariant, str]]:
    """A job by itself."""
    if (job.token is not None) != (job.status in _HELD):
        has = "has a token" if job.token is not None else "has no token"
        yield Invariant.NO_STALE_TOKEN, f"It is {job.status} and {has}."
    if (job.finished_at_us is not None) != (job.status not in _WAITING):
        has = "has ended" if job.finished_at_us is not None else "has not ended"
        yield Invariant.NO_STALE_TOKEN, f"It is {job.status} and, by its times, {has}."
    if job.status in _HELD and overdue_us is not None and job.lease_until_us < overdue_us:
        late = (overdue_us - job.lease_until_us) / 1e6
        yield (
            Invariant.ALIVE,
            f"It is {job.status}, and should have been taken over {late:,.1f} s ago.",
        )
    manifest = job.manifest
    if manifest is None:
        if job.status in _WITH_MANIFEST:
            yield Invariant.EXACT_ROWS, f"It is {job.status}, and nothing says what was decided."
        return
    if (manifest.job_id, manifest.attempt) != (job.id, job.attempt) and job.status in DECIDED:
        yield (
            Invariant.ONE_ATTEMPT,
            f"It is at attempt {job.attempt}; decided was attempt {manifest.attempt} of job "
            f"{manifest.job_id}.",
        )
    if job.version is None:
        yield Invariant.RIGHT_CONTENT, f"Its file version {job.version_id} is not known."
        return
    version = job.version
    decided = (manifest.location_id, manifest.ordinal, manifest.file_version_id)
    if decided != (version.location_id, version.ordinal, job.version_id):
        yield (
            Invariant.RIGHT_CONTENT,
            f"It was decided for version {manifest.file_version_id}, number {manifest.ordinal} of "
            f"location {manifest.location_id}; the job is on version {job.version_id}, number "
            f"{version.ordinal} of location {version.location_id}.",
        )
    elif job.kind is JobKind.RUN and manifest.content_hash != version.content_hash:
        yield (
            Invariant.RIGHT_CONTENT,
            f"It read content {manifest.content_hash[:12]}, its file version has "
            f"{version.content_hash[:12]}.",
        )


def told(generation: Generation | None) -> str:
    return "none" if generation is None else f"({generation.ordinal}, {generation.enqueue})"


def _holder(holder: int | None) -> str:
    return "nobody" if holder is None else f"job {holder}"
