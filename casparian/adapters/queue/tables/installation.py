"""The tables of which installation this queue is, and of rows that it took over from others."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
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

installation = Table(
    "installation",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("uuid", String(32), nullable=False),
    whole("ageing_us"),
    whole("revision"),
    whole("created_at_us"),
)

# One row for each time that this queue became another installation.
adoption = numbered_table(
    "adoption",
    id_column(),
    whole("at_us"),
    Column("actor", Unicode(200), nullable=False),
    Column("former_uuid", String(32), nullable=False),
    Column("uuid", String(32), nullable=False),
)

# `former_*` is what the marker said before: ids of another queue, or of this one before it was
# restored. `version_id` is the slot's; in most of them no version here has it.
adopted_slot = numbered_table(
    "adopted_slot",
    id_column(),
    reference("adoption_id", "adoption.id"),
    Column("plugin_name", Name, nullable=False),
    Column("topic", Unicode(150), nullable=False),
    Column("location_id", Id, ForeignKey("file_location.id"), nullable=False, index=True),
    whole("version_id"),
    Column("mode", String(10), nullable=False),
    Column("scheme", String(50), nullable=False),
    Column("location", LargeBinary, nullable=False),
    Column("name", UnicodeText, nullable=False),
    Column("former_uuid", String(32), nullable=False),
    Column("former_job_id", BigInteger, nullable=False, index=True),
    whole("former_location_id"),
    whole("former_version_id"),
    whole("former_ordinal"),
    Column("content_hash", Hash),
    whole("rows"),
)

# The version that the next content of a location will be, if it is this one (NULL: whatever it
# is): the rows of it that were adopted are then replaced by its own.
adopted_version = Table(
    "adopted_version",
    metadata,
    Column(
        "location_id", Id, ForeignKey("file_location.id"), primary_key=True, autoincrement=False
    ),
    whole("version_id"),
    Column("content_hash", Hash),
)
