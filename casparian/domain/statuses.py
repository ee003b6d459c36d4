"""The states and kinds of jobs as words. What may follow what stands in `jobs`, which gives these
names too; here a program finds them that only has to say them."""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PROMOTING = "PROMOTING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    BLOCKED = "BLOCKED"
    CANCELLED = "CANCELLED"
    SUPERSEDED = "SUPERSEDED"
    SKIPPED = "SKIPPED"
    """Another file's job does the same content: see `casparian.domain.duplicates`."""


class JobKind(StrEnum):
    """What a job does."""

    RUN = "RUN"
    """A plugin runs on a version of a file."""
    PURGE = "PURGE"
    """The rows that a plugin has published of a file are removed. No plugin runs, so no engine
    claims it: it is RUNNING from its beginning, held by who purges, and never QUEUED."""
    WITHDRAW = "WITHDRAW"
    """The rows of a file's earlier versions go, since another file's job does the content that
    it has now. It is claimed as a run is, and decided as one that publishes nothing; no plugin
    runs."""


UNFINISHED = frozenset({JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PROMOTING})


CANCELLABLE = frozenset({JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.SKIPPED})


GIVEN_UP = frozenset({JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.SUPERSEDED})
"""How a purge ends that has removed nothing."""
