"""Adoption: which rows of other installations this queue took over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "adoption",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Unicode(length=200), nullable=False),
        sa.Column("former_uuid", sa.String(length=32), nullable=False),
        sa.Column("uuid", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_adoption"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "adopted_slot",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("adoption_id", _ID, nullable=False),
        sa.Column("plugin_name", sa.Unicode(length=100), nullable=False),
        sa.Column("topic", sa.Unicode(length=150), nullable=False),
        sa.Column("location_id", _ID, nullable=False),
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("mode", sa.String(length=10), nullable=False),
        sa.Column("scheme", sa.String(length=50), nullable=False),
        sa.Column("location", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.UnicodeText(), nullable=False),
        sa.Column("former_uuid", sa.String(length=32), nullable=False),
        sa.Column("former_job_id", sa.BigInteger(), nullable=False),
        sa.Column("former_location_id", sa.BigInteger(), nullable=False),
        sa.Column("former_version_id", sa.BigInteger(), nullable=False),
        sa.Column("former_ordinal", sa.BigInteger(), nullable=False),
        sa.Column("content_hash", sa.String(length=64)),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["adoption_id"], ["adoption.id"], name="fk_adopted_slot_adoption_id_adoption"
        ),
        sa.ForeignKeyConstraint(
            ["location_id"], ["file_location.id"], name="fk_adopted_slot_location_id_file_location"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_adopted_slot"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_adopted_slot_location_id", "adopted_slot", ["location_id"])
    op.create_index("ix_adopted_slot_former_job_id", "adopted_slot", ["former_job_id"])
    op.create_table(
        "adopted_version",
        sa.Column("location_id", _ID, autoincrement=False, nullable=False),
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("content_hash", sa.String(length=64)),
        sa.ForeignKeyConstraint(
            ["location_id"],
            ["file_location.id"],
            name="fk_adopted_version_location_id_file_location",
        ),
        sa.PrimaryKeyConstraint("location_id", name="pk_adopted_version"),
    )
