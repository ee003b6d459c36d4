"""Adapters of FileCatalog, JobQueue, PublishLedger, PluginStore and Reports.

One database serves all five. Opening one is the only thing done here, and nothing is
imported before it is asked for.
"""

from __future__ import annotations

from casparian.adapters.queue.common import QueueStores, wall_clock_us
from casparian.domain.errors import ConfigurationError
from casparian.domain.ports import Clock

__all__ = ["QueueStores", "open_memory", "open_sqlite", "open_url", "wall_clock_us"]

SCHEMES = ("sqlite",)


def open_memory(clock: Clock = wall_clock_us) -> QueueStores:
    """A queue that lives and dies with this process."""
    from casparian.adapters.queue.memory import MemoryQueue

    queue = MemoryQueue(clock)
    return QueueStores(queue, queue, queue, queue, queue, lambda: None)


def open_sqlite(path: str, clock: Clock = wall_clock_us, create: bool = True) -> QueueStores:
    """The queue in the SQLite file at `path`, made where `create` allows it.

    Raises SchemaVersionError for a database that this program does not know, and
    UnavailableError where there is none or it cannot be opened.
    """
    from casparian.adapters.queue.sqlite import open_stores

    return open_stores(path, clock, create)


def open_url(url: str, clock: Clock = wall_clock_us, create: bool = True) -> QueueStores:
    """The queue at a `[database] url`; the scheme picks the adapter."""
    scheme, separator, rest = url.partition("://")
    if scheme not in SCHEMES or not separator:
        raise ConfigurationError(
            f"There is no queue adapter for the database url {url!r}: "
            f"it must begin with {', '.join(f'{name}://' for name in SCHEMES)}."
        )
    if not rest.startswith("/") or rest == "/":
        raise ConfigurationError(
            f"The database url {url!r} names no file: write sqlite:///relative/path "
            "or sqlite:////absolute/path."
        )
    return open_sqlite(rest[1:], clock, create)
