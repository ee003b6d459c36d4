"""Which job does a content, over SQL: one for each plugin that skips duplicates.

`content_doer` holds the one job of each (plugin, content) that does it, `content_copy` the jobs
that are SKIPPED for it. Both are changed in the transaction of whatever makes the change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    case,
    delete,
    exists,
    insert,
    literal,
    or_,
    select,
    update,
)

from casparian.adapters.queue.among import Among
from casparian.adapters.queue.common import JobEvent, taken_up, taking_up
from casparian.adapters.queue.rows import ageing_us, log_events
from casparian.adapters.queue.statements import chunks
from casparian.adapters.queue.tables.files import file_location, file_version
from casparian.adapters.queue.tables.jobs import content_copy, content_doer, processing_job
from casparian.adapters.queue.tables.publishing import published_slot
from casparian.domain.duplicates import Part, Wanted, part_of, still_does
from casparian.domain.jobs import JobEventKind, JobKind, JobStatus, check_transition
from casparian.domain.publish import Manifest
from casparian.domain.routing import due_us

Key = tuple[str, str]
"""A plugin and a content hash."""

_job, _version, _location = processing_job.c, file_version.c, file_location.c
_doer, _copy = content_doer.c, content_copy.c
ACTIVE = [
    JobStatus.QUEUED.value,
    JobStatus.RUNNING.value,
    JobStatus.PROMOTING.value,
    JobStatus.BLOCKED.value,
]


class Due(NamedTuple):
    """When a job is enqueued, and how priority counts then."""

    now_us: int
    ageing_us: int


# --- versions that are wanted ------------------------------------------------------------


def enqueue_shared(connection: Connection, wanted: Sequence[Wanted], due: Due) -> int:
    """Jobs for versions that plugins which skip duplicates want; returns how many wait to be
    claimed. A file whose earlier rows would stay is given a job that withdraws them."""
    locations = {key: row.location_id for key, row in _doers(connection, wanted).items()}
    runs: list[Wanted] = []
    doers: list[bool] = []
    skipped: list[Wanted] = []
    for one in wanted:
        part = part_of(one, locations.get(one.key))
        if part is Part.SKIPPED:
            skipped.append(one)
            continue
        runs.append(one)
        doers.append(part is Part.DOER)
        locations.setdefault(one.key, one.location_id)
    ids = _insert_jobs(connection, runs, due)
    doing = [(w, job_id) for w, job_id, first in zip(runs, ids, doers, strict=True) if first]
    _insert_doers(connection, doing)
    # Before the skipped ones, so that these are newer if ever they run.
    elsewhere = [one for one in skipped if locations[one.key] != one.location_id]
    withdrawn = [one for one in elsewhere if _has_rows(connection, one)]
    _insert_jobs(connection, withdrawn, due, kind=JobKind.WITHDRAW.value)
    ended = {"status": JobStatus.SKIPPED.value, "finished_at_us": due.now_us}
    copies = zip(_insert_jobs(connection, skipped, due, **ended), skipped, strict=True)
    _insert_copies(connection, copies)
    return len(runs) + len(withdrawn)


def _doers(connection: Connection, wanted: Iterable[Wanted]) -> dict[Key, Any]:
    keys = {one.key for one in wanted}
    plugins = sorted({plugin for plugin, _ in keys})
    found: dict[Key, Any] = {}
    for hashes in chunks(sorted({content for _, content in keys})):
        mine = (_doer.plugin_name.in_(plugins), _doer.content_hash.in_(list(hashes)))
        for row in connection.execute(select(content_doer).where(*mine).with_for_update()):
            found[row.plugin_name, row.content_hash] = row
    return found


def _insert_jobs(
    connection: Connection, wanted: Sequence[Wanted], due: Due, **more: Any
) -> list[int]:
    if not wanted:
        return []
    values = [
        {
            "status": JobStatus.QUEUED.value,
            "plugin_name": one.plugin,
            "file_version_id": one.version_id,
            "location_id": one.location_id,
            "ordinal": one.ordinal,
            "priority": one.priority,
            "due": due_us(due.now_us, one.priority, due.ageing_us),
            "not_before_us": due.now_us,
            "enqueued_at_us": due.now_us,
            **more,
        }
        for one in wanted
    ]
    statement = insert(processing_job).returning(_job.id, sort_by_parameter_order=True)
    return list(connection.execute(statement, values).scalars())


def _insert_doers(connection: Connection, doing: Sequence[tuple[Wanted, int]]) -> None:
    if doing:
        values = [
            {
                "plugin_name": one.plugin,
                "content_hash": one.content_hash,
                "job_id": job_id,
                "location_id": one.location_id,
            }
            for one, job_id in doing
        ]
        connection.execute(insert(content_doer), values)


def _insert_copies(connection: Connection, copies: Iterable[tuple[int, Wanted]]) -> None:
    values = [
        {"job_id": job_id, "plugin_name": one.plugin, "content_hash": one.content_hash}
        for job_id, one in copies
    ]
    if values:
        connection.execute(insert(content_copy), values)


def _has_rows(connection: Connection, wanted: Wanted) -> bool:
    """Whether rows of the file stand that are not of this version, or may yet come to stand."""
    query = {
        "plugin": wanted.plugin,
        "location_id": wanted.location_id,
        "version_id": wanted.version_id,
    }
    return connection.execute(_HAS_ROWS, query).first() is not None


_HAS_ROWS = select(literal(1)).where(
    or_(
        exists().where(
            published_slot.c.plugin_name == bindparam("plugin"),
            published_slot.c.location_id == bindparam("location_id"),
        ),
        exists().where(
            _version.location_id == bindparam("location_id"),
            _version.id != bindparam("version_id"),
            _job.file_version_id == _version.id,
            _job.plugin_name == bindparam("plugin"),
            _job.kind == JobKind.RUN.value,
            _job.status != JobStatus.SKIPPED.value,
        ),
    )
)


# --- ends of doers -------------------------------------------------------------------------


def pass_on_ended(connection: Connection, ended: Mapping[int, JobStatus], now_us: int) -> int:
    """Let others do what these jobs, which ended without rows, were to do; returns how many were
    enqueued."""
    rows = _DOERS_AT.rows(connection, list(ended))
    over = [row for row in rows if row.job_id == row.id]
    return sum(_pass_on(connection, row, str(ended[row.id]), now_us) for row in over)


def pass_on_completed(connection: Connection, completed: Sequence[int], now_us: int) -> int:
    """These jobs were COMPLETED: what doers before them did may stand no more. Returns how many
    were enqueued."""
    doers = _DOERS_AT.rows(connection, completed)
    newest = {(row.plugin_name, row.content_hash): row for row in doers}
    count = 0
    for row in newest.values():
        later_id = row.id
        if later_id == row.job_id:
            continue
        mine, later = (_head(connection, job_id) for job_id in (row.job_id, later_id))
        if still_does(JobStatus(mine.status), _manifest(mine), _manifest(later)):
            continue
        if later.kind == JobKind.RUN and later.content_hash == row.content_hash:
            connection.execute(update(content_doer).where(_is(row)).values(job_id=later_id))
        else:
            purged = later.kind == JobKind.PURGE
            why = "purged" if purged else "replaced"
            not_at = row.location_id if purged else None
            count += _pass_on(connection, row, why, now_us, not_at)
    return count


# What is done at the files of these jobs, beside the job's own id.
_DOERS_AT = Among(
    select(content_doer, _job.id)
    .where(_doer.plugin_name == _job.plugin_name, _doer.location_id == _job.location_id)
    .order_by(_doer.plugin_name, _doer.content_hash, _job.id)
    .with_for_update(of=content_doer),
    _job.id,
)


def _is(row: Any) -> Any:
    return and_(_doer.plugin_name == row.plugin_name, _doer.content_hash == row.content_hash)


def _head(connection: Connection, job_id: int) -> Any:
    statement = select(_job.status, _job.kind, _job.manifest, _version.content_hash)
    mine = statement.join(file_version, _version.id == _job.file_version_id)
    return connection.execute(mine.where(_job.id == job_id)).one()


def _manifest(head: Any) -> Manifest | None:
    return Manifest.from_json(head.manifest) if head.manifest else None


def _pass_on(
    connection: Connection, row: Any, why: str, now_us: int, not_at: int | None = None
) -> int:
    """One of the skipped files gets a job that runs; 0 where none is there. It is the doer's own
    where that has the content again: what has replaced it there is no more its content."""
    skipped = candidates().where(
        _copy.plugin_name == row.plugin_name, _copy.content_hash == row.content_hash
    )
    if not_at is not None:
        skipped = skipped.where(_location.id != not_at)
    own_first = case((_location.id == row.location_id, 0), else_=1)
    ordered = skipped.order_by(None).order_by(own_first, _job.id)
    chosen = connection.execute(ordered.limit(1)).first()
    if chosen is None:
        connection.execute(delete(content_doer).where(_is(row)))
        return 0
    due = Due(now_us, ageing_us(connection))
    new_id = run_instead(connection, chosen, row.job_id, why, due)
    moved = {"job_id": new_id, "location_id": chosen.location_id}
    connection.execute(update(content_doer).where(_is(row)).values(**moved))
    return 1


def candidates() -> Any:
    """Skipped jobs of files that are there, as they were then."""
    return (
        select(
            _job.id, _job.attempt, _job.plugin_name, _job.file_version_id, _job.location_id,
            _job.ordinal, _job.priority, _copy.content_hash,
        )
        .join(content_copy, _copy.job_id == _job.id)
        .join(file_location, _location.id == _job.location_id)
        .where(_location.current_version_id == _job.file_version_id, ~_location.deleted)
        .order_by(_job.id)
    )  # fmt: skip


def run_instead(
    connection: Connection, skipped: Any, former: int | None, why: str, due: Due
) -> int:
    """A job that runs, in place of one that was skipped; its id."""
    wanted = Wanted(
        skipped.plugin_name, skipped.content_hash, skipped.file_version_id, skipped.location_id,
        skipped.ordinal, skipped.priority,
    )  # fmt: skip
    (new_id,) = _insert_jobs(connection, [wanted], due)
    event, status = JobEventKind.REPLACED, JobStatus.SUPERSEDED
    check_transition(skipped.id, JobStatus.SKIPPED, event, status)
    connection.execute(delete(content_copy).where(_copy.job_id == skipped.id))
    mine = (_job.id == skipped.id, _job.status == JobStatus.SKIPPED.value)
    connection.execute(update(processing_job).where(*mine).values(status=status.value))
    now = due.now_us
    log_events(
        connection,
        [
            JobEvent(skipped.id, 0, now, event, message=taken_up(new_id)),
            JobEvent(
                new_id, 0, now, JobEventKind.ENQUEUED, message=taking_up(skipped.id, former, why)
            ),
        ],
    )
    return new_id


# --- the operator's ------------------------------------------------------------------------


def forget_copies(connection: Connection, job_ids: Sequence[int]) -> None:
    """These are skipped no more: they were cancelled."""
    connection.execute(delete(content_copy).where(_copy.job_id.in_(list(job_ids))))


def done_by_other(connection: Connection, job: Any, due: Due) -> int | None:
    """A job that failed or was cancelled is to be tried again: the job that does its content
    meanwhile, of another file, or None where it may run, and is the doer if there was none.

    In the first case a current version is skipped from now on, by a job of its own.
    """
    statement = select(_version.content_hash, _location.current_version_id, _location.deleted).join(
        file_location, _location.id == _version.location_id
    )
    version = connection.execute(statement.where(_version.id == job.file_version_id)).one()
    wanted = Wanted(
        job.plugin, version.content_hash, job.file_version_id, job.location_id, job.ordinal,
        job.priority,
    )  # fmt: skip
    doer = _doers(connection, [wanted]).get(wanted.key)
    if doer is None:
        _insert_doers(connection, [(wanted, job.id)])
        return None
    if doer.location_id == job.location_id:
        return None
    if version.current_version_id == job.file_version_id and not version.deleted:
        enqueue_shared(connection, [wanted], due)
    return int(doer.job_id)
