"""What the status is told from, read over SQL: source roots, plugins, and what was done lately."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, case, func, select, true

from casparian.adapters.queue.conditions import has_status
from casparian.adapters.queue.environments import environments_of
from casparian.adapters.queue.plugins import read_configs
from casparian.adapters.queue.status_documents import plugin_document
from casparian.adapters.queue.tables.files import file_location, scout_lease, source_root
from casparian.adapters.queue.tables.jobs import processing_job
from casparian.adapters.queue.tables.plugins import plugin_config, plugin_manifest
from casparian.domain.files import path_text
from casparian.domain.jobs import JobStatus
from casparian.domain.plugins import PluginManifest

if TYPE_CHECKING:
    from casparian.domain.documents.status import PluginDocument, SourceRootDocument

_job, _location, _code = processing_job.c, file_location.c, plugin_manifest.c


def root_documents(connection: Connection, now_us: int) -> list[SourceRootDocument]:
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


def plugin_documents(
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
        plugin_document(
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


def completed_since(connection: Connection, since_us: int) -> tuple[int, int]:
    statement = select(func.count(), func.coalesce(func.sum(_job.rows), 0)).where(
        _job.finished_at_us > since_us, has_status(JobStatus.COMPLETED)
    )
    jobs, rows = connection.execute(statement).one()
    return jobs, rows


def quarantined(connection: Connection) -> dict[str, str]:
    statement = select(_code.plugin_name, _code.quarantine_reason).where(
        _code.live, _code.quarantined_at_us.is_not(None)
    )
    return {row.plugin_name: row.quarantine_reason for row in connection.execute(statement)}
