"""The operator's documents of jobs, made of domain values: every database says the same.

Times are ISO 8601, UTC; paths are text by surrogateescape.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from casparian.adapters.queue.common import JobEvent, iso, iso_or_none
from casparian.adapters.queue.standing import JobStory, purged_of
from casparian.domain.files import FileLocation, path_text
from casparian.domain.jobs import ProcessingJob
from casparian.domain.requirements import Environment

if TYPE_CHECKING:
    from casparian.domain.documents.jobs import (
        EnvironmentDocument,
        ErrorDocument,
        EventDocument,
        JobDocument,
        JobStoryDocument,
        OriginalDocument,
        OutputDocument,
    )


def event_document(event: JobEvent) -> EventDocument:
    return {
        "attempt": event.attempt,
        "at": iso(event.at_us),
        "event": str(event.event),
        "worker": event.worker,
        "class": event.error_class,
        "message": event.message,
        "detail": event.detail,
        "actor": event.actor,
    }


def job_document(
    job: ProcessingJob,
    path: bytes,
    events: Sequence[JobEvent],
    original: OriginalDocument | None = None,
) -> JobDocument:
    """One job of `casparian jobs`. A job that is blocked has no error class but its status."""
    error: ErrorDocument | None = None
    if job.error_message is not None:
        error = {
            "class": str(job.error_class or job.status),
            "message": job.error_message,
            "attempts": [event_document(event) for event in events],
        }
    return {
        "id": job.id,
        "kind": str(job.kind),
        "status": str(job.status),
        "plugin": job.plugin,
        "plugin_hash": job.plugin_hash,
        "sandbox": job.sandbox,
        "environment_digest": job.environment,
        "path": path_text(path),
        "file_version_id": job.file_version_id,
        "duplicate_of": original,
        "attempt": job.attempt,
        "priority": job.priority,
        "rows": job.rows,
        "rejects": job.rejects,
        "rows_read": job.rows + job.rejects,
        "error": error,
        "worker": job.worker,
        "enqueued_at": iso(job.enqueued_at_us),
        "not_before": iso(job.not_before_us),
        "started_at": iso_or_none(job.started_at_us),
        "finished_at": iso_or_none(job.finished_at_us),
    }


def outputs_of(story: JobStory, others: Iterable[JobStory]) -> list[OutputDocument]:
    """Where a decided job's rows are (`staged`), and which slots it empties."""
    items = story.manifest.items if story.manifest else ()
    purged = purged_of(story, others)
    return [
        {
            "topic": item.slot.topic,
            "target": str(item.target),
            "mode": str(item.mode),
            "slot": item.slot.name,
            "bundle": item.bundle or None,
            "emptied": not item.staged,
            "rows": item.rows,
            "digest": item.digest,
            "files": list(item.files),
            "purged": purged.get((item.target, item.slot)),
        }
        for item in items
    ]


def job_story_document(
    location: FileLocation, one: JobStory, others: Iterable[JobStory]
) -> JobStoryDocument:
    return {
        **job_document(one.job, location.path, one.events, one.original),
        "events": [event_document(event) for event in one.events],
        "outputs": outputs_of(one, others),
        "environment": environment_document(one.environment),
    }


def environment_document(environment: Environment | None) -> EnvironmentDocument | None:
    if environment is None:
        return None
    return {
        "digest": environment.digest,
        "directory": environment.key,
        "python": environment.python,
        "packages": list(environment.packages),
    }
