"""Kinds of jobs: beside runs of plugins there are purges."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "processing_job",
        sa.Column("kind", sa.String(length=10), nullable=False, server_default="RUN"),
        schema=op.get_context().version_table_schema,
    )
