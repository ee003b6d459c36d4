"""What an engine tells of its work to whoever watches it: metrics, lineage events.

Told once per job or per group of jobs, never per row; told to nobody by default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from casparian.domain.jobs import Claim, Failure, JobStatus
from casparian.domain.messages import TopicTotals
from casparian.domain.publish import Manifest


class Stage(StrEnum):
    """The steps of a job whose time is taken, in their order.

    CLAIM, DECIDE, SYNC, PROMOTE and COMPLETE are one call for a group of jobs, the other two
    are one job each.
    """

    CLAIM = "claim"
    RUN = "run"
    STAGE = "stage"
    DECIDE = "decide"
    SYNC = "sync"
    PROMOTE = "promote"
    COMPLETE = "complete"


class JobObserver(Protocol):
    """Told of each job what became of it.

    1. A call returns at once, whatever becomes of what was told: nothing that publishes waits.
    2. It raises nothing.
    3. It comes from any thread; the calls of one attempt come in their order.
    4. `claimed` is the first call of an attempt, one of `published`, `failed`, `blocked` and
       `lost` the last. A job that was taken over has its end here and its beginning elsewhere.
    """

    def claimed(self, claims: Sequence[Claim], seconds: float) -> None:
        """Won by one call to the queue, which took `seconds`; never empty."""
        ...

    def ran(self, claim: Claim, seconds: float, topics: Mapping[str, TopicTotals]) -> None:
        """The plugin is done with the file; `topics` is what it sent."""
        ...

    def staged(self, claim: Claim, seconds: float) -> None:
        """All rows are in their stagings, `seconds` after the first of them came."""
        ...

    def published(self, manifest: Manifest, status: JobStatus) -> None:
        """The job is COMPLETED or SUPERSEDED; `manifest` holds what now stands in its targets."""
        ...

    def failed(self, claim: Claim, failure: Failure, status: JobStatus) -> None:
        """The attempt is over without rows; `status` is what the job is now."""
        ...

    def blocked(self, manifest: Manifest, message: str) -> None: ...

    def lost(self, claim: Claim) -> None:
        """The attempt is no longer this worker's: cancelled, or its lease was over."""
        ...


class Unobserved:
    """The observer of an engine that nobody watches."""

    def claimed(self, claims: Sequence[Claim], seconds: float) -> None:
        pass

    def ran(self, claim: Claim, seconds: float, topics: Mapping[str, TopicTotals]) -> None:
        pass

    def staged(self, claim: Claim, seconds: float) -> None:
        pass

    def published(self, manifest: Manifest, status: JobStatus) -> None:
        pass

    def failed(self, claim: Claim, failure: Failure, status: JobStatus) -> None:
        pass

    def blocked(self, manifest: Manifest, message: str) -> None:
        pass

    def lost(self, claim: Claim) -> None:
        pass
