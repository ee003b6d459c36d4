"""Reports over SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, case, func, select, true

from casparian.adapters.queue import documents
from casparian.adapters.queue.adopted_rows import adopted_rows, of_job, of_location
from casparian.adapters.queue.conditions import WAITING, counted, has_status
from casparian.adapters.queue.database import Database
from casparian.adapters.queue.duplicate_choices import originals_of, originals_of_versions
from casparian.adapters.queue.environments import environments_of
from casparian.adapters.queue.plugins import read_configs
from casparian.adapters.queue.pruning import newest_prunings
from casparian.adapters.queue.rows import (
    JOB_COLUMNS,
    job_of,
    location_of,
    version_of,
)
from casparian.adapters.queue.statements import chunks
from casparian.adapters.queue.stories import (
    events_of,
    jobs_beside,
    published_of_files,
    stories_of,
    story_of_job,
)
from casparian.adapters.queue.tables import (
    file_location,
    file_tag,
    file_version,
    plugin_config,
    plugin_manifest,
    processing_job,
    scout_lease,
    source_root,
)
from casparian.adapters.queue.workers import read_workers
from casparian.domain.files import SourceRoot, path_text
from casparian.domain.jobs import JobKind, JobStatus
from casparian.domain.plugins import PluginManifest

if TYPE_CHECKING:
    from casparian.domain.documents.files import FileDocument, FileStoryDocument, JobOriginDocument
    from casparian.domain.documents.jobs import JobDocument, PublishedDocument
    from casparian.domain.documents.status import (
        PluginDocument,
        QueueDocument,
        SourceRootDocument,
        StatusDocument,
    )

_job, _location, _version, _code = (
    processing_job.c,
    file_location.c,
    file_version.c,
    plugin_manifest.c,
)

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
            roots = _root_documents(connection, now)
            return documents.status_document(
                counts,
                sum(root["files"] for root in roots),
                sum(root["deleted"] for root in roots),
                sum(root["versions"] for root in roots),
                [documents.worker_document(node, now) for node in read_workers(connection)],
                _plugin_documents(connection, counts),
                roots,
                _completed_since(connection, now - documents.THROUGHPUT_US),
                newest_prunings(connection),
            )

    def queue(self) -> list[QueueDocument]:
        now = self._db.clock()
        oldest = select(_job.plugin_name, func.min(_job.enqueued_at_us)).where(WAITING)
        with self._db.read() as connection:
            ages = dict(connection.execute(oldest.group_by(_job.plugin_name)).all())
            rows = connection.execute(counted(_job.plugin_name, _job.status)).all()
        return [
            documents.queue_document(
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
                documents.file_document(
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
            around = documents.Surroundings(
                self._db.clock(), read_workers(connection), _quarantined(connection)
            )
            found = [
                (location_of(row), SourceRoot(row.source_root_id, row.root_path))
                for row in connection.execute(statement)
            ]
            return [
                documents.why_document(
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
                return documents.adopted_document(adopted) if adopted else None
            statement = (
                select(file_location, source_root.c.path.label("root_path"))
                .join(source_root, source_root.c.id == _location.source_root_id)
                .where(_location.id == story.version.location_id)
            )
            row = connection.execute(statement).one()
            root = SourceRoot(row.source_root_id, row.root_path)
            beside = jobs_beside(connection, row.id, story.jobs[0].job.plugin)
            return documents.trace_document(location_of(row), root, story, beside, adopted)


# --- status -----------------------------------------------------------------------------


def _root_documents(connection: Connection, now_us: int) -> list[SourceRootDocument]:
    files = (
        select(
            _location.source_root_id,
            func.count().label("known"),
            func.sum(case((_location.deleted == true(), 1), else_=0)).label("deleted"),
            func.sum(_location.versions).label("versions"),
        )
        .group_by(_location.source_root_id)
        .subquery()
    )
    scans = (scout_lease.c.source_root_id == source_root.c.id) & (scout_lease.c.until_us > now_us)
    statement = (
        select(source_root, files.c.known, files.c.deleted, files.c.versions, scout_lease.c.holder)
        .outerjoin(files, files.c.source_root_id == source_root.c.id)
        .outerjoin(scout_lease, scans)
        .order_by(source_root.c.id)
    )
    return [
        {
            "path": path_text(row.path),
            "active": row.active,
            "files": (row.known or 0) - (row.deleted or 0),
            "deleted": row.deleted or 0,
            "versions": row.versions or 0,
            "scout": row.holder,
        }
        for row in connection.execute(statement)
    ]


def _plugin_documents(
    connection: Connection, counts: Mapping[tuple[str, str], int]
) -> list[PluginDocument]:
    configs = read_configs(connection, only_active=False)
    active = set(
        connection.execute(select(plugin_config.c.plugin_name).where(plugin_config.c.active))
        .scalars()
        .all()
    )
    live = {
        row.plugin_name: row
        for row in connection.execute(select(plugin_manifest).where(_code.live))
    }
    environments = environments_of(connection, (row.environment for row in live.values()))
    return [
        documents.plugin_document(
            config,
            name in active,
            _without_code(live[name]) if name in live else None,
            live[name].quarantine_reason if name in live else None,
            environments.get(live[name].environment) if name in live else None,
            {status: n for (status, plugin), n in counts.items() if plugin == name},
        )
        for name, config in configs.items()
    ]


def _without_code(row: Any) -> PluginManifest:
    """For people; whatever somebody may have made of it."""
    version = row.version if isinstance(row.version, int) else 0
    return PluginManifest(str(row.content_hash), row.plugin_name, b"", str(row.origin), version)


def _completed_since(connection: Connection, since_us: int) -> tuple[int, int]:
    statement = select(func.count(), func.coalesce(func.sum(_job.rows), 0)).where(
        _job.finished_at_us > since_us, has_status(JobStatus.COMPLETED)
    )
    jobs, rows = connection.execute(statement).one()
    return jobs, rows


def _quarantined(connection: Connection) -> dict[str, str]:
    statement = select(_code.plugin_name, _code.quarantine_reason).where(
        _code.live, _code.quarantined_at_us.is_not(None)
    )
    return {row.plugin_name: row.quarantine_reason for row in connection.execute(statement)}


# --- lists ------------------------------------------------------------------------------


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
        documents.job_document(
            job_of(row), row.file_path, events.get(row.id, ()), originals.get(row.id)
        )
        for row in rows
    ]
