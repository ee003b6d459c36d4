"""The tables of jobs, of their history, and of the processes that run them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    String,
    Table,
    Unicode,
    UnicodeText,
)

from casparian.adapters.queue.tables.columns import (
    Hash,
    Id,
    Name,
    id_column,
    metadata,
    numbered_table,
    reference,
    whole,
)

# `token` is set while someone holds the job (RUNNING, PROMOTING), `finished_at_us` when it has
# ended (COMPLETED, FAILED, BLOCKED, CANCELLED, SUPERSEDED, SKIPPED); `worker` tells who held it
# last.
# The manifest comes last, so that nothing else lies behind its length, but for what was added
# to the table later.
processing_job = numbered_table(
    "processing_job",
    id_column(),
    Column("status", String(10), nullable=False),
    Column("plugin_name", Name, nullable=False),
    Column("plugin_hash", Hash),
    reference("file_version_id", "file_version.id"),
    whole("location_id"),
    whole("ordinal"),
    whole("priority"),
    whole("due"),
    whole("attempt", 0),
    whole("tries", 0),
    whole("crashes", 0),
    Column("token", String(32)),
    Column("worker", Unicode(200)),
    whole("lease_until_us", 0),
    whole("not_before_us"),
    whole("enqueued_at_us"),
    whole("started_at_us", nullable=True),
    whole("decided_at_us", nullable=True),
    whole("finished_at_us", nullable=True),
    whole("rows", 0),
    whole("rejects", 0),
    Column("error_class", String(20)),
    Column("error_message", UnicodeText),
    Column("manifest", UnicodeText),
    Column("kind", String(10), nullable=False, server_default="RUN"),
    Column("sandbox", Unicode(200)),
    Column("environment", Hash),
)

job = processing_job.c
# Which jobs wait, which are held, which have ended: each kind is in one index, so that a step
# of a job touches few, and no planner can take the wrong one to claim by. Claiming reads the
# first from its begin, and passes by what is not due or not wanted without a look at the table
# (`status` is in it because SQLite does not infer it).
_WAITING, _HELD, _ENDED = "status = 'QUEUED'", "token IS NOT NULL", "finished_at_us IS NOT NULL"
_claimed_by = (job.due, job.id, job.plugin_name, job.not_before_us, job.status)
# Which rows an index holds is noted only: naming a dialect would import it in every engine. The
# migration that makes the indexes says it in each database's own words.
Index("ix_processing_job_claim", *_claimed_by, info={"where": _WAITING})
Index("ix_processing_job_held", job.lease_until_us, info={"where": _HELD})
_ended_by = (job.status, job.finished_at_us, job.plugin_name)
Index("ix_processing_job_ended", *_ended_by, info={"where": _ENDED})
Index("ix_processing_job_version", job.file_version_id, job.plugin_name)

job_event = numbered_table(
    "job_event",
    id_column(),
    Column("job_id", Id, ForeignKey("processing_job.id"), nullable=False, index=True),
    whole("attempt"),
    whole("at_us"),
    Column("event", String(20), nullable=False),
    Column("worker", Unicode(200)),
    Column("error_class", String(20)),
    Column("message", UnicodeText),
    Column("detail", UnicodeText),
    Column("actor", Unicode(200)),
)

# Of plugins that skip duplicates: the job that does each content, and those skipped for it. A
# job's id changes when rows are taken over, so neither refers to the table of jobs.
content_doer = Table(
    "content_doer",
    metadata,
    Column("plugin_name", Name, primary_key=True),
    Column("content_hash", Hash, primary_key=True),
    whole("job_id"),
    whole("location_id"),
    Index("ix_content_doer_file", "plugin_name", "location_id"),
)

content_copy = Table(
    "content_copy",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("plugin_name", Name, nullable=False),
    Column("content_hash", Hash, nullable=False),
    Index("ix_content_copy_content", "plugin_name", "content_hash"),
)

worker_node = Table(
    "worker_node",
    metadata,
    Column("hostname", Unicode(255), primary_key=True),
    Column("pid", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Unicode(200), nullable=False, unique=True),
    Column("host_key", Unicode(300), nullable=False),
    whole("pid_started"),
    Column("roles", UnicodeText, nullable=False),
    Column("endpoint", UnicodeText, nullable=False),
    Column("versions", UnicodeText, nullable=False),
    Column("git_hash", String(64), nullable=False),
    Column("user_name", Unicode(200), nullable=False),
    whole("started_at_us"),
    whole("heartbeat_at_us"),
    Column("load", UnicodeText, nullable=False),
    Column("stopped", Boolean, nullable=False),
)

# One row for each call of `prune` that removed something; `jobs` and `events` grow while it works.
pruning = numbered_table(
    "pruning",
    id_column(),
    whole("at_us"),
    Column("actor", Unicode(200), nullable=False),
    whole("before_us"),
    whole("jobs"),
    whole("events"),
)
