"""The tables, for every database. Statements are built from these; Alembic makes them.

Times are integers, microseconds since the epoch (`*_us`). Paths, and text with a path in it,
are bytes: they need not be UTF-8. Ids are never given twice. Text that a person chose is
Unicode; lengths are what SQL Server can index, other databases keep longer values.

Whoever imports one file of these has them all, so that `metadata` never lacks a table.
"""

from casparian.adapters.queue.tables import files, installation, jobs, plugins, publishing

__all__ = ["files", "installation", "jobs", "plugins", "publishing"]
