"""Alembic's entry: migrates on the connection, and in the transaction, that it was handed."""

from __future__ import annotations

from alembic import context

from casparian.adapters.queue.tables.columns import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    # Where tables are in a schema that is named, `op.add_column` has to be told it.
    version_table_schema=connection.schema_for_object(metadata.tables["installation"]),
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
