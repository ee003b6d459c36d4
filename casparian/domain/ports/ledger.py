"""The port to what is decided and published."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from casparian.domain.bundles import BundleState
from casparian.domain.publish import (
    BundleKey,
    Completion,
    Decision,
    JobFate,
    Manifest,
    Refusal,
    SlotState,
    Target,
)
from casparian.domain.schemas import TargetSchema


class Promoting(NamedTuple):
    """A decided job taken over from a worker that stopped."""

    job_id: int
    token: str
    attempt: int
    manifest: Manifest
    emptied_known: bool = True


@runtime_checkable
class KnownPlaces(Protocol):
    """What a ledger can do besides: tell whether rows were published to a place.

    1. True from the decision on of the first job with rows for any target there.
    """

    def has_published_to(self, scheme: str, location: str) -> bool: ...


class PublishLedger(Protocol):
    """The decision log: slots, target schemas, manifests.

    1. `decide` is all or nothing for its group: it returns {} when every job is PROMOTING,
       else the refusals, and nothing has changed.
    2. It refuses STALE unless the job is RUNNING with this attempt and token; HELD while
       another unfinished job holds the (plugin, location), or a bundle that the manifest
       writes is decided and not installed; MOVED when the slot state, or the revision before
       the bundle's, is not the one planned on; SCHEMA when a target's schema is not the
       expected one.
    3. It takes the lock rows in key order, raises the generation, records the slots that
       will hold rows, and writes manifest, schemas and status in one transaction.
    4. `complete` compares token and status, releases the lock, forgets emptied slots; ids
       whose token was stale are absent from its result. Completing a newer job ends BLOCKED
       jobs of the same plugin and location SUPERSEDED.
    5. `take_over` gives PROMOTING jobs whose lease is over, or whose worker is dead, a fresh
       token and the caller's lease; the attempt stays.
    6. `block` ends a job BLOCKED and releases its lock; the manifest stays.
    7. The installation is made with the database and never changes by itself.
    8. A bundle is decided at the revision after the one installed last, by all of its jobs at
       once, and is installed as soon as one of them completes.
    """

    @property
    def installation(self) -> str:
        """The UUID of this queue, 32 hex digits."""
        ...

    def highest_job_id(self) -> int: ...

    def slots(self, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], SlotState]:
        """The state of each (plugin, location id); an empty SlotState where there is none."""
        ...

    def schemas(self, targets: Sequence[Target]) -> dict[Target, TargetSchema]:
        """The schema of each target that has one."""
        ...

    def bundles(self, keys: Iterable[BundleKey]) -> dict[BundleKey, BundleState]:
        """The state of each bundle; an empty BundleState where there is none."""
        ...

    def decide(self, decisions: Sequence[Decision]) -> dict[int, Refusal]: ...

    def complete(self, completions: Sequence[Completion]) -> set[int]: ...

    def block(self, job_id: int, token: str, message: str) -> bool: ...

    def take_over(
        self, worker: str, limit: int, lease_us: int, dead_workers: Iterable[str] = ()
    ) -> list[Promoting]: ...

    def fates(self, job_ids: Sequence[int]) -> dict[int, JobFate]: ...
