"""One scout at a time for each source root."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "scout_lease",
        sa.Column("source_root_id", Id, autoincrement=False, nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Unicode(length=200), nullable=True),
        sa.Column("hostname", sa.Unicode(length=255), nullable=False),
        sa.Column("host_key", sa.Unicode(length=300), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("pid_started", sa.BigInteger(), nullable=False),
        sa.Column("lasting", sa.Boolean(), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["source_root_id"],
            ["source_root.id"],
            name="fk_scout_lease_source_root_id_source_root",
        ),
        sa.PrimaryKeyConstraint("source_root_id", name="pk_scout_lease"),
    )
