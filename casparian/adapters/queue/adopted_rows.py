"""What is told of adopted rows: which job of which installation published them, how they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, select

from casparian.adapters.queue.common import iso
from casparian.adapters.queue.conditions import has_status
from casparian.adapters.queue.rows import target_of
from casparian.adapters.queue.tables.files import file_location, source_root
from casparian.adapters.queue.tables.installation import adopted_slot, adoption
from casparian.adapters.queue.tables.jobs import processing_job
from casparian.domain.files import path_text
from casparian.domain.jobs import JobStatus
from casparian.domain.publish import Manifest, SlotKey, Target

if TYPE_CHECKING:
    from casparian.domain.documents.files import AdoptedRowsDocument

_adopted, _location, _job = adopted_slot.c, file_location.c, processing_job.c
_Place = tuple[Target, SlotKey]


def adopted_rows(connection: Connection, *where: ColumnElement[bool]) -> list[AdoptedRowsDocument]:
    """`{"topic", "plugin", "target", "slot", "mode", "rows", "installation", "job_id", "path",
    "source_root", "deleted", "content_hash", "adopted_at", "actor", "replaced_by"}` of each slot
    that was adopted; `replaced_by` is the job of this queue that published in its place."""
    statement = (
        select(
            adopted_slot,
            adoption.c.at_us,
            adoption.c.actor,
            _location.path,
            _location.deleted,
            source_root.c.path.label("root"),
        )
        .join(adoption, adoption.c.id == _adopted.adoption_id)
        .join(file_location, _location.id == _adopted.location_id)
        .join(source_root, source_root.c.id == _location.source_root_id)
        .where(*where)
        .order_by(_adopted.id)
    )
    rows = connection.execute(statement).all()
    newer = {
        (row.plugin_name, row.location_id): _published(connection, row.plugin_name, row.location_id)
        for row in rows
    }
    return [_document(row, newer[row.plugin_name, row.location_id]) for row in rows]


def of_location(location_id: int) -> ColumnElement[bool]:
    return _adopted.location_id == location_id


def of_job(job_id: int) -> ColumnElement[bool]:
    return _adopted.former_job_id == job_id


def _document(row: Any, newer: dict[_Place, int]) -> AdoptedRowsDocument:
    target = target_of(row)
    slot = SlotKey(row.plugin_name, row.topic, row.location_id, row.version_id)
    return {
        "topic": row.topic,
        "plugin": row.plugin_name,
        "target": str(target),
        "slot": slot.name,
        "mode": row.mode,
        "rows": row.rows,
        "installation": row.former_uuid,
        "job_id": row.former_job_id,
        "path": path_text(row.path),
        "source_root": path_text(row.root),
        "deleted": row.deleted,
        "content_hash": row.content_hash,
        "adopted_at": iso(row.at_us),
        "actor": row.actor,
        "replaced_by": newer.get((target, slot)),
    }


def _published(connection: Connection, plugin: str, location_id: int) -> dict[_Place, int]:
    """The newest job of this queue that published to, or emptied, each slot of a location."""
    statement = select(_job.id, _job.manifest).where(
        has_status(JobStatus.COMPLETED),
        _job.plugin_name == plugin,
        _job.location_id == location_id,
        _job.manifest.is_not(None),
    )
    return {
        (item.target, item.slot): row.id
        for row in connection.execute(statement.order_by(_job.id))
        for item in Manifest.from_json(row.manifest).items
    }
