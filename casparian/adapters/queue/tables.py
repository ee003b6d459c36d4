"""The tables, for every database. Statements are built from these; Alembic makes them.

Times are integers, microseconds since the epoch (`*_us`). Paths, and text with a path in it,
are bytes: they need not be UTF-8. Ids are never given twice. Text that a person chose is
Unicode; lengths are what SQL Server can index, other databases keep longer values.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Unicode,
    UnicodeText,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Only a column of exactly this type counts up by itself in SQLite.
Id = BigInteger().with_variant(Integer(), "sqlite")
Path = LargeBinary(1600)
Hash = String(64)
Name = Unicode(100)
BundleName = Unicode(150)
# What PostgreSQL calls a FLOAT of this size when it is asked.
Seconds = Float().with_variant(Double(), "postgresql")


class Raw(LargeBinary):
    """Bytes, read as what lies there: SQLite keeps a text as well, which others would choke on."""

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        return None


def _table(name: str, *items: Column[object] | Index | UniqueConstraint) -> Table:
    return Table(name, metadata, *items, sqlite_autoincrement=True)


def _id() -> Column[object]:
    return Column("id", Id, primary_key=True, autoincrement=True)


def _whole(name: str, default: int | None = None, nullable: bool = False) -> Column[object]:
    given = None if default is None else text(str(default))
    return Column(name, BigInteger, nullable=nullable, server_default=given)


def _ref(name: str, target: str, nullable: bool = False) -> Column[object]:
    return Column(name, Id, ForeignKey(target), nullable=nullable)


def _stat(nullable: bool) -> list[Column[object]]:
    names = ("size", "mtime_ns", "ctime_ns", "inode", "device")
    return [Column(name, BigInteger, nullable=nullable) for name in names]


installation = Table(
    "installation",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("uuid", String(32), nullable=False),
    _whole("ageing_us"),
    _whole("revision"),
    _whole("created_at_us"),
)

# --- files ------------------------------------------------------------------------------

source_root = _table(
    "source_root",
    _id(),
    Column("path", Path, nullable=False, unique=True),
    Column("active", Boolean, nullable=False),
    _whole("disturbances", 0),
)

# Who scans a root, `holder` NULL for nobody. Each holder has a higher `fence` than those before:
# what a scan writes is written only under the fence that stands here.
scout_lease = Table(
    "scout_lease",
    metadata,
    Column(
        "source_root_id", Id, ForeignKey("source_root.id"), primary_key=True, autoincrement=False
    ),
    _whole("fence"),
    Column("holder", Unicode(200)),
    Column("hostname", Unicode(255), nullable=False),
    Column("host_key", Unicode(300), nullable=False),
    _whole("pid"),
    _whole("pid_started"),
    Column("lasting", Boolean, nullable=False),
    _whole("until_us"),
)

file_hash_registry = Table(
    "file_hash_registry",
    metadata,
    Column("content_hash", Hash, primary_key=True),
    _whole("size"),
    _whole("first_seen_us"),
)

# `content_hash` is what the last recording saw; NULL makes the next one a new version.
# `current_version_id` has no foreign key, since versions refer to locations.
file_location = _table(
    "file_location",
    _id(),
    _ref("source_root_id", "source_root.id"),
    Column("path", Path, nullable=False),
    *_stat(nullable=True),
    Column("content_hash", Hash),
    _whole("current_version_id", nullable=True),
    _whole("versions", 0),
    _whole("hashed_at_us", 0),
    Column("missed_scans", Integer, nullable=False, server_default=text("0")),
    Column("deleted", Boolean, nullable=False),
    UniqueConstraint("source_root_id", "path"),
)

file_version = _table(
    "file_version",
    _id(),
    _ref("location_id", "file_location.id"),
    _whole("ordinal"),
    Column("content_hash", Hash, ForeignKey("file_hash_registry.content_hash"), nullable=False),
    *_stat(nullable=False),
    _whole("seen_at_us"),
    UniqueConstraint("location_id", "ordinal"),
)

# What the engine takes away from its place. Open while `outcome` is NULL.
file_departure = Table(
    "file_departure",
    metadata,
    Column(
        "file_version_id", Id, ForeignKey("file_version.id"), primary_key=True, autoincrement=False
    ),
    Column("location_id", Id, ForeignKey("file_location.id"), nullable=False, index=True),
    Column("action", String(10), nullable=False),
    Column("place", LargeBinary, nullable=False),
    *_stat(nullable=False),
    _whole("planned_at_us"),
    _whole("ended_at_us", nullable=True),
    Column("outcome", String(10)),
    Column("message", UnicodeText),
)

# --- routing and plugins ----------------------------------------------------------------

routing_rule = _table(
    "routing_rule",
    _id(),
    Column("pattern", Unicode(500), nullable=False),
    Column("tag", Unicode(200), nullable=False),
    _whole("priority"),
    _whole("position"),
    Column("active", Boolean, nullable=False),
    UniqueConstraint("pattern", "tag", "priority"),
)

file_tag = _table(
    "file_tag",
    _id(),
    _ref("file_version_id", "file_version.id"),
    Column("tag", Unicode(200), nullable=False),
    _ref("rule_id", "routing_rule.id", nullable=True),
    UniqueConstraint("file_version_id", "tag"),
)

plugin_config = Table(
    "plugin_config",
    metadata,
    Column("plugin_name", Name, primary_key=True),
    Column("tags", UnicodeText, nullable=False),
    Column("settings", UnicodeText, nullable=False),
    Column("timeout_s", Seconds, nullable=False),
    _whole("memory_mb"),
    _whole("cpu_s"),
    Column("max_rejects", String(40), nullable=False),
    Column("active", Boolean, nullable=False),
    Column("grants", UnicodeText, nullable=False, server_default="{}"),
)

topic_config = _table(
    "topic_config",
    _id(),
    Column("plugin_name", Name, ForeignKey("plugin_config.plugin_name"), nullable=False),
    Column("topic", Unicode(150), nullable=False),
    Column("sink", LargeBinary, nullable=False),
    Column("mode", String(10), nullable=False),
    _whole("position"),
    Column("active", Boolean, nullable=False),
    Column("duplicates", String(10), nullable=False, server_default="process"),
    UniqueConstraint("plugin_name", "topic"),
)

plugin_manifest = _table(
    "plugin_manifest",
    _id(),
    Column("plugin_name", Name, nullable=False),
    Column("content_hash", Hash, nullable=False, index=True),
    Column("code", Raw, nullable=False),
    Column("origin", Unicode(200), nullable=False),
    _whole("version"),
    _whole("created_at_us"),
    Column("live", Boolean, nullable=False),
    _whole("quarantined_at_us", nullable=True),
    Column("quarantine_reason", UnicodeText),
    Column("environment", Hash),
    UniqueConstraint("plugin_name", "content_hash"),
)

# What plugins with packages of their own ran in, one row for each set of them. Jobs and manifests
# refer to it by `digest`; `packages` has a line for each.
plugin_environment = _table(
    "plugin_environment",
    _id(),
    Column("digest", Hash, nullable=False, unique=True),
    Column("directory", String(32), nullable=False),
    Column("python", Unicode(100), nullable=False),
    Column("packages", UnicodeText, nullable=False),
    _whole("noted_at_us"),
)

# Every version that a plugin had, whose signature held or that needed none. What is signed is kept,
# to be verified at each load; `key_id` and what follows are NULL where nobody signed.
plugin_deployment = _table(
    "plugin_deployment",
    _id(),
    Column("plugin_name", Name, nullable=False),
    _whole("version"),
    Column("content_hash", Hash, nullable=False),
    Column("origin", String(10), nullable=False),
    Column("verdict", String(10), nullable=False),
    Column("message", UnicodeText, nullable=False),
    _whole("at_us"),
    Column("actor", Unicode(200), nullable=False),
    Column("key_id", String(64)),
    Column("scheme", String(20)),
    Column("body", Raw),
    Column("signature", Raw),
    UniqueConstraint("plugin_name", "version"),
)

# Of signatures that held, until no clock could take them for new ones.
deploy_nonce = Table(
    "deploy_nonce",
    metadata,
    Column("nonce", String(32), primary_key=True),
    Column("used_at_us", BigInteger, nullable=False, index=True),
)

# What a refused deployment said of itself is not to be believed.
deploy_refusal = _table(
    "deploy_refusal",
    _id(),
    _whole("at_us"),
    Column("failed_check", String(20), nullable=False),
    Column("message", UnicodeText, nullable=False),
    Column("plugin_name", Name, nullable=False),
    _whole("version"),
    Column("key_id", Name, nullable=False),
)

# --- jobs -------------------------------------------------------------------------------

# `token` is set while someone holds the job (RUNNING, PROMOTING), `finished_at_us` when it has
# ended (COMPLETED, FAILED, BLOCKED, CANCELLED, SUPERSEDED, SKIPPED); `worker` tells who held it
# last.
# The manifest comes last, so that nothing else lies behind its length, but for what was added
# to the table later.
processing_job = _table(
    "processing_job",
    _id(),
    Column("status", String(10), nullable=False),
    Column("plugin_name", Name, nullable=False),
    Column("plugin_hash", Hash),
    _ref("file_version_id", "file_version.id"),
    _whole("location_id"),
    _whole("ordinal"),
    _whole("priority"),
    _whole("due"),
    _whole("attempt", 0),
    _whole("tries", 0),
    _whole("crashes", 0),
    Column("token", String(32)),
    Column("worker", Unicode(200)),
    _whole("lease_until_us", 0),
    _whole("not_before_us"),
    _whole("enqueued_at_us"),
    _whole("started_at_us", nullable=True),
    _whole("decided_at_us", nullable=True),
    _whole("finished_at_us", nullable=True),
    _whole("rows", 0),
    _whole("rejects", 0),
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

job_event = _table(
    "job_event",
    _id(),
    Column("job_id", Id, ForeignKey("processing_job.id"), nullable=False, index=True),
    _whole("attempt"),
    _whole("at_us"),
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
    _whole("job_id"),
    _whole("location_id"),
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
    _whole("pid_started"),
    Column("roles", UnicodeText, nullable=False),
    Column("endpoint", UnicodeText, nullable=False),
    Column("versions", UnicodeText, nullable=False),
    Column("git_hash", String(64), nullable=False),
    Column("user_name", Unicode(200), nullable=False),
    _whole("started_at_us"),
    _whole("heartbeat_at_us"),
    Column("load", UnicodeText, nullable=False),
    Column("stopped", Boolean, nullable=False),
)

# --- publishing -------------------------------------------------------------------------

# The lock row of a (plugin, location): `holder` is the PROMOTING job's id, `ordinal` and
# `enqueue` are the generation, both NULL before the first publication.
publish_slot = Table(
    "publish_slot",
    metadata,
    Column("plugin_name", Name, primary_key=True),
    Column("location_id", BigInteger, primary_key=True, autoincrement=False),
    _whole("ordinal", nullable=True),
    _whole("enqueue", nullable=True),
    _whole("holder", nullable=True),
)

published_slot = _table(
    "published_slot",
    _id(),
    Column("plugin_name", Name, nullable=False),
    _whole("location_id"),
    Column("topic", Unicode(150), nullable=False),
    _whole("version_id"),
    Column("mode", String(10), nullable=False),
    Column("scheme", String(50), nullable=False),
    Column("location", LargeBinary, nullable=False),
    Column("name", UnicodeText, nullable=False),
    Column("bundle", BundleName, nullable=False, server_default=""),
    Index("ix_published_slot_owner", "plugin_name", "location_id"),
)

# A directory of a target that several slots share. `revision` is the one decided last,
# `installed` the one that was promoted last; `bundle_key` the SHA-256 of target and name.
target_bundle = Table(
    "target_bundle",
    metadata,
    Column("bundle_key", Hash, primary_key=True),
    Column("scheme", String(50), nullable=False),
    Column("location", LargeBinary, nullable=False),
    Column("name", UnicodeText, nullable=False),
    Column("bundle", BundleName, nullable=False),
    _whole("revision"),
    _whole("installed"),
)

# `target_key` is the SHA-256 of the target: locations may be too long for an index.
target_schema = Table(
    "target_schema",
    metadata,
    Column("target_key", Hash, primary_key=True),
    Column("scheme", String(50), nullable=False),
    Column("location", LargeBinary, nullable=False),
    Column("name", UnicodeText, nullable=False),
    Column("schema_json", UnicodeText, nullable=False),
)

# --- what operators did to the history ---------------------------------------------------

# One row for each call of `prune` that removed something; `jobs` and `events` grow while it works.
pruning = _table(
    "pruning",
    _id(),
    _whole("at_us"),
    Column("actor", Unicode(200), nullable=False),
    _whole("before_us"),
    _whole("jobs"),
    _whole("events"),
)

# --- adoption ---------------------------------------------------------------------------

# One row for each time that this queue became another installation.
adoption = _table(
    "adoption",
    _id(),
    _whole("at_us"),
    Column("actor", Unicode(200), nullable=False),
    Column("former_uuid", String(32), nullable=False),
    Column("uuid", String(32), nullable=False),
)

# `former_*` is what the marker said before: ids of another queue, or of this one before it was
# restored. `version_id` is the slot's; in most of them no version here has it.
adopted_slot = _table(
    "adopted_slot",
    _id(),
    _ref("adoption_id", "adoption.id"),
    Column("plugin_name", Name, nullable=False),
    Column("topic", Unicode(150), nullable=False),
    Column("location_id", Id, ForeignKey("file_location.id"), nullable=False, index=True),
    _whole("version_id"),
    Column("mode", String(10), nullable=False),
    Column("scheme", String(50), nullable=False),
    Column("location", LargeBinary, nullable=False),
    Column("name", UnicodeText, nullable=False),
    Column("former_uuid", String(32), nullable=False),
    Column("former_job_id", BigInteger, nullable=False, index=True),
    _whole("former_location_id"),
    _whole("former_version_id"),
    _whole("former_ordinal"),
    Column("content_hash", Hash),
    _whole("rows"),
)

# The version that the next content of a location will be, if it is this one (NULL: whatever it
# is): the rows of it that were adopted are then replaced by its own.
adopted_version = Table(
    "adopted_version",
    metadata,
    Column(
        "location_id", Id, ForeignKey("file_location.id"), primary_key=True, autoincrement=False
    ),
    _whole("version_id"),
    Column("content_hash", Hash),
)
