"""The stories of versions and jobs, read over SQL: what `why` and `trace` are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Row, select

from casparian.adapters.queue.common import JobEvent
from casparian.adapters.queue.duplicate_choices import originals_of
from casparian.adapters.queue.environments import environments_of
from casparian.adapters.queue.file_documents import VersionStory
from casparian.adapters.queue.rows import JOB_COLUMNS, event_of, job_of, version_of
from casparian.adapters.queue.slots import slot_states
from casparian.adapters.queue.standing import JobStory, published_document
from casparian.adapters.queue.statements import chunks
from casparian.adapters.queue.tables.files import file_location, file_version, source_root
from casparian.adapters.queue.tables.jobs import job_event, processing_job
from casparian.adapters.queue.tables.plugins import file_tag, routing_rule
from casparian.adapters.queue.tables.publishing import published_slot
from casparian.domain.files import FileLocation, path_text
from casparian.domain.jobs import JobStatus
from casparian.domain.publish import Manifest
from casparian.domain.routing import RoutingRule

if TYPE_CHECKING:
    from casparian.domain.documents.jobs import PublishedDocument

_job, _version = processing_job.c, file_version.c


def stories_of(connection: Connection, location: FileLocation) -> list[VersionStory]:
    versions = connection.execute(
        select(file_version).where(_version.location_id == location.id).order_by(_version.ordinal)
    ).all()
    return [
        VersionStory(
            version_of(row),
            _tags(connection, row.id),
            _job_stories(connection, _job.file_version_id == row.id),
        )
        for row in versions
    ]


def story_of_job(connection: Connection, job_id: int) -> VersionStory | None:
    """The version that a job was for, told with that job alone; None for an unknown id."""
    jobs = _job_stories(connection, _job.id == job_id)
    if not jobs:
        return None
    version_id = jobs[0].job.file_version_id
    statement = select(file_version).where(_version.id == version_id)
    version = version_of(connection.execute(statement).one())
    return VersionStory(version, _tags(connection, version_id), jobs)


def jobs_beside(connection: Connection, location_id: int, plugin: str) -> list[JobStory]:
    """Every job of a plugin on a file, of whatever version."""
    versions = select(_version.id).where(_version.location_id == location_id)
    return _job_stories(connection, _job.file_version_id.in_(versions), _job.plugin_name == plugin)


def _tags(connection: Connection, version_id: int) -> dict[str, RoutingRule | None]:
    statement = (
        select(file_tag.c.tag, routing_rule)
        .outerjoin(routing_rule, routing_rule.c.id == file_tag.c.rule_id)
        .where(file_tag.c.file_version_id == version_id)
    )
    return {row[0]: _rule_of(row) for row in connection.execute(statement)}


def _rule_of(row: Row[Any]) -> RoutingRule | None:
    if row.id is None:
        return None
    return RoutingRule(row.pattern, row[0], row.priority, row.id)


def _job_stories(connection: Connection, *where: ColumnElement[bool]) -> list[JobStory]:
    statement = select(*JOB_COLUMNS, _job.manifest).where(*where)
    rows = connection.execute(statement.order_by(_job.id)).all()
    events = events_of(connection, [row.id for row in rows])
    originals = originals_of(connection, [row.id for row in rows])
    environments = environments_of(connection, (row.environment for row in rows))
    return [
        JobStory(
            job_of(row),
            events.get(row.id, ()),
            Manifest.from_json(row.manifest) if row.manifest else None,
            originals.get(row.id),
            environments.get(row.environment),
        )
        for row in rows
    ]


def published_of_files(
    connection: Connection, matches: Callable[[str], bool]
) -> list[PublishedDocument]:
    """`Reports.published`."""
    owners = [row for row in connection.execute(_OWNERS) if matches(path_text(row.path))]
    found = []
    for part in chunks(owners):
        states = slot_states(connection, [(row.plugin_name, row.location_id) for row in part])
        jobs = _completed(connection, [row.location_id for row in part])
        for row in part:
            key = (row.plugin_name, row.location_id)
            slots, mine = states[key].published, jobs.get(key, ())
            found.append(published_document(row.path, row.root_path, row.deleted, key, slots, mine))
    return found


_OWNERS = (
    select(
        published_slot.c.plugin_name,
        published_slot.c.location_id,
        file_location.c.path,
        file_location.c.deleted,
        source_root.c.path.label("root_path"),
    )
    .join(file_location, file_location.c.id == published_slot.c.location_id)
    .join(source_root, source_root.c.id == file_location.c.source_root_id)
    .distinct()
    .order_by(source_root.c.path, file_location.c.path, published_slot.c.plugin_name)
)


def _completed(
    connection: Connection, location_ids: Sequence[int]
) -> dict[tuple[str, int], list[JobStory]]:
    """The completed jobs of these files by plugin and location, without their history."""
    statement = (
        select(*JOB_COLUMNS, _job.manifest)
        .join(file_version, _version.id == _job.file_version_id)
        .where(
            _version.location_id.in_(sorted(set(location_ids))),
            _job.status == JobStatus.COMPLETED.value,
            _job.manifest.is_not(None),
        )
    )
    jobs: dict[tuple[str, int], list[JobStory]] = {}
    for row in connection.execute(statement):
        story = JobStory(job_of(row), (), Manifest.from_json(row.manifest))
        jobs.setdefault((row.plugin_name, row.location_id), []).append(story)
    return jobs


def events_of(connection: Connection, job_ids: Sequence[int]) -> dict[int, list[JobEvent]]:
    events: dict[int, list[JobEvent]] = {}
    for ids in chunks(job_ids):
        mine = select(job_event).where(job_event.c.job_id.in_(list(ids)))
        for row in connection.execute(mine.order_by(job_event.c.id)):
            events.setdefault(row.job_id, []).append(event_of(row))
    return events
