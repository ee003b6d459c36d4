"""Duplicates: of files with the same content, one is published where the topics say so."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "topic_config",
        sa.Column("duplicates", sa.String(length=10), nullable=False, server_default="process"),
        schema=op.get_context().version_table_schema,
    )
    op.create_table(
        "content_doer",
        sa.Column("plugin_name", sa.Unicode(length=100), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("location_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("plugin_name", "content_hash", name="pk_content_doer"),
    )
    op.create_index("ix_content_doer_file", "content_doer", ["plugin_name", "location_id"])
    op.create_table(
        "content_copy",
        sa.Column("job_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("plugin_name", sa.Unicode(length=100), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_content_copy"),
    )
    op.create_index("ix_content_copy_content", "content_copy", ["plugin_name", "content_hash"])
