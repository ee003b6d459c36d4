"""Rows of one slot, read back from a database: the part that its sinks have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.publish import Marker

UNREADABLE = (pa.ArrowException, LookupError, ValueError, TypeError, OverflowError)
"""What decoding raises for values that are not of their column's type."""


@dataclass(frozen=True, slots=True)
class TableRows:
    """`StandingRows`. `read` and `digest` are of the marker's job, each computed anew."""

    marker: Marker
    where: str
    read: Callable[[], Iterator[pa.RecordBatch]]
    digest: Callable[[], str]

    def batches(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self.read()
        except UNREADABLE as error:
            raise not_as_published(self.marker, self.where, error) from error

    def altered(self) -> bool:
        try:
            return self.digest() != self.marker.digest
        except UNREADABLE:
            return True


def not_as_published(marker: Marker, where: str, error: Exception) -> JobError:
    return JobError(
        ErrorClass.FOREIGN_ROWS,
        f"The rows of job {marker.job_id} in {where} are not as they were published: {error}. "
        "Somebody changed them; `casparian check --deep` tells more.",
    )
