"""The queue in memory: full semantics under one lock. It is the reference for the databases."""

from __future__ import annotations

from casparian.adapters.queue.memory.backfills import MemoryBackfills
from casparian.adapters.queue.memory.catalog import MemoryCatalog
from casparian.adapters.queue.memory.jobs import MemoryJobs
from casparian.adapters.queue.memory.ledger import MemoryLedger
from casparian.adapters.queue.memory.plugins import MemoryPlugins
from casparian.adapters.queue.memory.reports import MemoryReports
from casparian.adapters.queue.memory.scout_leases import MemoryScoutLeases

__all__ = ["MemoryQueue", "MemoryScoutLeases"]


class MemoryQueue(
    MemoryCatalog, MemoryJobs, MemoryLedger, MemoryPlugins, MemoryReports, MemoryBackfills
):
    """All five ports as one object, and backfills."""
