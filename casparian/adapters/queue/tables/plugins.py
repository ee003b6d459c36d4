"""The tables of plugins: which files they get, their settings, their code and who deployed it."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    LargeBinary,
    String,
    Table,
    Unicode,
    UnicodeText,
    UniqueConstraint,
)

from casparian.adapters.queue.tables.columns import (
    Hash,
    Name,
    Raw,
    Seconds,
    id_column,
    metadata,
    numbered_table,
    reference,
    whole,
)

routing_rule = numbered_table(
    "routing_rule",
    id_column(),
    Column("pattern", Unicode(500), nullable=False),
    Column("tag", Unicode(200), nullable=False),
    whole("priority"),
    whole("position"),
    Column("active", Boolean, nullable=False),
    UniqueConstraint("pattern", "tag", "priority"),
)

file_tag = numbered_table(
    "file_tag",
    id_column(),
    reference("file_version_id", "file_version.id"),
    Column("tag", Unicode(200), nullable=False),
    reference("rule_id", "routing_rule.id", nullable=True),
    UniqueConstraint("file_version_id", "tag"),
)

plugin_config = Table(
    "plugin_config",
    metadata,
    Column("plugin_name", Name, primary_key=True),
    Column("tags", UnicodeText, nullable=False),
    Column("settings", UnicodeText, nullable=False),
    Column("timeout_s", Seconds, nullable=False),
    whole("memory_mb"),
    whole("cpu_s"),
    Column("max_rejects", String(40), nullable=False),
    Column("active", Boolean, nullable=False),
    Column("grants", UnicodeText, nullable=False, server_default="{}"),
)

topic_config = numbered_table(
    "topic_config",
    id_column(),
    Column("plugin_name", Name, ForeignKey("plugin_config.plugin_name"), nullable=False),
    Column("topic", Unicode(150), nullable=False),
    Column("sink", LargeBinary, nullable=False),
    Column("mode", String(10), nullable=False),
    whole("position"),
    Column("active", Boolean, nullable=False),
    Column("duplicates", String(10), nullable=False, server_default="process"),
    UniqueConstraint("plugin_name", "topic"),
)

plugin_manifest = numbered_table(
    "plugin_manifest",
    id_column(),
    Column("plugin_name", Name, nullable=False),
    Column("content_hash", Hash, nullable=False, index=True),
    Column("code", Raw, nullable=False),
    Column("origin", Unicode(200), nullable=False),
    whole("version"),
    whole("created_at_us"),
    Column("live", Boolean, nullable=False),
    whole("quarantined_at_us", nullable=True),
    Column("quarantine_reason", UnicodeText),
    Column("environment", Hash),
    UniqueConstraint("plugin_name", "content_hash"),
)

# What plugins with packages of their own ran in, one row for each set of them. Jobs and manifests
# refer to it by `digest`; `packages` has a line for each.
plugin_environment = numbered_table(
    "plugin_environment",
    id_column(),
    Column("digest", Hash, nullable=False, unique=True),
    Column("directory", String(32), nullable=False),
    Column("python", Unicode(100), nullable=False),
    Column("packages", UnicodeText, nullable=False),
    whole("noted_at_us"),
)

# Every version that a plugin had, whose signature held or that needed none. What is signed is kept,
# to be verified at each load; `key_id` and what follows are NULL where nobody signed.
plugin_deployment = numbered_table(
    "plugin_deployment",
    id_column(),
    Column("plugin_name", Name, nullable=False),
    whole("version"),
    Column("content_hash", Hash, nullable=False),
    Column("origin", String(10), nullable=False),
    Column("verdict", String(10), nullable=False),
    Column("message", UnicodeText, nullable=False),
    whole("at_us"),
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
deploy_refusal = numbered_table(
    "deploy_refusal",
    id_column(),
    whole("at_us"),
    Column("failed_check", String(20), nullable=False),
    Column("message", UnicodeText, nullable=False),
    Column("plugin_name", Name, nullable=False),
    whole("version"),
    Column("key_id", Name, nullable=False),
)
