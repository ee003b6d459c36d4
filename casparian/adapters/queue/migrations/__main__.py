"""Writes `latest.sqlite.sql`, the schema that all migrations make, for databases made at once.

python -m casparian.adapters.queue.migrations
"""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

from casparian.adapters.queue.schema import migrate, script_of
from casparian.adapters.queue.sqlite_engine import sqlite_engine

HEAD = "-- Made by `python -m casparian.adapters.queue.migrations`. A blank line ends a statement."
NOT_OURS = ("BEGIN TRANSACTION;", "COMMIT;", 'DELETE FROM "sqlite_sequence";')


def latest_sqlite() -> str:
    """The script; what it makes is what the migrations make, to the letter."""
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "migrated.sqlite3")
        engine = sqlite_engine(path)
        with engine.execution_options(casparian_write=True).begin() as connection:
            migrate(connection)
        engine.dispose()
        database = sqlite3.connect(path)
        statements = [s for s in database.iterdump() if s not in NOT_OURS]
        database.close()
    torn = [s for s in statements if "\n\n" in s]
    if torn:
        raise ValueError(f"A statement with a blank line in it cannot be written down: {torn}.")
    return "\n\n".join([HEAD, *statements]) + "\n"


if __name__ == "__main__":
    script_of("sqlite").write_text(latest_sqlite(), encoding="utf-8")
