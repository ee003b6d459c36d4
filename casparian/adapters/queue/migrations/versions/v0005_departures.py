"""Departures: files that the engine takes away when all jobs of their version are done."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "file_departure",
        sa.Column("file_version_id", _ID, autoincrement=False, nullable=False),
        sa.Column("location_id", _ID, nullable=False),
        sa.Column("action", sa.String(length=10), nullable=False),
        sa.Column("place", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("ctime_ns", sa.BigInteger(), nullable=False),
        sa.Column("inode", sa.BigInteger(), nullable=False),
        sa.Column("device", sa.BigInteger(), nullable=False),
        sa.Column("planned_at_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_at_us", sa.BigInteger()),
        sa.Column("outcome", sa.String(length=10)),
        sa.Column("message", sa.UnicodeText()),
        sa.ForeignKeyConstraint(
            ["file_version_id"], ["file_version.id"],
            name="fk_file_departure_file_version_id_file_version",
        ),
        sa.ForeignKeyConstraint(
            ["location_id"], ["file_location.id"],
            name="fk_file_departure_location_id_file_location",
        ),
        sa.PrimaryKeyConstraint("file_version_id", name="pk_file_departure"),
    )  # fmt: skip
    op.create_index("ix_file_departure_location_id", "file_departure", ["location_id"])
