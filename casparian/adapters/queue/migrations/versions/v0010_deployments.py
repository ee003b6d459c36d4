"""Every version of a plugin, with what was signed; used nonces; refused deployments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "plugin_deployment",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("plugin_name", sa.Unicode(length=100), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("origin", sa.String(length=10), nullable=False),
        sa.Column("verdict", sa.String(length=10), nullable=False),
        sa.Column("message", sa.UnicodeText(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Unicode(length=200), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=True),
        sa.Column("scheme", sa.String(length=20), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("signature", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_plugin_deployment"),
        sa.UniqueConstraint(
            "plugin_name", "version", name="uq_plugin_deployment_plugin_name_version"
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "deploy_nonce",
        sa.Column("nonce", sa.String(length=32), nullable=False),
        sa.Column("used_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("nonce", name="pk_deploy_nonce"),
    )
    op.create_index("ix_deploy_nonce_used_at_us", "deploy_nonce", ["used_at_us"])
    op.create_table(
        "deploy_refusal",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("failed_check", sa.String(length=20), nullable=False),
        sa.Column("message", sa.UnicodeText(), nullable=False),
        sa.Column("plugin_name", sa.Unicode(length=100), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.Unicode(length=100), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deploy_refusal"),
        sqlite_autoincrement=True,
    )
    _note_what_is_there()


def _note_what_is_there() -> None:
    """All code so far came from the directory: each is a version of its own."""
    names = ("plugin_name", "version", "content_hash", "origin", "verdict", "message", "at_us")
    code = sa.table("plugin_manifest", *map(sa.column, (*names, "created_at_us")))
    versions = sa.table("plugin_deployment", *map(sa.column, (*names, "actor")))
    known = sa.select(
        code.c.plugin_name,
        code.c.version,
        code.c.content_hash,
        sa.literal_column("'directory'"),
        sa.literal_column("'installed'"),
        sa.literal_column("''"),
        code.c.created_at_us,
        sa.literal_column("''"),
    )
    op.execute(versions.insert().from_select([*names, "actor"], known))
