"""What the tables of a SQL sink hold: each job's rows counted and digested anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import pyarrow as pa

from casparian.domain.audit import Holding, RowsFound, account
from casparian.domain.publish import Marker, Target

Counted = tuple[int, int, int, int]
"""A job, how many rows it has, how many of their numbers differ, and the highest of these."""


class AuditedTables(Protocol):
    """One kind of database, looked at. Raises what its sink translates."""

    def markers(self) -> Iterable[tuple[str, Marker]]:
        """Each with its table, those of a table by their jobs."""
        ...

    def made_here(self) -> Iterable[str]:
        """The names of all targets."""
        ...

    def exists(self, table: str) -> bool: ...

    def counted(self, table: str) -> Iterable[Counted]: ...

    def versions(self, table: str) -> Iterable[tuple[int, int]]:
        """Each job with each file version that its rows name, ascending."""
        ...

    def numbers(self, table: str, job_id: int) -> Iterable[int]:
        """The numbers of a job's rows, ascending."""
        ...

    def digest(self, table: str, job_id: int) -> str:
        """Of a job's rows, computed anew. Raises ArrowException or LookupError for rows that are
        not of the table's columns."""
        ...


def holdings(db: AuditedTables, scheme: str, location: str) -> Iterator[Holding]:
    """Every table that was made here. The caller sees to it that they are of one moment."""
    markers: dict[str, list[Marker]] = {}
    for table, marker in db.markers():
        markers.setdefault(table, []).append(marker)
    for table in sorted({*db.made_here(), *markers}):
        yield holding(db, Target(scheme, location, table), tuple(markers.get(table, ())))


def holding(db: AuditedTables, target: Target, markers: tuple[Marker, ...]) -> Holding:
    table = target.name
    if not db.exists(table):
        filled = any(marker.rows for marker in markers)
        gone = ("The table is gone, and its markers are not.",) if filled else ()
        return Holding(target, str(target), markers, faults=gone)
    expected = {marker.job_id: marker.rows for marker in markers if marker.rows}
    versions: dict[int, list[int]] = {}
    for job_id, version in db.versions(table):
        versions.setdefault(job_id, []).append(version)
    faults: list[str] = []
    rows: dict[int, RowsFound] = {}
    for job_id, count, distinct, highest in db.counted(table):
        due = expected.get(job_id, 0)
        digest: str | None = None
        doubled: tuple[int, ...] = ()
        missing: tuple[int, ...] = ()
        if count == distinct == due == highest + 1:
            try:
                digest = db.digest(table, job_id)
            except (pa.ArrowException, LookupError) as error:
                faults.append(f"The rows of job {job_id} are not as they were published: {error}.")
        else:
            doubled, missing = account(iter(db.numbers(table, job_id)), due)
        found = tuple(versions.get(job_id, ()))
        rows[job_id] = RowsFound(count, digest, doubled, missing, found)
    return Holding(target, str(target), markers, rows, tuple(faults))
