"""Alembic's entry: migrates on the connection, and in the transaction, that it was handed."""

from __future__ import annotations

from alembic import context

from casparian.adapters.queue.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
