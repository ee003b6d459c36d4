"""Who does each content, over SQL: as the configuration begins or ends skipping duplicates, as rows
are taken over, and as reports tell it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Connection,
    Select,
    and_,
    delete,
    exists,
    insert,
    or_,
    select,
    update,
)

from casparian.adapters.queue.duplicates import ACTIVE, Due, candidates, run_instead
from casparian.adapters.queue.statements import chunks
from casparian.adapters.queue.tables.files import file_location, file_version, source_root
from casparian.adapters.queue.tables.jobs import content_copy, content_doer, processing_job
from casparian.adapters.queue.tables.plugins import topic_config
from casparian.adapters.queue.tables.publishing import publish_slot, published_slot
from casparian.domain.files import path_text
from casparian.domain.jobs import JobKind, JobStatus
from casparian.domain.plugins import REJECTS_TOPIC, Duplicates

if TYPE_CHECKING:
    from casparian.domain.documents.jobs import OriginalDocument

_job, _version, _location = processing_job.c, file_version.c, file_location.c
_doer, _copy = content_doer.c, content_copy.c


def skipping_plugins(connection: Connection) -> set[str]:
    """The plugins that skip duplicates, as configured now."""
    topic = topic_config.c
    names = select(topic.plugin_name).where(
        topic.active, topic.topic != REJECTS_TOPIC, topic.duplicates == Duplicates.SKIP.value
    )
    return set(connection.execute(names.distinct()).scalars())


# --- the configuration ---------------------------------------------------------------------


def apply_choices(connection: Connection, before: Collection[str], due: Due) -> int:
    """Plugins that skip duplicates now, and did not `before`, know what is done; those that do
    so no more have their skipped files run. Returns how many jobs were enqueued."""
    skipping = skipping_plugins(connection)
    count = 0
    for plugin in sorted(skipping.difference(before)):
        count += find_doers(connection, plugin, due)
    active = select(topic_config.c.plugin_name).where(topic_config.c.active)
    known = set(connection.execute(select(_doer.plugin_name).distinct()).scalars())
    known |= set(connection.execute(select(_copy.plugin_name).distinct()).scalars())
    for plugin in sorted(known & set(connection.execute(active).scalars()) - skipping):
        for row in connection.execute(candidates().where(_copy.plugin_name == plugin)).all():
            run_instead(connection, row, None, "", due)
            count += 1
        connection.execute(delete(content_copy).where(_copy.plugin_name == plugin))
        connection.execute(delete(content_doer).where(_doer.plugin_name == plugin))
    return count


def find_doers(connection: Connection, plugin: str, due: Due) -> int:
    """Who does each content, found anew: first whose rows stand, then who waits or runs, else one
    of the skipped. Returns how many of those were enqueued."""
    connection.execute(delete(content_doer).where(_doer.plugin_name == plugin))
    slot, published = publish_slot.c, published_slot.c
    owned = and_(slot.plugin_name == plugin, slot.location_id == _job.location_id)
    rows_stand = or_(
        # In mode replace the slot is the newest publication's, in mode append the version's own.
        and_(published.version_id == 0, slot.enqueue == _job.id),
        published.version_id == _job.file_version_id,
    )
    standing = (_job.status == JobStatus.COMPLETED.value) & exists().where(
        owned,
        published.plugin_name == plugin,
        published.location_id == _job.location_id,
        rows_stand,
    )
    runs = (
        select(_version.content_hash, _job.id, _job.location_id)
        .join(file_version, _version.id == _job.file_version_id)
        .where(_job.plugin_name == plugin, _job.kind == JobKind.RUN.value)
    )
    doers: dict[str, tuple[int, int]] = {}
    for found in (standing, _job.status.in_(ACTIVE)):
        for row in connection.execute(runs.where(found).order_by(_job.id)):
            doers.setdefault(row.content_hash, (row.id, row.location_id))
    count = 0
    for row in connection.execute(candidates().where(_copy.plugin_name == plugin)).all():
        if row.content_hash not in doers:
            new_id = run_instead(connection, row, None, "", due)
            doers[row.content_hash] = (new_id, row.location_id)
            count += 1
    values = [
        {
            "plugin_name": plugin,
            "content_hash": content_hash,
            "job_id": job_id,
            "location_id": location_id,
        }
        for content_hash, (job_id, location_id) in doers.items()
    ]
    if values:
        connection.execute(insert(content_doer), values)
    return count


def move_doer(connection: Connection, job_id: int, to: int) -> None:
    """Another job does what this one was to do."""
    mine = update(content_doer).where(_doer.job_id == job_id)
    connection.execute(mine.values(job_id=to))


def move_duplicates(connection: Connection, job_ids: Select[Any], by: int) -> None:
    """The ids of these jobs have grown."""
    for table in (content_doer, content_copy):
        mine = update(table).where(table.c.job_id.in_(job_ids))
        connection.execute(mine.values(job_id=table.c.job_id + by))


# --- reports -------------------------------------------------------------------------------


def originals_of(connection: Connection, job_ids: Sequence[int]) -> dict[int, OriginalDocument]:
    """Of these jobs, those that are skipped, each with the job that does its content."""
    return {
        row.copy_id: _original(row)
        for part in chunks(job_ids)
        for row in connection.execute(_ORIGINALS.where(_copy.job_id.in_(list(part))))
    }


def originals_of_versions(connection: Connection) -> dict[int | None, dict[str, OriginalDocument]]:
    """Of each version that is skipped, by plugin, the job that does its content."""
    skipped = processing_job.alias()
    versions = _ORIGINALS.add_columns(skipped.c.file_version_id, skipped.c.plugin_name)
    found: dict[int | None, dict[str, OriginalDocument]] = {}
    for row in connection.execute(versions.join(skipped, skipped.c.id == _copy.job_id)):
        found.setdefault(row.file_version_id, {})[row.plugin_name] = _original(row)
    return found


def _original(row: Any) -> OriginalDocument:
    return {
        "job_id": row.job_id,
        "path": path_text(row.path),
        "source_root": path_text(row.root_path),
    }


_ORIGINALS = (
    select(
        _copy.job_id.label("copy_id"),
        _doer.job_id,
        _location.path,
        source_root.c.path.label("root_path"),
    )
    .join(
        content_doer,
        and_(_doer.plugin_name == _copy.plugin_name, _doer.content_hash == _copy.content_hash),
    )
    .join(file_location, _location.id == _doer.location_id)
    .join(source_root, source_root.c.id == _location.source_root_id)
)
