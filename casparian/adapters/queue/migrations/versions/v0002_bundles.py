"""Bundles: directories of a target that several slots share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "target_bundle",
        sa.Column("bundle_key", sa.String(length=64), nullable=False),
        sa.Column("scheme", sa.String(length=50), nullable=False),
        sa.Column("location", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.UnicodeText(), nullable=False),
        sa.Column("bundle", sa.Unicode(length=150), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("installed", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("bundle_key", name="pk_target_bundle"),
    )
    op.add_column(
        "published_slot",
        sa.Column("bundle", sa.Unicode(length=150), nullable=False, server_default=""),
        schema=op.get_context().version_table_schema,
    )
