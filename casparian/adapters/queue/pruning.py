"""Old history removed, over SQL: never what a published row is traced by."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from casparian.adapters.queue.conditions import ENDED
from casparian.adapters.queue.database import CHUNK
from casparian.adapters.queue.tables import file_location, job_event, processing_job
from casparian.domain.ports import Pruned

_job, _event, _location = processing_job.c, job_event.c, file_location.c


def prune_some(connection: Connection, before_us: int) -> Pruned:
    """A piece of the work, so that no writer waits long; (0, 0) when nothing is left to do."""
    old = (ENDED, _job.finished_at_us < before_us)
    # A job that was retried since has no end: its history is not old.
    events = (
        select(_event.id)
        .join(processing_job, _job.id == _event.job_id)
        .where(*old, _event.at_us < before_us)
        .limit(CHUNK)
    )
    removed = connection.execute(delete(job_event).where(_event.id.in_(events))).rowcount
    if removed:
        return Pruned(0, removed)
    current = select(_location.current_version_id).where(_location.id == _job.location_id)
    jobs = (
        select(_job.id)
        .where(
            *old,
            _job.manifest.is_(None),
            _job.file_version_id != current.scalar_subquery(),
            # Somebody may have acted on it since it ended.
            ~select(_event.id).where(_event.job_id == _job.id).exists(),
        )
        .limit(CHUNK)
    )
    # The deleting statement asks again: a job may have been retried since it was chosen.
    remove = delete(processing_job).where(_job.id.in_(jobs), *old)
    return Pruned(connection.execute(remove).rowcount, 0)
