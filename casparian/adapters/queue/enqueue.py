"""Jobs and tags that a change of configuration adds to known files, over SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, select

from casparian.adapters.queue.changes import Added, RoutingChange
from casparian.adapters.queue.duplicates import Due, enqueue_shared
from casparian.adapters.queue.rows import INSERT_JOB, INSERT_TAG, queued_job
from casparian.adapters.queue.statements import insert_rows
from casparian.adapters.queue.tables.files import file_location, file_version
from casparian.adapters.queue.tables.jobs import processing_job
from casparian.adapters.queue.tables.plugins import file_tag
from casparian.domain.duplicates import Wanted
from casparian.domain.jobs import JobKind
from casparian.domain.routing import due_us

PAGE = 500
_location, _version = file_location.c, file_version.c


def enqueue_added(
    connection: Connection,
    change: RoutingChange,
    roots: set[int],
    fresh: set[int],
    skipping: set[str],
    now_us: int,
    ageing_us: int,
) -> int:
    """Add what `change` adds to the current versions below `roots`; returns the jobs."""
    if not change and not fresh:
        return 0
    jobs = 0
    for page in _current_versions(connection, roots if change else fresh):
        added = [(row, change.added(row.path, row.source_root_id in fresh)) for row in page]
        added = [(row, gained) for row, gained in added if gained.tags or gained.plugins]
        if added:
            _add_tags(connection, added)
            jobs += _add_jobs(connection, added, skipping, now_us, ageing_us)
    return jobs


def _current_versions(connection: Connection, roots: set[int]) -> Iterator[Sequence[Any]]:
    statement = (
        select(
            _location.id, _location.source_root_id, _location.path, _version.ordinal,
            _version.id.label("version_id"), _version.content_hash,
        )
        .join(file_version, _version.id == _location.current_version_id)
        .where(_location.source_root_id.in_(sorted(roots)), ~_location.deleted)
        .order_by(_location.id)
        .limit(PAGE)
    )  # fmt: skip
    last = 0
    while page := connection.execute(statement.where(_location.id > last)).all():
        yield page
        last = page[-1].id


def _add_tags(connection: Connection, added: Sequence[tuple[Any, Added]]) -> None:
    versions = [row.version_id for row, _ in added]
    statement = select(file_tag.c.file_version_id, file_tag.c.tag)
    rows = connection.execute(statement.where(file_tag.c.file_version_id.in_(versions)))
    known = {tuple(row) for row in rows}
    values = [
        (row.version_id, tag, rule.id or None)
        for row, gained in added
        for tag, rule in gained.tags.items()
        if (row.version_id, tag) not in known
    ]
    insert_rows(connection, INSERT_TAG, values)


def _add_jobs(
    connection: Connection,
    added: Sequence[tuple[Any, Added]],
    skipping: set[str],
    now_us: int,
    ageing_us: int,
) -> int:
    job = processing_job.c
    versions = [row.version_id for row, _ in added]
    statement = select(job.file_version_id, job.plugin_name).where(
        job.file_version_id.in_(versions), job.kind == JobKind.RUN.value
    )
    rows = connection.execute(statement)
    known = {tuple(row) for row in rows}
    new = [
        (row, gained, plugin)
        for row, gained in added
        for plugin in gained.plugins
        if (row.version_id, plugin) not in known
    ]
    values = [
        queued_job(
            plugin,
            row.version_id,
            row.id,
            row.ordinal,
            gained.priority,
            now_us,
            due_us(now_us, gained.priority, ageing_us),
        )
        for row, gained, plugin in new
        if plugin not in skipping
    ]
    insert_rows(connection, INSERT_JOB, values)
    shared = [
        Wanted(plugin, row.content_hash, row.version_id, row.id, row.ordinal, gained.priority)
        for row, gained, plugin in new
        if plugin in skipping
    ]
    if not shared:
        return len(values)
    return len(values) + enqueue_shared(connection, shared, Due(now_us, ageing_us))
