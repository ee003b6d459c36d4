"""What becomes of this queue's unfinished jobs when rows of others are taken over.

A job's id stands in the rows that it publishes, and tells which they are. So no job that may
yet publish keeps an id that rows of others have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Unicode,
    cast,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from casparian.adapters.queue.common import JobEvent
from casparian.adapters.queue.conditions import has_status
from casparian.adapters.queue.database import Dialect
from casparian.adapters.queue.duplicate_choices import move_doer, move_duplicates
from casparian.adapters.queue.rows import log_events, queued_job
from casparian.adapters.queue.statements import chunks
from casparian.adapters.queue.tables.jobs import job_event, processing_job
from casparian.adapters.queue.tables.publishing import publish_slot
from casparian.domain.bundles import revisions_of
from casparian.domain.jobs import JobEventKind, JobKind, JobStatus, check_transition
from casparian.domain.publish import BundleKey, Manifest

_job = processing_job.c
_UNDECIDED = [
    JobStatus.QUEUED.value,
    JobStatus.FAILED.value,
    JobStatus.CANCELLED.value,
    JobStatus.SKIPPED.value,
]
_DONE = (JobStatus.COMPLETED.value, JobStatus.SUPERSEDED.value)


class Redone(NamedTuple):
    """How many decided jobs are done again, and the bundles that they were to write."""

    jobs: int
    bundles: set[BundleKey]


def do_again(connection: Connection, now_us: int, actor: str) -> Redone:
    """Decided jobs that are not completed: their stagings belong to the installation that was.
    Each ends, and another one does its work; a purge is somebody's to ask for again."""
    decided = or_(has_status(JobStatus.PROMOTING), has_status(JobStatus.BLOCKED))
    rows = connection.execute(select(processing_job).where(decided).order_by(_job.id)).all()
    kind = JobEventKind.SUPERSEDED
    bundles: set[BundleKey] = set()
    count = 0
    for row in rows:
        check_transition(row.id, JobStatus(row.status), kind, JobStatus.SUPERSEDED)
        ended = {"status": JobStatus.SUPERSEDED.value, "token": None, "lease_until_us": 0}
        ended |= {"finished_at_us": now_us}
        mine = (_job.id == row.id, _job.status == row.status)
        connection.execute(update(processing_job).where(*mine).values(**ended))
        held = update(publish_slot).where(publish_slot.c.holder == row.id)
        connection.execute(held.values(holder=None))
        said = "Rows of others were taken over before it came to its end"
        if row.kind != JobKind.PURGE:
            again = _enqueue(connection, [row], now_us)[0]
            move_doer(connection, row.id, again)
            told = f"It does again what job {row.id} had decided."
            log_events(connection, [_adopted(again, now_us, told, actor)])
            said += f": job {again} does it again."
            count += 1
        else:
            said += ". Run `casparian purge` again."
        ending = JobEvent(row.id, row.attempt, now_us, kind, row.worker, None, said, None, actor)
        log_events(connection, [ending])
        bundles |= set(revisions_of(Manifest.from_json(row.manifest)))
    return Redone(count, bundles)


def give_back(connection: Connection, now_us: int) -> None:
    """RUNNING jobs, of workers that have ended: runs wait again, purges have done nothing."""
    running = update(processing_job).where(has_status(JobStatus.RUNNING))
    gone = {"token": None, "lease_until_us": 0}
    runs = running.where(_job.kind != JobKind.PURGE.value)
    connection.execute(runs.values(status=JobStatus.QUEUED.value, **gone))
    connection.execute(running.values(status=JobStatus.FAILED.value, finished_at_us=now_us, **gone))


def renumber(connection: Connection, dialect: Dialect, past: int, now_us: int, actor: str) -> int:
    """Give undecided jobs up to the id `past` ids beyond all; returns how many there were."""
    mine = (_job.id <= past) & _job.status.in_(_UNDECIDED)
    offset = dialect.highest_id(connection, processing_job)
    names = [column.name for column in processing_job.c]
    columns = [(_job.id + offset).label("id"), *(_job[name] for name in names[1:])]
    copied = insert(processing_job).from_select(names, select(*columns).where(mine))
    moved: int = connection.execute(select(func.count(_job.id)).where(mine)).scalar_one()
    if not moved:
        return 0
    with dialect.given_ids(connection, processing_job):
        connection.execute(copied)
    highest = connection.execute(select(func.max(_job.id))).scalar_one()
    dialect.raise_ids(connection, processing_job, highest)
    event = job_event.c
    ids = select(_job.id).where(mine)
    connection.execute(
        update(job_event).where(event.job_id.in_(ids)).values(job_id=event.job_id + offset)
    )
    move_duplicates(connection, ids, offset)
    connection.execute(delete(processing_job).where(mine))
    before = literal("It was job ") + cast(_job.id - offset, Unicode(20))
    said = before + literal(": rows that were taken over have that number.")
    values = {
        "job_id": _job.id,
        "attempt": _job.attempt,
        "at_us": literal(now_us),
        "event": literal(JobEventKind.ADOPTED.value),
        "message": said,
        "actor": literal(actor),
    }
    told = select(*values.values()).where(_job.id > offset)
    connection.execute(insert(job_event).from_select(list(values), told))
    return moved


def enqueue_again(
    connection: Connection, wanted: Iterable[tuple[int, str]], now_us: int, actor: str
) -> int:
    """Jobs for these (version id, plugin) whose newest job has ended well: what it published is
    no longer what stands. Returns how many were enqueued."""
    count = 0
    pairs = set(wanted)
    for versions in chunks(sorted({version_id for version_id, _ in pairs})):
        statement = select(processing_job).where(_job.file_version_id.in_(list(versions)))
        rows = connection.execute(statement.order_by(_job.id))
        newest = {(row.file_version_id, row.plugin_name): row for row in rows}
        last = [row for pair, row in newest.items() if pair in pairs]
        done = [row for row in last if row.status in _DONE and row.kind == JobKind.RUN]
        said = "Rows in place of its own were taken over: they are published anew."
        ids = _enqueue(connection, done, now_us)
        log_events(connection, [_adopted(job_id, now_us, said, actor) for job_id in ids])
        count += len(ids)
    return count


def _enqueue(connection: Connection, rows: Sequence[Any], now_us: int) -> list[int]:
    """Queued jobs for the plugins and versions of these; their ids."""
    if not rows:
        return []
    values = [
        queued_job(
            row.plugin_name,
            row.file_version_id,
            row.location_id,
            row.ordinal,
            row.priority,
            now_us,
            row.due,
        )._asdict()
        | {"kind": row.kind}
        for row in rows
    ]
    statement = insert(processing_job).returning(_job.id, sort_by_parameter_order=True)
    return list(connection.execute(statement, values).scalars())


def _adopted(job_id: int, now_us: int, said: str, actor: str) -> JobEvent:
    return JobEvent(job_id, 0, now_us, JobEventKind.ADOPTED, message=said, actor=actor)
