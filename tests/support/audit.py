"""The audit of `casparian check --deep`, for tests: what it finds, as lines."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from casparian import Settings
from casparian.adapters.queue import QueueStores, open_sqlite, open_url, wall_clock_us
from casparian.adapters.sink.parquet import ParquetSinkFactory
from casparian.adapters.sink.sqlite import SqliteSinkFactory
from casparian.app.audit import Audit, audit
from casparian.app.registry import Registry
from casparian.app.targets import Targets


def audited(stores: QueueStores, targets: Targets | None = None) -> Audit:
    """All sinks that the queue's plugins publish to, and those they published to before."""
    if targets is None:
        targets = Targets({"parquet": ParquetSinkFactory(), "sqlite": SqliteSinkFactory()})
    found = audit(stores, targets, targets.configured(stores.store.live()))
    assert found.unread == {}
    return found


def violations(stores: QueueStores, targets: Targets | None = None) -> list[str]:
    return [f"{v.invariant} {v.where}: {v.what}" for v in audited(stores, targets).violations]


def violations_of(database: Path) -> list[str]:
    """Of a queue in SQLite, whose sinks are on no server."""
    with closing(open_sqlite(str(database), wall_clock_us, create=False)) as stores:
        return violations(stores)


def violations_by(settings: Settings) -> list[str]:
    """Of the queue and the sinks that these name, wherever they are."""
    factories = Registry.default().sink_factories(settings)
    with closing(open_url(settings.database_url, create=False)) as stores:
        return violations(stores, Targets(factories))
