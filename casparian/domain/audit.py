"""Auditing: what a queue's database and its targets really hold, as values that can be compared.

Both are read, never written. What must hold between them is in `casparian.domain.invariants`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from casparian.domain.bundles import BundleState
from casparian.domain.jobs import JobKind, JobStatus
from casparian.domain.publish import BundleKey, Generation, Manifest, Marker, SlotState, Target

FEW = 5
"""How many row numbers are named where many are wrong."""


class AuditedVersion(NamedTuple):
    """The file version that a job names, as it was recorded."""

    location_id: int
    ordinal: int
    content_hash: str


class AuditedJob(NamedTuple):
    """A job with its decision, and the version that it read."""

    id: int
    kind: JobKind
    status: JobStatus
    attempt: int
    token: str | None
    lease_until_us: int
    finished_at_us: int | None
    plugin: str
    location_id: int
    version_id: int
    ordinal: int
    manifest: Manifest | None
    version: AuditedVersion | None

    @property
    def key(self) -> tuple[str, int]:
        return self.plugin, self.location_id

    @property
    def generation(self) -> Generation:
        return Generation(self.ordinal, self.id)


@dataclass(frozen=True, slots=True)
class QueueReading:
    """A queue's database at one moment. `jobs` come by id, and can be read once."""

    installation: str
    jobs: Iterator[AuditedJob]
    slots: Mapping[tuple[str, int], SlotState]
    bundles: Mapping[BundleKey, BundleState]


class AuditedQueue(Protocol):
    """What a queue's database can do besides: tell all that an audit compares.

    1. All that one reading tells is of one moment, for as long as the context lasts.
    2. Nothing is written.
    """

    def read(self) -> AbstractContextManager[QueueReading]: ...


class RowsFound(NamedTuple):
    """The rows that one job has in a place: how many, and which of their numbers are not there
    once. `doubled` and `missing` are the first few; a row is missing below its marker's count.
    `digest` is computed anew, None where the place is not known by its rows' digest."""

    rows: int
    digest: str | None = None
    doubled: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    version_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Holding:
    """What a reader finds in one place of a target: a directory, a table. `rows` is by job id.

    `faults` are sentences on what lies there and is not as it was published.
    """

    target: Target
    place: str
    markers: tuple[Marker, ...] = ()
    rows: Mapping[int, RowsFound] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


@runtime_checkable
class AuditedSink(Protocol):
    """What a sink can do besides: tell what its targets really hold, counted from the rows.

    1. `holdings` tells every place where a reader finds rows, whoever put them there, and
       every place with a marker.
    2. Each holding is of one moment, also while somebody publishes.
    3. Nothing is written.
    """

    def holdings(self) -> Iterator[Holding]: ...


def account(numbers: Iterator[int], expected: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The first row numbers that come more than once, and the first of 0 to `expected` - 1 that
    do not come. `numbers` are in ascending order."""
    doubled: list[int] = []
    missing: list[int] = []
    due = 0
    for number in numbers:
        if number < due:
            if number not in doubled[-1:]:
                doubled.append(number)
            continue
        missing += range(due, min(number, due + FEW, expected))
        due = number + 1
    missing += range(due, min(expected, due + FEW))
    return tuple(doubled[:FEW]), tuple(missing[:FEW])
