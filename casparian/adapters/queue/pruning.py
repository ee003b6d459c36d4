"""Old history removed, over SQL: never what a published row is traced by, nor by whom it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, insert, select, update

from casparian.adapters.queue.conditions import ENDED
from casparian.adapters.queue.status_documents import PRUNINGS_TOLD, pruning_document
from casparian.adapters.queue.tables.files import file_location
from casparian.adapters.queue.tables.jobs import content_copy, job_event, processing_job, pruning
from casparian.domain.ports import Pruned

if TYPE_CHECKING:
    from casparian.domain.documents.status import PruningDocument

_job, _event, _location = processing_job.c, job_event.c, file_location.c
AT_ONCE = 500
"""Rows removed in one transaction."""


def prune_some(connection: Connection, before_us: int) -> Pruned:
    """A piece of the work, so that no writer waits long; (0, 0) when nothing is left to do."""
    old = (ENDED, _job.finished_at_us < before_us)
    # A job that was retried since has no end: its history is not old.
    events = (
        select(_event.id)
        .join(processing_job, _job.id == _event.job_id)
        .where(*old, _event.at_us < before_us)
        .limit(AT_ONCE)
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
        .limit(AT_ONCE)
    )
    # The deleting statement asks again: a job may have been retried since it was chosen.
    remove = delete(processing_job).where(_job.id.in_(jobs), *old)
    pruned = connection.execute(remove).rowcount
    if pruned:
        copies = content_copy.c.job_id
        connection.execute(delete(content_copy).where(copies.not_in(select(_job.id))))
    return Pruned(pruned, 0)


def record(
    connection: Connection,
    pruning_id: int | None,
    at_us: int,
    actor: str,
    before_us: int,
    part: Pruned,
) -> int:
    """What a piece removed, in the transaction that removes it: the first makes the record."""
    if pruning_id is None:
        row = {"at_us": at_us, "actor": actor, "before_us": before_us, **part._asdict()}
        key = connection.execute(insert(pruning).values(row)).inserted_primary_key
        assert key is not None
        return int(key[0])
    more = {"jobs": pruning.c.jobs + part.jobs, "events": pruning.c.events + part.events}
    connection.execute(update(pruning).where(pruning.c.id == pruning_id).values(more))
    return pruning_id


def newest_prunings(connection: Connection) -> list[PruningDocument]:
    statement = select(pruning).order_by(pruning.c.id.desc()).limit(PRUNINGS_TOLD)
    return [
        pruning_document(row.at_us, row.actor, row.before_us, Pruned(row.jobs, row.events))
        for row in connection.execute(statement)
    ]
