"""Adapters of FileCatalog, JobQueue, PublishLedger, PluginStore and Reports.

One database serves all five. Opening one is the only thing done here, and nothing is
imported before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from casparian.adapters.queue.common import QueueStores, wall_clock_us
from casparian.domain.errors import ConfigurationError
from casparian.domain.ports import Clock

if TYPE_CHECKING:
    from casparian.adapters.queue.schema import SchemaState

__all__ = [
    "QueueStores",
    "open_memory",
    "open_sqlite",
    "open_url",
    "upgrade_url",
    "url_schema",
    "wall_clock_us",
]

SCHEMES = ("sqlite", "postgresql", "mssql")
"""What a `[database] url` begins with, less the driver that may be named after a plus."""
DRIVERS = {"postgresql": "psycopg", "mssql": "pyodbc"}


def open_memory(clock: Clock = wall_clock_us) -> QueueStores:
    """A queue that lives and dies with this process."""
    from casparian.adapters.queue.memory import MemoryQueue, MemoryScoutLeases
    from casparian.adapters.queue.memory.audit import MemoryAudit

    queue = MemoryQueue(clock)
    return QueueStores(
        queue,
        queue,
        queue,
        queue,
        queue,
        lambda: None,
        scout_leases=MemoryScoutLeases(queue),
        audit=MemoryAudit(queue),
        backfills=queue,
    )


def open_sqlite(path: str, clock: Clock = wall_clock_us, create: bool = True) -> QueueStores:
    """The queue in the SQLite file at `path`, made where `create` allows it.

    Raises SchemaVersionError for a database that this program does not know, and
    UnavailableError where there is none or it cannot be opened.
    """
    from casparian.adapters.queue.sqlite import open_stores

    return open_stores(path, clock, create)


def open_url(url: str, clock: Clock = wall_clock_us, create: bool = True) -> QueueStores:
    """The queue at a `[database] url`; the scheme picks the adapter.

    A server that several hosts use has the time of the server, unless a `clock` is given.
    """
    if (server := _server(url)) is not None:
        return server.open_stores(url, None if clock is wall_clock_us else clock, create)
    return open_sqlite(_sqlite_file(url), clock, create)


def url_schema(url: str) -> SchemaState:
    """What schema the database at a url has, known to this program or not."""
    if (server := _server(url)) is not None:
        return server.database_schema(url)
    from casparian.adapters.queue.sqlite import file_schema

    return file_schema(_sqlite_file(url))


def upgrade_url(url: str) -> tuple[str, str]:
    """Migrate the database at a url; its revision before and after.

    Raises SchemaVersionError, before anything is written, for one that holds no queue or a
    newer one, and UnavailableError where there is none.
    """
    if (server := _server(url)) is not None:
        return server.upgrade_database(url)
    from casparian.adapters.queue.sqlite import upgrade_file

    return upgrade_file(_sqlite_file(url))


def _server(url: str) -> ModuleType | None:
    """The adapter of a server's url; None for a file's."""
    scheme = _scheme(url)
    if scheme == "sqlite":
        return None
    try:
        return import_module(f"casparian.adapters.queue.{scheme}")
    except ImportError as error:
        # pyodbc brings no driver manager.
        library = " and install Debian's package unixodbc" if "libodbc" in str(error) else ""
        raise ConfigurationError(
            f"A {scheme}:// database needs the package {DRIVERS[scheme]} ({error}): "
            f"run `pip install casparian-flow[{scheme}]`{library}."
        ) from error


def _scheme(url: str) -> str:
    """What the url begins with, without a driver. Raises ConfigurationError for one that no
    adapter knows."""
    scheme, separator, _ = url.partition("://")
    name = scheme.partition("+")[0]
    if name not in SCHEMES or not separator:
        raise ConfigurationError(
            # The rest of it may hold a password.
            f"There is no queue adapter for a database url that begins with {scheme!r}: "
            f"it must begin with {', '.join(f'{name}://' for name in SCHEMES)}."
        )
    return name


def _sqlite_file(url: str) -> str:
    rest = url.partition("://")[2]
    if not rest.startswith("/") or rest == "/":
        raise ConfigurationError(
            f"The database url {url!r} names no file: write sqlite:///relative/path "
            "or sqlite:////absolute/path."
        )
    return rest[1:]
