"""What claims a job, and what a claim brings along, over SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    or_,
    select,
    true,
)

from casparian.adapters.queue.among import Among
from casparian.adapters.queue.conditions import WAITING
from casparian.adapters.queue.database import ClaimParts
from casparian.adapters.queue.rows import stat_of
from casparian.adapters.queue.tables.files import file_location, file_version, source_root
from casparian.adapters.queue.tables.jobs import processing_job
from casparian.domain.files import StatIdentity
from casparian.domain.jobs import NO_WAIT_BEYOND_US, Claim, JobKind, JobStatus

_job = processing_job.c

CLAIMED = (
    "id", "plugin_name", "plugin_hash", "attempt", "token", "file_version_id", "location_id",
    "ordinal", "priority", "enqueued_at_us", "kind", "due",
)  # fmt: skip
_DUE_THEN_ID = itemgetter(CLAIMED.index("due"), CLAIMED.index("id"))
_VERSION_ID = CLAIMED.index("file_version_id")
_version, _location = file_version.c, file_location.c
_SAME_BYTES = and_(
    _location.current_version_id == _version.id, _location.content_hash == _version.content_hash
)
# The location's stat, where the bytes are still the version's: it is newer.
_FILE: tuple[ColumnElement[Any], ...] = (
    source_root.c.path.label("root_path"), _location.path, _version.content_hash,
    *(case((_SAME_BYTES, _location[n]), else_=_version[n]).label(n) for n in StatIdentity._fields),
)  # fmt: skip


def claim_parts(fresh_token: ColumnElement[Any], plugins: int) -> ClaimParts:
    """A claim of jobs of so many plugins.

    Its parameters: worker, until, now, limit, and plugin0, hash0, plugin1, hash1...
    """
    numbered: list[Any] = [bindparam(f"plugin{i}") for i in range(plugins)]
    hashes: Any = {name: bindparam(f"hash{i}") for i, name in enumerate(numbered)}
    candidates = (
        select(_job.id)
        .where(
            WAITING,
            _job.plugin_name.in_(numbered),
            or_(
                _job.not_before_us <= bindparam("now"),
                _job.not_before_us > bindparam("now") + NO_WAIT_BEYOND_US,
            ),
        )
        .order_by(_job.due, _job.id)
    )
    changes = {
        "status": JobStatus.RUNNING.value,
        "attempt": _job.attempt + 1,
        "token": fresh_token,
        "worker": bindparam("worker"),
        "lease_until_us": bindparam("until"),
        "started_at_us": bindparam("now"),
        "plugin_hash": case(hashes, value=_job.plugin_name),
    }
    columns = tuple(_job[name] for name in CLAIMED)
    limit: BindParameter[int] = bindparam("limit")
    return ClaimParts(changes, candidates, limit, WAITING, columns)


def with_file(claimed: Select[Any], version: ColumnElement[bool]) -> Select[Any]:
    """What is selected of jobs, each followed by the file that it reads: this version's."""
    return claimed.add_columns(*_FILE).where(
        version,
        _location.id == _version.location_id,
        source_root.c.id == _location.source_root_id,
    )


_FILES = Among(with_file(select(_version.id), true()), _version.id)


def beside_their_files(connection: Connection, won: Sequence[Any]) -> list[Sequence[Any]]:
    """Rows of CLAIMED, each followed by the file that it reads."""
    ids = [row[_VERSION_ID] for row in won]
    files = {row[0]: row[1:] for row in _FILES.rows(connection, ids)}
    return [(*row, *files[row[_VERSION_ID]]) for row in won]


def claims_of(rows: Sequence[Sequence[Any]]) -> list[Claim]:
    """The claims of rows of CLAIMED that are followed by their files, in the order they were
    due."""
    return [_claim_of(*row) for row in sorted(rows, key=_DUE_THEN_ID)]


def _claim_of(
    job_id: int,
    plugin: str,
    plugin_hash: str | None,
    attempt: int,
    token: str,
    version_id: int,
    location_id: int,
    ordinal: int,
    priority: int,
    enqueued_at_us: int,
    kind: str,
    _due: int,
    root_path: bytes,
    path: bytes,
    content_hash: str,
    *stat: int,
) -> Claim:
    # By position, in Claim's own order: a batch makes a hundred of them.
    return Claim(
        job_id, plugin, plugin_hash or "", attempt, token, version_id, location_id, ordinal,
        root_path, path, content_hash, stat_of(*stat), priority, enqueued_at_us, "", _KINDS[kind],
    )  # fmt: skip


_KINDS: Mapping[str, JobKind] = {kind.value: kind for kind in JobKind}
