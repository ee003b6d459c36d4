"""The ports of the queue over one SQL database."""

from __future__ import annotations

from functools import partial

from casparian.adapters.queue.adoption import SqlAdoption
from casparian.adapters.queue.audit import SqlAudit
from casparian.adapters.queue.backfills import SqlBackfills
from casparian.adapters.queue.catalog import SqlCatalog
from casparian.adapters.queue.common import QueueStores
from casparian.adapters.queue.database import Database
from casparian.adapters.queue.jobs import SqlJobs
from casparian.adapters.queue.ledger import SqlLedger
from casparian.adapters.queue.plugins import SqlPlugins
from casparian.adapters.queue.reports import SqlReports
from casparian.adapters.queue.scout_leases import SqlScoutLeases
from casparian.adapters.queue.workers import obstacle


def stores_of(database: Database) -> QueueStores:
    return QueueStores(
        SqlCatalog(database),
        SqlJobs(database),
        SqlLedger(database),
        SqlPlugins(database),
        SqlReports(database),
        database.close,
        adoption=SqlAdoption(database),
        scout_leases=SqlScoutLeases(database),
        audit=SqlAudit(database),
        backfills=SqlBackfills(database),
        obstacle=partial(obstacle, database),
    )
