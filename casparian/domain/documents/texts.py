"""What a text in a document may be: a time, or one of several values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from casparian.domain.jobs import JobEventKind, JobKind, JobStatus
from casparian.domain.plugins import Mode


class OneOf:
    """A text is one of these."""

    def __init__(self, *values: str) -> None:
        self.values = values

    @staticmethod
    def each(values: Iterable[str]) -> OneOf:
        return OneOf(*values)


class TimeText:
    """A text is a time: ISO 8601, UTC, with microseconds, as 2026-01-31T10:00:00.000000Z."""


Time = Annotated[str, TimeText()]
Status = Annotated[str, OneOf.each(JobStatus)]
Kind = Annotated[str, OneOf.each(JobKind)]
ModeText = Annotated[str, OneOf.each(Mode)]
EventKind = Annotated[str, OneOf.each(JobEventKind)]
