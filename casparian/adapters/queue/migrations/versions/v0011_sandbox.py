"""What the sandbox grants a plugin, and what stood around the sidecar of a job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    granted = sa.Column("grants", sa.UnicodeText(), server_default="{}", nullable=False)
    op.add_column("plugin_config", granted, schema=schema)
    level = sa.Column("sandbox", sa.Unicode(length=200), nullable=True)
    op.add_column("processing_job", level, schema=schema)
