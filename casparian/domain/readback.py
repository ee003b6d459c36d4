"""Reading published rows back: what stands in a slot of a target, as values that can be compared.

Rows are Arrow's, opaque here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from casparian.domain.publish import Marker, PublishedSlot


class StandingRows(Protocol):
    """The rows of one slot, for as long as their context lasts. `marker` says whose they are."""

    marker: Marker

    def batches(self) -> Iterator[Any]:
        """RecordBatches in the target's columns, with those for lineage; from the beginning at
        each call."""
        ...

    def altered(self) -> bool:
        """True where these are not the rows that were published by the marker's job."""
        ...


@runtime_checkable
class ReadableSink(Protocol):
    """What a sink can do besides: give the rows of a slot back, in a form to compare them by.

    1. `reading` gives what stands in a slot as a reader finds it, also what somebody changed by
       hand; None where there is no such slot.
    2. All that one `reading` gives is of one moment, for as long as its context lasts, also while
       somebody publishes. Raises UnavailableError where that cannot be kept, or where the target
       cannot be read; JobError (FOREIGN_ROWS) for what was not published by Casparian.
    3. `plain` gives rows as columns of int64, uint64, string, binary or null. Two rows are equal in
       it just where the target, by the sink's documented mapping, keeps the same of both: a NaN is
       equal to a NaN. It raises JobError (DATA) for columns and values that the target cannot hold.
    4. Nothing is written.
    """

    def reading(self, place: PublishedSlot) -> AbstractContextManager[StandingRows | None]: ...

    def plain(self, rows: Any, where: str) -> Any:
        """`rows` is a RecordBatch in the target's columns; `where` names the target in errors."""
        ...
