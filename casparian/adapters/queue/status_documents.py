"""The operator's documents of the engine: its processes, its plugins, and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from casparian.adapters.queue.common import iso
from casparian.adapters.queue.job_documents import environment_document
from casparian.domain.plugins import PluginConfig, PluginManifest
from casparian.domain.ports import Pruned, WorkerNode
from casparian.domain.requirements import Environment

if TYPE_CHECKING:
    from casparian.domain.documents.status import (
        LoadDocument,
        PluginDocument,
        PruningDocument,
        QueueDocument,
        SourceRootDocument,
        StatusDocument,
        WorkerDocument,
    )


ALIVE_US = 30_000_000
"""A worker whose last heartbeat is older is not taken to be alive."""
THROUGHPUT_US = 60_000_000
PRUNINGS_TOLD = 10


def is_alive(node: WorkerNode, now_us: int) -> bool:
    return not node.stopped and node.heartbeat_at_us > now_us - ALIVE_US


def worker_document(node: WorkerNode, now_us: int) -> WorkerDocument:
    return {
        "id": node.id,
        "hostname": node.hostname,
        "pid": node.pid,
        "host_key": node.host_key,
        "pid_started": node.pid_started,
        "roles": list(node.roles),
        "endpoint": node.endpoint,
        "versions": dict(node.versions),
        "git_hash": node.git_hash,
        "user": node.user,
        "started_at": iso(node.started_at_us),
        "heartbeat_at": iso(node.heartbeat_at_us),
        "load": cast("LoadDocument", dict(node.load)),
        "stopped": node.stopped,
        "alive": is_alive(node, now_us),
    }


def plugin_document(
    config: PluginConfig,
    active: bool,
    code: PluginManifest | None,
    quarantined: str | None,
    environment: Environment | None,
    jobs: Mapping[str, int],
) -> PluginDocument:
    return {
        "name": config.plugin,
        "active": active,
        "version": code.version if code else None,
        "content_hash": code.content_hash if code else None,
        "origin": code.origin if code else None,
        "tags": sorted(config.tags),
        "topics": [{"topic": t.topic, "sink": t.sink, "mode": str(t.mode)} for t in config.topics],
        "quarantined": quarantined,
        "environment": environment_document(environment),
        "jobs": dict(sorted(jobs.items())),
    }


def queue_document(
    plugin: str, status: str, jobs: int, oldest_us: int | None, now_us: int
) -> QueueDocument:
    """`oldest_us`: when the oldest was enqueued, None where that is of no interest."""
    age_s = None if oldest_us is None else max(0, now_us - oldest_us) / 1_000_000
    return {"plugin": plugin, "status": status, "jobs": jobs, "age_s": age_s}


def status_document(
    job_counts: Mapping[tuple[str, str], int],
    files: int,
    deleted: int,
    versions: int,
    workers: Sequence[WorkerDocument],
    plugins: Sequence[PluginDocument],
    roots: Sequence[SourceRootDocument],
    lately: tuple[int, int],
    prunings: Sequence[PruningDocument],
) -> StatusDocument:
    """`job_counts` by (status, plugin); `lately`: jobs and rows completed in a minute."""
    by_status = Counter({"COMPLETED": 0, "FAILED": 0})
    for (status, _), count in job_counts.items():
        by_status[status] += count
    seconds = THROUGHPUT_US // 1_000_000
    return {
        "jobs": dict(sorted(by_status.items())),
        "files": files,
        "deleted": deleted,
        "versions": versions,
        "workers": list(workers),
        "plugins": list(plugins),
        "source_roots": list(roots),
        "throughput": {"window_s": seconds, "jobs": lately[0], "rows": lately[1]},
        "prunings": list(prunings),
    }


def pruning_document(at_us: int, actor: str, before_us: int, pruned: Pruned) -> PruningDocument:
    return {
        "at": iso(at_us),
        "actor": actor,
        "before": iso(before_us),
        "jobs": pruned.jobs,
        "events": pruned.events,
    }
