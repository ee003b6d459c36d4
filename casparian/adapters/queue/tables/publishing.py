"""The tables of what was published, and where: slots, bundles, schemas of targets."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, String, Table, Unicode, UnicodeText

from casparian.adapters.queue.tables.columns import (
    BundleName,
    Hash,
    Name,
    id_column,
    metadata,
    numbered_table,
    whole,
)

# The lock row of a (plugin, location): `holder` is the PROMOTING job's id, `ordinal` and
# `enqueue` are the generation, both NULL before the first publication.
publish_slot = Table(
    "publish_slot",
    metadata,
    Column("plugin_name", Name, primary_key=True),
    Column("location_id", BigInteger, primary_key=True, autoincrement=False),
    whole("ordinal", nullable=True),
    whole("enqueue", nullable=True),
    whole("holder", nullable=True),
)

published_slot = numbered_table(
    "published_slot",
    id_column(),
    Column("plugin_name", Name, nullable=False),
    whole("location_id"),
    Column("topic", Unicode(150), nullable=False),
    whole("version_id"),
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
    whole("revision"),
    whole("installed"),
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
