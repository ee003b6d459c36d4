"""The tables of files: source roots, who scans them, locations, versions, what was taken away."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    String,
    Table,
    Unicode,
    UnicodeText,
    UniqueConstraint,
    text,
)

from casparian.adapters.queue.tables.columns import (
    Hash,
    Id,
    Path,
    id_column,
    metadata,
    numbered_table,
    reference,
    stat_columns,
    whole,
)

source_root = numbered_table(
    "source_root",
    id_column(),
    Column("path", Path, nullable=False, unique=True),
    Column("active", Boolean, nullable=False),
    whole("disturbances", 0),
)

# Who scans a root, `holder` NULL for nobody. Each holder has a higher `fence` than those before:
# what a scan writes is written only under the fence that stands here.
scout_lease = Table(
    "scout_lease",
    metadata,
    Column(
        "source_root_id", Id, ForeignKey("source_root.id"), primary_key=True, autoincrement=False
    ),
    whole("fence"),
    Column("holder", Unicode(200)),
    Column("hostname", Unicode(255), nullable=False),
    Column("host_key", Unicode(300), nullable=False),
    whole("pid"),
    whole("pid_started"),
    Column("lasting", Boolean, nullable=False),
    whole("until_us"),
)

file_hash_registry = Table(
    "file_hash_registry",
    metadata,
    Column("content_hash", Hash, primary_key=True),
    whole("size"),
    whole("first_seen_us"),
)

# `content_hash` is what the last recording saw; NULL makes the next one a new version.
# `current_version_id` has no foreign key, since versions refer to locations.
file_location = numbered_table(
    "file_location",
    id_column(),
    reference("source_root_id", "source_root.id"),
    Column("path", Path, nullable=False),
    *stat_columns(nullable=True),
    Column("content_hash", Hash),
    whole("current_version_id", nullable=True),
    whole("versions", 0),
    whole("hashed_at_us", 0),
    Column("missed_scans", Integer, nullable=False, server_default=text("0")),
    Column("deleted", Boolean, nullable=False),
    UniqueConstraint("source_root_id", "path"),
)

file_version = numbered_table(
    "file_version",
    id_column(),
    reference("location_id", "file_location.id"),
    whole("ordinal"),
    Column("content_hash", Hash, ForeignKey("file_hash_registry.content_hash"), nullable=False),
    *stat_columns(nullable=False),
    whole("seen_at_us"),
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
    *stat_columns(nullable=False),
    whole("planned_at_us"),
    whole("ended_at_us", nullable=True),
    Column("outcome", String(10)),
    Column("message", UnicodeText),
)
