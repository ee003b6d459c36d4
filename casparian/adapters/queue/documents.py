"""The operator's documents, made of domain values: every database says the same in the same words.

Times are ISO 8601, UTC; paths are text by surrogateescape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from casparian.adapters.queue.advice import job_advice, purged_advice
from casparian.adapters.queue.common import JobEvent, iso, iso_or_none
from casparian.adapters.queue.standing import JobStory, newest_purges, purged_by, purged_of
from casparian.domain.files import FileLocation, FileVersion, SourceRoot, path_text
from casparian.domain.jobs import ProcessingJob
from casparian.domain.plugins import PluginConfig, PluginManifest
from casparian.domain.ports import Pruned, WorkerNode
from casparian.domain.requirements import Environment
from casparian.domain.routing import RoutingRule

if TYPE_CHECKING:
    from casparian.domain.documents.files import (
        AdoptedRowsDocument,
        FileDocument,
        FileStoryDocument,
        JobOriginDocument,
        RuleDocument,
        VersionHeadDocument,
    )
    from casparian.domain.documents.jobs import (
        EnvironmentDocument,
        ErrorDocument,
        EventDocument,
        JobDocument,
        JobStoryDocument,
        OriginalDocument,
        OutputDocument,
    )
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

# --- jobs -------------------------------------------------------------------------------


def event_document(event: JobEvent) -> EventDocument:
    return {
        "attempt": event.attempt,
        "at": iso(event.at_us),
        "event": str(event.event),
        "worker": event.worker,
        "class": event.error_class,
        "message": event.message,
        "detail": event.detail,
        "actor": event.actor,
    }


def job_document(
    job: ProcessingJob,
    path: bytes,
    events: Sequence[JobEvent],
    original: OriginalDocument | None = None,
) -> JobDocument:
    """One job of `casparian jobs`. A job that is blocked has no error class but its status."""
    error: ErrorDocument | None = None
    if job.error_message is not None:
        error = {
            "class": str(job.error_class or job.status),
            "message": job.error_message,
            "attempts": [event_document(event) for event in events],
        }
    return {
        "id": job.id,
        "kind": str(job.kind),
        "status": str(job.status),
        "plugin": job.plugin,
        "plugin_hash": job.plugin_hash,
        "sandbox": job.sandbox,
        "environment_digest": job.environment,
        "path": path_text(path),
        "file_version_id": job.file_version_id,
        "duplicate_of": original,
        "attempt": job.attempt,
        "priority": job.priority,
        "rows": job.rows,
        "rejects": job.rejects,
        "rows_read": job.rows + job.rejects,
        "error": error,
        "worker": job.worker,
        "enqueued_at": iso(job.enqueued_at_us),
        "not_before": iso(job.not_before_us),
        "started_at": iso_or_none(job.started_at_us),
        "finished_at": iso_or_none(job.finished_at_us),
    }


def outputs_of(story: JobStory, others: Iterable[JobStory]) -> list[OutputDocument]:
    """Where a decided job's rows are (`staged`), and which slots it empties."""
    items = story.manifest.items if story.manifest else ()
    purged = purged_of(story, others)
    return [
        {
            "topic": item.slot.topic,
            "target": str(item.target),
            "mode": str(item.mode),
            "slot": item.slot.name,
            "bundle": item.bundle or None,
            "emptied": not item.staged,
            "rows": item.rows,
            "digest": item.digest,
            "files": list(item.files),
            "purged": purged.get((item.target, item.slot)),
        }
        for item in items
    ]


# --- files ------------------------------------------------------------------------------


def file_document(
    location: FileLocation,
    root: SourceRoot,
    version: FileVersion | None,
    tags: Iterable[str],
    originals: Mapping[str, OriginalDocument],
) -> FileDocument:
    """`originals`: who does its content, by plugin that skips it."""
    return {
        "path": path_text(location.path),
        "source_root": path_text(root.path),
        "content_hash": version.content_hash if version else None,
        "size": version.size if version else None,
        "version": version.ordinal if version else None,
        "versions": location.versions,
        "tags": sorted(tags),
        "duplicate_of": [{**originals[plugin], "plugin": plugin} for plugin in sorted(originals)],
        "deleted": location.deleted,
        "file_version_id": version.id if version else None,
        "seen_at": iso(version.seen_at_us) if version else None,
    }


@dataclass(frozen=True, slots=True)
class VersionStory:
    """A version with the rule that gave each tag (None where it is not known) and its jobs."""

    version: FileVersion
    tags: Mapping[str, RoutingRule | None]
    jobs: Sequence[JobStory]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What advice needs to know beyond the file."""

    now_us: int
    workers: Sequence[WorkerNode]
    quarantined: Mapping[str, str]
    """Reason by plugin whose live code is under quarantine."""


def why_document(
    location: FileLocation,
    root: SourceRoot,
    stories: Sequence[VersionStory],
    around: Surroundings,
    adopted: Sequence[AdoptedRowsDocument] = (),
) -> FileStoryDocument:
    """The story of one file, its versions in the order they were seen. What a queue does not know
    is left empty: subscriptions, departures, files of the same path."""
    jobs = [job for story in stories for job in story.jobs]
    return {
        "path": path_text(location.path),
        "source_root": path_text(root.path),
        "deleted": location.deleted,
        "versions": [
            {
                **_version_head(location, story),
                "jobs": [
                    {**_job_story(location, one, jobs), "subscription": []} for one in story.jobs
                ],
                "departure": None,
            }
            for story in stories
        ],
        "advice": advice(location, stories, around),
        "adopted": list(adopted),
        "others": [],
    }


def trace_document(
    location: FileLocation,
    root: SourceRoot,
    story: VersionStory,
    others: Sequence[JobStory],
    adopted: Sequence[AdoptedRowsDocument] = (),
) -> JobOriginDocument:
    """One job, the only one of `story`, back to the bytes it read. `others`: the jobs of its
    plugin and file."""
    (one,) = story.jobs
    return {
        "job": _job_story(location, one, others),
        "version": _version_head(location, story),
        "path": path_text(location.path),
        "source_root": path_text(root.path),
        "deleted": location.deleted,
        "adopted": list(adopted),
    }


def adopted_document(adopted: Sequence[AdoptedRowsDocument]) -> JobOriginDocument:
    """Of a number that only rows of another installation have."""
    return {
        "job": None,
        "version": None,
        "path": None,
        "source_root": None,
        "deleted": None,
        "adopted": list(adopted),
    }


def _job_story(
    location: FileLocation, one: JobStory, others: Iterable[JobStory]
) -> JobStoryDocument:
    return {
        **job_document(one.job, location.path, one.events, one.original),
        "events": [event_document(event) for event in one.events],
        "outputs": outputs_of(one, others),
        "environment": environment_document(one.environment),
    }


def environment_document(environment: Environment | None) -> EnvironmentDocument | None:
    if environment is None:
        return None
    return {
        "digest": environment.digest,
        "directory": environment.key,
        "python": environment.python,
        "packages": list(environment.packages),
    }


def _version_head(location: FileLocation, story: VersionStory) -> VersionHeadDocument:
    version = story.version
    rules: list[RuleDocument] = [
        {
            "tag": tag,
            "pattern": rule.pattern if rule else None,
            "priority": rule.priority if rule else None,
        }
        for tag, rule in sorted(story.tags.items())
    ]
    return {
        "file_version_id": version.id,
        "ordinal": version.ordinal,
        "current": version.id == location.current_version_id,
        "content_hash": version.content_hash,
        "size": version.size,
        "seen_at": iso(version.seen_at_us),
        "tags": sorted(story.tags),
        "rules": rules,
    }


def advice(
    location: FileLocation, stories: Sequence[VersionStory], around: Surroundings
) -> list[str]:
    """Sentences that a person can act on, about the current version."""
    said = []
    path = path_text(location.path)
    workers = (node for node in around.workers if "worker" in node.roles)
    alive = any(is_alive(node, around.now_us) for node in workers)
    current = [s for s in stories if s.version.id == location.current_version_id]
    if location.deleted:
        purged = any(newest_purges(story.jobs) for story in current)
        rows = "" if purged else "; its rows stay published"
        said.append(
            f"The file is gone from its directory{rows}. A file of the same name is taken up as "
            "a new version."
        )
    for story in current:
        if not story.tags:
            said.append(
                f"No rule gives {path!r} a tag: add a [[rule]] whose pattern matches it "
                "to the configuration, and start the engine again."
            )
        elif not story.jobs:
            tags = ", ".join(sorted(story.tags))
            said.append(
                f"No plugin wants its tags ({tags}): add one of them to the `tags` of a "
                "[plugin.NAME] table, and start the engine again."
            )
        purges = newest_purges(story.jobs)
        for one in story.jobs:
            purge = purges.get(one.job.plugin)
            if purge is None or one.job.id > purge.job.id:
                said += job_advice(one.job, path, around.now_us, alive, around.quarantined)
        said += [
            purged_advice(p.job, path, purged_by(p), location.deleted) for p in purges.values()
        ]
    return said


# --- status -----------------------------------------------------------------------------


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
