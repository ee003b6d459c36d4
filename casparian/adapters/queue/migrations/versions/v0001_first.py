"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "file_hash_registry",
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("first_seen_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("content_hash", name="pk_file_hash_registry"),
    )
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("uuid", sa.String(length=32), nullable=False),
        sa.Column("ageing_us", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_installation"),
    )
    op.create_table(
        "plugin_config",
        sa.Column("plugin_name", sa.Unicode(length=100), nullable=False),
        sa.Column("tags", sa.UnicodeText(), nullable=False),
        sa.Column("settings", sa.UnicodeText(), nullable=False),
        sa.Column("timeout_s", sa.Float(), nullable=False),
        sa.Column("memory_mb", sa.BigInteger(), nullable=False),
        sa.Column("cpu_s", sa.BigInteger(), nullable=False),
        sa.Column("max_rejects", sa.String(length=40), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("plugin_name", name="pk_plugin_config"),
    )
    op.create_table(
        "plugin_manifest",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("plugin_name", sa.Unicode(length=100), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("code", sa.LargeBinary(), nullable=False),
        sa.Column("origin", sa.Unicode(length=200), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("quarantined_at_us", sa.BigInteger(), nullable=True),
        sa.Column("quarantine_reason", sa.UnicodeText(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_plugin_manifest"),
        sa.UniqueConstraint(
            "plugin_name", "content_hash", name="uq_plugin_manifest_plugin_name_content_hash"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_plugin_manifest_content_hash", "plugin_manifest", ["content_hash"], unique=False
    )
    op.create_table(
        "publish_slot",
        sa.Column("plugin_name", sa.Unicode(length=100), nullable=False),
        sa.Column("location_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=True),
        sa.Column("enqueue", sa.BigInteger(), nullable=True),
        sa.Column("holder", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("plugin_name", "location_id", name="pk_publish_slot"),
    )
    op.create_table(
        "published_slot",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("plugin_name", sa.Unicode(length=100), nullable=False),
        sa.Column("location_id", sa.BigInteger(), nullable=False),
        sa.Column("topic", sa.Unicode(length=150), nullable=False),
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("mode", sa.String(length=10), nullable=False),
        sa.Column("scheme", sa.String(length=50), nullable=False),
        sa.Column("location", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.UnicodeText(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_published_slot"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_published_slot_owner", "published_slot", ["plugin_name", "location_id"], unique=False
    )
    op.create_table(
        "routing_rule",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("pattern", sa.Unicode(length=500), nullable=False),
        sa.Column("tag", sa.Unicode(length=200), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_routing_rule"),
        sa.UniqueConstraint(
            "pattern", "tag", "priority", name="uq_routing_rule_pattern_tag_priority"
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "source_root",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("path", sa.LargeBinary(length=1600), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_source_root"),
        sa.UniqueConstraint("path", name="uq_source_root_path"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "target_schema",
        sa.Column("target_key", sa.String(length=64), nullable=False),
        sa.Column("scheme", sa.String(length=50), nullable=False),
        sa.Column("location", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.UnicodeText(), nullable=False),
        sa.Column("schema_json", sa.UnicodeText(), nullable=False),
        sa.PrimaryKeyConstraint("target_key", name="pk_target_schema"),
    )
    op.create_table(
        "worker_node",
        sa.Column("hostname", sa.Unicode(length=255), nullable=False),
        sa.Column("pid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Unicode(length=200), nullable=False),
        sa.Column("host_key", sa.Unicode(length=300), nullable=False),
        sa.Column("pid_started", sa.BigInteger(), nullable=False),
        sa.Column("roles", sa.UnicodeText(), nullable=False),
        sa.Column("endpoint", sa.UnicodeText(), nullable=False),
        sa.Column("versions", sa.UnicodeText(), nullable=False),
        sa.Column("git_hash", sa.String(length=64), nullable=False),
        sa.Column("user_name", sa.Unicode(length=200), nullable=False),
        sa.Column("started_at_us", sa.BigInteger(), nullable=False),
        sa.Column("heartbeat_at_us", sa.BigInteger(), nullable=False),
        sa.Column("load", sa.UnicodeText(), nullable=False),
        sa.Column("stopped", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("hostname", "pid", name="pk_worker_node"),
        sa.UniqueConstraint("id", name="uq_worker_node_id"),
    )
    op.create_table(
        "file_location",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("source_root_id", Id, nullable=False),
        sa.Column("path", sa.LargeBinary(length=1600), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=True),
        sa.Column("ctime_ns", sa.BigInteger(), nullable=True),
        sa.Column("inode", sa.BigInteger(), nullable=True),
        sa.Column("device", sa.BigInteger(), nullable=True),
        sa.Column("content_hash", sa.String(length=64), nullable=True),
        sa.Column("current_version_id", sa.BigInteger(), nullable=True),
        sa.Column("versions", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("hashed_at_us", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("missed_scans", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["source_root_id"],
            ["source_root.id"],
            name="fk_file_location_source_root_id_source_root",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_file_location"),
        sa.UniqueConstraint("source_root_id", "path", name="uq_file_location_source_root_id_path"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "topic_config",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("plugin_name", sa.Unicode(length=100), nullable=False),
        sa.Column("topic", sa.Unicode(length=150), nullable=False),
        sa.Column("sink", sa.LargeBinary(), nullable=False),
        sa.Column("mode", sa.String(length=10), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["plugin_name"],
            ["plugin_config.plugin_name"],
            name="fk_topic_config_plugin_name_plugin_config",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_topic_config"),
        sa.UniqueConstraint("plugin_name", "topic", name="uq_topic_config_plugin_name_topic"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "file_version",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("location_id", Id, nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("ctime_ns", sa.BigInteger(), nullable=False),
        sa.Column("inode", sa.BigInteger(), nullable=False),
        sa.Column("device", sa.BigInteger(), nullable=False),
        sa.Column("seen_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["content_hash"],
            ["file_hash_registry.content_hash"],
            name="fk_file_version_content_hash_file_hash_registry",
        ),
        sa.ForeignKeyConstraint(
            ["location_id"], ["file_location.id"], name="fk_file_version_location_id_file_location"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_file_version"),
        sa.UniqueConstraint("location_id", "ordinal", name="uq_file_version_location_id_ordinal"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "file_tag",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("file_version_id", Id, nullable=False),
        sa.Column("tag", sa.Unicode(length=200), nullable=False),
        sa.Column("rule_id", Id, nullable=True),
        sa.ForeignKeyConstraint(
            ["file_version_id"],
            ["file_version.id"],
            name="fk_file_tag_file_version_id_file_version",
        ),
        sa.ForeignKeyConstraint(
            ["rule_id"], ["routing_rule.id"], name="fk_file_tag_rule_id_routing_rule"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_file_tag"),
        sa.UniqueConstraint("file_version_id", "tag", name="uq_file_tag_file_version_id_tag"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "processing_job",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("plugin_name", sa.Unicode(length=100), nullable=False),
        sa.Column("plugin_hash", sa.String(length=64), nullable=True),
        sa.Column("file_version_id", Id, nullable=False),
        sa.Column("location_id", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("tries", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("crashes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("token", sa.String(length=32), nullable=True),
        sa.Column("worker", sa.Unicode(length=200), nullable=True),
        sa.Column("lease_until_us", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("not_before_us", sa.BigInteger(), nullable=False),
        sa.Column("enqueued_at_us", sa.BigInteger(), nullable=False),
        sa.Column("started_at_us", sa.BigInteger(), nullable=True),
        sa.Column("decided_at_us", sa.BigInteger(), nullable=True),
        sa.Column("finished_at_us", sa.BigInteger(), nullable=True),
        sa.Column("rows", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rejects", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("error_class", sa.String(length=20), nullable=True),
        sa.Column("error_message", sa.UnicodeText(), nullable=True),
        sa.Column("manifest", sa.UnicodeText(), nullable=True),
        sa.ForeignKeyConstraint(
            ["file_version_id"],
            ["file_version.id"],
            name="fk_processing_job_file_version_id_file_version",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_processing_job"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_processing_job_claim",
        "processing_job",
        ["due", "id", "plugin_name", "not_before_us", "status"],
        unique=False,
        sqlite_where=sa.text("status = 'QUEUED'"),
        postgresql_where=sa.text("status = 'QUEUED'"),
        mssql_where=sa.text("status = 'QUEUED'"),
    )
    op.create_index(
        "ix_processing_job_held",
        "processing_job",
        ["lease_until_us"],
        unique=False,
        sqlite_where=sa.text("token IS NOT NULL"),
        postgresql_where=sa.text("token IS NOT NULL"),
        mssql_where=sa.text("token IS NOT NULL"),
    )
    op.create_index(
        "ix_processing_job_ended",
        "processing_job",
        ["status", "finished_at_us", "plugin_name"],
        unique=False,
        sqlite_where=sa.text("finished_at_us IS NOT NULL"),
        postgresql_where=sa.text("finished_at_us IS NOT NULL"),
        mssql_where=sa.text("finished_at_us IS NOT NULL"),
    )
    op.create_index(
        "ix_processing_job_version",
        "processing_job",
        ["file_version_id", "plugin_name"],
        unique=False,
    )
    op.create_table(
        "job_event",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("job_id", Id, nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.String(length=20), nullable=False),
        sa.Column("worker", sa.Unicode(length=200), nullable=True),
        sa.Column("error_class", sa.String(length=20), nullable=True),
        sa.Column("message", sa.UnicodeText(), nullable=True),
        sa.Column("detail", sa.UnicodeText(), nullable=True),
        sa.Column("actor", sa.Unicode(length=200), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"], ["processing_job.id"], name="fk_job_event_job_id_processing_job"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_job_event"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_job_event_job_id", "job_event", ["job_id"], unique=False)
