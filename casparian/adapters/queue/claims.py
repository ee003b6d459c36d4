"""The statement that claims, and what a claim brings along, over SQL."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    Executable,
    bindparam,
    case,
    or_,
    select,
    update,
)

from casparian.adapters.queue.conditions import WAITING
from casparian.adapters.queue.database import ClaimParts, Dialect, chunks
from casparian.adapters.queue.rows import identity
from casparian.adapters.queue.tables import (
    file_location,
    file_version,
    processing_job,
    source_root,
)
from casparian.domain.jobs import NO_WAIT_BEYOND_US, Claim, JobKind, JobStatus

_job = processing_job.c

CLAIMED = (
    "id", "plugin_name", "plugin_hash", "attempt", "token", "file_version_id", "location_id",
    "ordinal", "priority", "enqueued_at_us", "kind", "due",
)  # fmt: skip
_DUE_THEN_ID = itemgetter(CLAIMED.index("due"), CLAIMED.index("id"))
_VERSION_ID = CLAIMED.index("file_version_id")
_version, _location = file_version.c, file_location.c
# The version's stat, then the location's, which is newer where the bytes are still the same.
_VERSIONS = (
    select(
        _version.id, source_root.c.path, _location.path, _version.content_hash,
        _location.content_hash, _location.current_version_id,
        _version.size, _version.mtime_ns, _version.ctime_ns, _version.inode, _version.device,
        _location.size, _location.mtime_ns, _location.ctime_ns, _location.inode, _location.device,
    )
    .join(file_location, _location.id == _version.location_id)
    .join(source_root, source_root.c.id == _location.source_root_id)
    .where(_version.id.in_(bindparam("ids", expanding=True)))
)  # fmt: skip


def claim_statement(dialect: Dialect, plugins: int) -> Executable:
    """The one statement that claims jobs of so many plugins.

    Its parameters: worker, until, now, limit, and plugin0, hash0, plugin1, hash1...
    """
    numbered: list[Any] = [bindparam(f"plugin{i}") for i in range(plugins)]
    hashes: list[Any] = [
        (_job.plugin_name == name, bindparam(f"hash{i}")) for i, name in enumerate(numbered)
    ]
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
    won = update(processing_job).values(
        status=JobStatus.RUNNING.value,
        attempt=_job.attempt + 1,
        token=dialect.fresh_token,
        worker=bindparam("worker"),
        lease_until_us=bindparam("until"),
        started_at_us=bindparam("now"),
        plugin_hash=case(*hashes),
    )
    columns = tuple(_job[name] for name in CLAIMED)
    limit: BindParameter[int] = bindparam("limit")
    return dialect.claim(ClaimParts(won, candidates, limit, WAITING, columns))


def read_claims(connection: Connection, won: Sequence[Any]) -> list[Claim]:
    """The claims of rows of CLAIMED, in the order they were due."""
    versions: dict[int, Any] = {}
    for ids in chunks([row.file_version_id for row in won]):
        versions.update((row[0], row) for row in connection.execute(_VERSIONS, {"ids": ids}).all())
    in_order = sorted(won, key=_DUE_THEN_ID)
    return [_claim_of(row, versions[row[_VERSION_ID]]) for row in in_order]


def _claim_of(won: Any, version: Any) -> Claim:
    (
        job_id, plugin, plugin_hash, attempt, token, version_id, location_id, ordinal, priority,
        enqueued_at_us, kind, _,
    ) = won  # fmt: skip
    _, root_path, path, content_hash, standing, current_id, *stats = version
    still_there = current_id == version_id and standing == content_hash
    stat = identity(*stats[5:]) if still_there else identity(*stats[:5])
    assert stat is not None
    # By position, in Claim's own order: a batch makes a hundred of them.
    return Claim(
        job_id, plugin, plugin_hash or "", attempt, token, version_id, location_id, ordinal,
        root_path, path, content_hash, stat, priority, enqueued_at_us, "", JobKind(kind),
    )  # fmt: skip
