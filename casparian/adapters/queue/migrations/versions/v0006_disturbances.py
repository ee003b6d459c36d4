"""How often files of a root were forgotten or missed: scouts remember what they compared."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "source_root",
        sa.Column("disturbances", sa.BigInteger(), nullable=False, server_default="0"),
        schema=op.get_context().version_table_schema,
    )
