"""Alembic's scripts. `casparian.adapters.queue.schema` runs them; users need no alembic.ini."""
