"""Reports over SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, func, select

from casparian.adapters.queue.adopted_rows import adopted_rows, of_job, of_location
from casparian.adapters.queue.conditions import WAITING, counted, has_status
from casparian.adapters.queue.database import Database
from casparian.adapters.queue.duplicate_choices import originals_of, originals_of_versions
from casparian.adapters.queue.file_documents import (
    Surroundings,
    adopted_document,
    file_document,
    trace_document,
    why_document,
)
from casparian.adapters.queue.job_documents import job_document
from casparian.adapters.queue.pruning import newest_prunings
from casparian.adapters.queue.rows import JOB_COLUMNS, job_of, location_of, version_of
from casparian.adapters.queue.statements import chunks
from casparian.adapters.queue.status_documents import (
    THROUGHPUT_US,
    queue_document,
    status_document,
    worker_document,
)
from casparian.adapters.queue.status_reading import (
    completed_since,
    plugin_documents,
    quarantined,
    root_documents,
)
from casparian.adapters.queue.stories import (
    events_of,
    jobs_beside,
    published_of_files,
    stories_of,
    story_of_job,
)
from casparian.adapters.queue.tables.files import file_location, file_version, source_root
from casparian.adapters.queue.tables.jobs import processing_job
from casparian.adapters.queue.tables.plugins import file_tag
from casparian.adapters.queue.workers import read_workers
from casparian.domain.files import SourceRoot
from casparian.domain.jobs import JobKind, JobStatus

if TYPE_CHECKING:
    from casparian.domain.documents.files import FileDocument, FileStoryDocument, JobOriginDocument
    from casparian.domain.documents.jobs import JobDocument, PublishedDocument
    from casparian.domain.documents.status import QueueDocument, StatusDocument

_job, _location, _version = processing_job.c, file_location.c, file_version.c

ARRIVALS_PAGE = 1000


class SqlReports:
    """Read-only views."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # --- status ---

    def status(self) -> StatusDocument:
        now = self._db.clock()
        with self._db.read() as connection:
            rows = connection.execute(counted(_job.status, _job.plugin_name))
            counts = {(status, plugin): count for status, plugin, count in rows}
            roots = root_documents(connection, now)
            return status_document(
                counts,
                sum(root["files"] for root in roots),
                sum(root["deleted"] for root in roots),
                sum(root["versions"] for root in roots),
                [worker_document(node, now) for node in read_workers(connection)],
                plugin_documents(connection, counts),
                roots,
                completed_since(connection, now - THROUGHPUT_US),
                newest_prunings(connection),
            )

    def queue(self) -> list[QueueDocument]:
        now = self._db.clock()
        oldest = select(_job.plugin_name, func.min(_job.enqueued_at_us)).where(WAITING)
        with self._db.read() as connection:
            ages = dict(connection.execute(oldest.group_by(_job.plugin_name)).all())
            rows = connection.execute(counted(_job.plugin_name, _job.status)).all()
        return [
            queue_document(
                plugin,
                status,
                count,
                ages.get(plugin) if status == JobStatus.QUEUED else None,
                now,
            )
            for plugin, status, count in sorted(rows)
        ]

    def arrived_since(self, since_us: int) -> Iterator[tuple[bytes, int]]:
        """Read from the newest version on, page by page, up to the first page of older ones: ids
        grow with time, but for a clock that was set back by less than a page's worth."""
        statement = (
            select(_version.id, _location.path, _version.seen_at_us)
            .join(file_location, _location.id == _version.location_id)
            .order_by(_version.id.desc())
            .limit(ARRIVALS_PAGE)
        )
        before: int | None = None
        while True:
            page = statement if before is None else statement.where(_version.id < before)
            with self._db.read() as connection:
                rows = connection.execute(page).all()
            recent = [(row.path, row.seen_at_us) for row in rows if row.seen_at_us >= since_us]
            yield from recent
            if not recent:
                return
            before = rows[-1].id

    # --- lists ---

    def files(self) -> list[FileDocument]:
        statement = (
            select(file_location, source_root.c.path.label("root_path"))
            .join(source_root, source_root.c.id == _location.source_root_id)
            .order_by(source_root.c.path, _location.path)
        )
        with self._db.read() as connection:
            versions = _current_versions(connection)
            tags = _current_tags(connection)
            originals = originals_of_versions(connection)
            return [
                file_document(
                    location_of(row),
                    SourceRoot(row.source_root_id, row.root_path),
                    versions.get(row.current_version_id),
                    tags.get(row.current_version_id, ()),
                    originals.get(row.current_version_id, {}),
                )
                for row in connection.execute(statement)
            ]

    def jobs(
        self,
        status: str | None = None,
        plugin: str | None = None,
        ids: Sequence[int] | None = None,
    ) -> list[JobDocument]:
        where = []
        if status is not None:
            where.append(has_status(JobStatus(status)))
        if plugin is not None:
            where.append(_job.plugin_name == plugin)
        with self._db.read() as connection:
            if ids is None:
                return _job_documents(connection, where)
            return [
                document
                for part in chunks(sorted(set(ids)))
                for document in _job_documents(connection, [*where, _job.id.in_(part)])
            ]

    def current_failures(self) -> list[JobDocument]:
        bad = has_status(JobStatus.FAILED, JobStatus.BLOCKED)
        given_up = (_job.kind == JobKind.PURGE.value) & (_job.status == JobStatus.FAILED.value)
        current = _location.current_version_id == _job.file_version_id
        with self._db.read() as connection:
            return _job_documents(connection, [bad, ~given_up, current])

    def published(self, matches: Callable[[str], bool]) -> list[PublishedDocument]:
        with self._db.read() as connection:
            return published_of_files(connection, matches)

    # --- why ---

    def why(self, path: bytes) -> list[FileStoryDocument]:
        statement = (
            select(file_location, source_root.c.path.label("root_path"))
            .join(source_root, source_root.c.id == _location.source_root_id)
            .where(_location.path == path, _location.source_root_id.in_(select(source_root.c.id)))
            .order_by(source_root.c.path)
        )
        with self._db.read() as connection:
            around = Surroundings(
                self._db.clock(), read_workers(connection), quarantined(connection)
            )
            found = [
                (location_of(row), SourceRoot(row.source_root_id, row.root_path))
                for row in connection.execute(statement)
            ]
            return [
                why_document(
                    location,
                    root,
                    stories_of(connection, location),
                    around,
                    adopted_rows(connection, of_location(location.id)),
                )
                for location, root in found
            ]

    def trace(self, job_id: int) -> JobOriginDocument | None:
        with self._db.read() as connection:
            story = story_of_job(connection, job_id)
            adopted = adopted_rows(connection, of_job(job_id))
            if story is None:
                return adopted_document(adopted) if adopted else None
            statement = (
                select(file_location, source_root.c.path.label("root_path"))
                .join(source_root, source_root.c.id == _location.source_root_id)
                .where(_location.id == story.version.location_id)
            )
            row = connection.execute(statement).one()
            root = SourceRoot(row.source_root_id, row.root_path)
            beside = jobs_beside(connection, row.id, story.jobs[0].job.plugin)
            return trace_document(location_of(row), root, story, beside, adopted)


def _current_versions(connection: Connection) -> dict[int | None, Any]:
    statement = select(file_version).join(
        file_location, _location.current_version_id == _version.id
    )
    return {row.id: version_of(row) for row in connection.execute(statement)}


def _current_tags(connection: Connection) -> dict[int | None, list[str]]:
    tags: dict[int | None, list[str]] = {}
    statement = select(file_tag.c.file_version_id, file_tag.c.tag).join(
        file_location, _location.current_version_id == file_tag.c.file_version_id
    )
    for version_id, tag in connection.execute(statement):
        tags.setdefault(version_id, []).append(tag)
    return tags


def _job_documents(
    connection: Connection, where: Iterable[ColumnElement[bool]]
) -> list[JobDocument]:
    statement = (
        select(*JOB_COLUMNS, _location.path.label("file_path"))
        .join(file_location, _location.id == _job.location_id)
        .where(*where)
        .order_by(_job.id)
    )
    rows = connection.execute(statement).all()
    # Only a job that failed shows its history.
    events = events_of(connection, [row.id for row in rows if row.error_message is not None])
    skipped = [row.id for row in rows if row.status == JobStatus.SKIPPED]
    originals = originals_of(connection, skipped)
    return [
        job_document(job_of(row), row.file_path, events.get(row.id, ()), originals.get(row.id))
        for row in rows
    ]
