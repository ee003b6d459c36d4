"""The ports: what the engine needs of the world, each as a list of numbered promises.

The contract suites in `casparian.testing` hold every adapter to these numbers. Unless a
promise says otherwise: methods may be called from any thread; a driver's exceptions are
translated at the adapter's edge, an unreachable database to UnavailableError.
"""

from __future__ import annotations

from casparian.domain.peers import Buffer, Connection, Incoming, PeerBusy, PeerGone, Transport
from casparian.domain.ports.catalog import FileCatalog, RecordOutcome
from casparian.domain.ports.clock import Clock
from casparian.domain.ports.files import (
    FileChangedError,
    FileEntry,
    FileListing,
    FileRun,
    FileSource,
    WalkError,
)
from casparian.domain.ports.ledger import KnownPlaces, Promoting, PublishLedger
from casparian.domain.ports.plugin_host import PluginHost, SidecarExit, SidecarSpec, not_started
from casparian.domain.ports.plugin_store import Applied, PluginStore
from casparian.domain.ports.queue import JobQueue, Lost, Pruned, PurgesBegun, Unfinished, WorkerNode
from casparian.domain.ports.reports import Reports
from casparian.domain.ports.sinks import (
    Bundler,
    LastingSink,
    PromoteItem,
    Sink,
    SinkFactory,
    StagedRows,
    StageRequest,
    Staging,
    bundler_of,
)

__all__ = [
    "Applied",
    "Buffer",
    "Bundler",
    "Clock",
    "Connection",
    "FileCatalog",
    "FileChangedError",
    "FileEntry",
    "FileListing",
    "FileRun",
    "FileSource",
    "Incoming",
    "JobQueue",
    "KnownPlaces",
    "LastingSink",
    "Lost",
    "PeerBusy",
    "PeerGone",
    "PluginHost",
    "PluginStore",
    "PromoteItem",
    "Promoting",
    "Pruned",
    "PublishLedger",
    "PurgesBegun",
    "RecordOutcome",
    "Reports",
    "SidecarExit",
    "SidecarSpec",
    "Sink",
    "SinkFactory",
    "StageRequest",
    "StagedRows",
    "Staging",
    "Transport",
    "Unfinished",
    "WalkError",
    "WorkerNode",
    "bundler_of",
    "not_started",
]
