"""Several observers as one. What goes wrong in one of them is its own affair, and logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from casparian.domain.jobs import Claim, Failure, JobStatus
from casparian.domain.messages import TopicTotals
from casparian.domain.observer import JobObserver
from casparian.domain.publish import Manifest

log = structlog.get_logger("casparian.engine")


class Observers:
    """A JobObserver that tells all of these, in their order."""

    def __init__(self, observers: Sequence[JobObserver]) -> None:
        self._observers = tuple(observers)

    def claimed(self, claims: Sequence[Claim], seconds: float) -> None:
        self._tell("claimed", claims, seconds)

    def ran(self, claim: Claim, seconds: float, topics: Mapping[str, TopicTotals]) -> None:
        self._tell("ran", claim, seconds, topics)

    def staged(self, claim: Claim, seconds: float) -> None:
        self._tell("staged", claim, seconds)

    def published(self, manifest: Manifest, status: JobStatus) -> None:
        self._tell("published", manifest, status)

    def failed(self, claim: Claim, failure: Failure, status: JobStatus) -> None:
        self._tell("failed", claim, failure, status)

    def blocked(self, manifest: Manifest, message: str) -> None:
        self._tell("blocked", manifest, message)

    def lost(self, claim: Claim) -> None:
        self._tell("lost", claim)

    def _tell(self, event: str, *what: Any) -> None:
        for observer in self._observers:
            try:
                getattr(observer, event)(*what)
            except Exception:
                log.exception("an observer failed; the job goes on", observer=type(observer))
