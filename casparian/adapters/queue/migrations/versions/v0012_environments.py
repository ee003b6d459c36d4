"""What plugins with packages of their own ran in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    op.create_table(
        "plugin_environment",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("directory", sa.String(length=32), nullable=False),
        sa.Column("python", sa.Unicode(length=100), nullable=False),
        sa.Column("packages", sa.UnicodeText(), nullable=False),
        sa.Column("noted_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_plugin_environment"),
        sa.UniqueConstraint("digest", name="uq_plugin_environment_digest"),
        sqlite_autoincrement=True,
    )
    for table in ("plugin_manifest", "processing_job"):
        digest = sa.Column("environment", sa.String(length=64), nullable=True)
        op.add_column(table, digest, schema=schema)
