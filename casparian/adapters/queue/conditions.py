"""Conditions on jobs, each in the words of the index that serves it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, func, literal_column, or_, select, union_all

from casparian.adapters.queue.tables.jobs import processing_job
from casparian.domain.jobs import JobStatus

_job = processing_job.c

WAITING: ColumnElement[bool] = _job.status == literal_column("'QUEUED'")
"""QUEUED, written out: a partial index serves no parameter."""
HELD: ColumnElement[bool] = _job.token.is_not(None)
"""RUNNING or PROMOTING."""
ENDED: ColumnElement[bool] = _job.finished_at_us.is_not(None)
"""COMPLETED, FAILED, BLOCKED, CANCELLED, SUPERSEDED or SKIPPED."""


def has_status(*statuses: JobStatus) -> ColumnElement[bool]:
    """The condition for one of these statuses, all of which wait, are held, or have ended."""
    if statuses == (JobStatus.QUEUED,):
        return WAITING
    held = set(statuses) <= {JobStatus.RUNNING, JobStatus.PROMOTING}
    named = [status.value for status in statuses]
    return (HELD if held else ENDED) & (
        _job.status == named[0] if len(named) == 1 else _job.status.in_(named)
    )


def lost_jobs(status: JobStatus, now_us: int, dead_workers: Iterable[str]) -> ColumnElement[bool]:
    """The condition under which a held job has lost its holder."""
    return has_status(status) & left_behind(now_us, dead_workers)


def left_behind(now_us: int, dead_workers: Iterable[str]) -> ColumnElement[bool]:
    """The same, whichever way the job is held."""
    # Every lease is at least 0: without that the index of leases is of no use to an OR.
    lost = [_job.lease_until_us <= now_us]
    if dead := sorted(dead_workers):
        lost.append(_job.worker.in_(dead))
    return (_job.lease_until_us >= 0) & or_(*lost)


def counted(*columns: ColumnElement[Any]) -> CompoundSelect[Any]:
    """Rows of these columns and a count, each kind of job from its own index."""
    return union_all(
        *(
            select(*columns, func.count()).where(kind).group_by(*columns)
            for kind in (WAITING, HELD, ENDED)
        )
    )
