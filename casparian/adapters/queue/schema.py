"""The guard at the database's door: a known schema is used, a new one made, any other refused.

Nothing is written before the schema was found to be the one this program knows.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, func, insert, select

from casparian.adapters.queue.common import wall_clock_us
from casparian.adapters.queue.live_tables import column_types, table_names
from casparian.adapters.queue.tables.columns import metadata
from casparian.adapters.queue.tables.installation import installation
from casparian.domain.errors import SchemaVersionError

REVISIONS = (
    "0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011",
    "0012",
)  # fmt: skip
"""Every revision this program knows, oldest first."""
MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "alembic_version"
VERSION = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32)))
DEFAULT_AGEING_US = 60_000_000
# Alembic keeps the migration that runs in its module: one at a time in a process.
_MIGRATING = threading.Lock()


class SchemaState(NamedTuple):
    """A database's revision (None: it holds no queue, or one of unknown origin) and the
    fingerprint of its tables."""

    revision: str | None
    fingerprint: str


def compute_schema_fingerprint(engine: Engine) -> str:
    """SHA-256 (hex) of the tables as they are in the database: `table:column:TYPE` lines."""
    with engine.connect() as connection:
        return _digest(_live_lines(connection))


def expected_fingerprint(engine: Engine) -> str:
    """The same of the tables as this program knows them, in this database's types."""
    return _digest(
        f"{table.name}:{column.name}:{column.type.compile(engine.dialect)}"
        for table in metadata.tables.values()
        for column in table.columns
    )


def _live_lines(connection: Connection) -> list[str]:
    return column_types(connection, metadata.tables)


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def ensure_schema(engine: Engine, create: bool) -> None:
    """Make a new database where `create` allows it, accept the known one.

    Raises SchemaVersionError, before anything is written, for all others. Several programs
    may start on one new database at once.
    """
    with engine.connect() as connection:
        if not _is_new(connection):
            _check(connection, engine)
            return
    if not create:
        raise SchemaVersionError(
            f"The database {engine.url} holds no queue: run `casparian-engine run` or "
            "`casparian scan` first, which make it, or correct [database] url."
        )
    upgrade(engine)


def schema_state(engine: Engine) -> SchemaState:
    """What the database says of itself; nothing is refused."""
    with engine.connect() as connection:
        return SchemaState(_revision(connection), _digest(_live_lines(connection)))


def upgrade_known(engine: Engine) -> tuple[str, str]:
    """`upgrade` for a database that holds a queue: its revision before and after.

    Raises SchemaVersionError for any other.
    """
    with engine.connect() as connection:
        before = _revision(connection)
    _refuse_unknown(before, engine)
    upgrade(engine)
    return str(before), REVISIONS[-1]


def upgrade(engine: Engine) -> None:
    """Bring a new or older database to this program's revision, in one transaction."""
    with engine.execution_options(casparian_write=True).begin() as connection:
        # Another program may have done it while this one waited for the lock.
        revision = None if _is_new(connection) else _revision(connection)
        if revision != REVISIONS[-1]:
            if _is_new(connection):
                _make_latest(connection)
            else:
                _refuse_unknown(revision, engine)
                migrate(connection)
        if connection.execute(select(installation.c.id)).first() is None:
            connection.execute(
                insert(installation).values(
                    id=1,
                    uuid=uuid.uuid4().hex,
                    ageing_us=DEFAULT_AGEING_US,
                    revision=0,
                    created_at_us=wall_clock_us(),
                )
            )
        _check(connection, engine)


def script_of(dialect: str) -> Path:
    """Where the script lies that makes the latest schema at once; not every dialect has one."""
    return MIGRATIONS / f"latest.{dialect}.sql"


def _make_latest(connection: Connection) -> None:
    """The latest schema, stamped, in a database that has none of it. The migrations make the
    same, but loading and running them takes half as long as the rest of an engine's start."""
    script = script_of(connection.dialect.name)
    if not script.exists():
        migrate(connection)
        return
    _, *statements = script.read_text(encoding="utf-8").split("\n\n")
    for statement in statements:
        connection.exec_driver_sql(statement)


def migrate(connection: Connection) -> None:
    """Run the migrations that the database has not seen, in the caller's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    with _MIGRATING:
        command.upgrade(config, "head")


def _is_new(connection: Connection) -> bool:
    return table_names(connection).isdisjoint({VERSION_TABLE, *metadata.tables})


def _revision(connection: Connection) -> str | None:
    if VERSION_TABLE not in table_names(connection):
        return None
    return connection.execute(select(VERSION.c.version_num)).scalar()


def _check(connection: Connection, engine: Engine) -> None:
    revision = _revision(connection)
    _refuse_unknown(revision, engine)
    if revision != REVISIONS[-1]:
        raise SchemaVersionError(
            f"The database {engine.url} has the older schema {revision}, this program needs "
            f"{REVISIONS[-1]}. Make a copy of it, then run `casparian upgrade`."
        )
    if _digest(_live_lines(connection)) != expected_fingerprint(engine):
        raise SchemaVersionError(
            f"The tables of {engine.url} are not those of schema {revision}: someone altered "
            "them. `casparian upgrade` cannot mend this; restore them from a copy."
        )


def refuse_upgraded(connection: Connection) -> None:
    """Raises SchemaVersionError where the schema is not the one that this program has opened."""
    revision = connection.execute(select(func.max(VERSION.c.version_num))).scalar()
    if revision != REVISIONS[-1]:
        raise SchemaVersionError(
            f"The database {connection.engine.url} was upgraded to schema {revision} while this "
            f"program, which knows {REVISIONS[-1]}, was running: it ends without touching it "
            "again. Start the newer release."
        )


def _refuse_unknown(revision: str | None, engine: Engine) -> None:
    if revision not in REVISIONS:
        raise SchemaVersionError(
            f"The database {engine.url} has schema {revision or 'of unknown origin'}, which this "
            f"program does not know (it knows {', '.join(REVISIONS)}): it was made by a newer or "
            "another program. Use that one, or install a newer release and run "
            "`casparian upgrade`."
        )
