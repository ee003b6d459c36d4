"""The operator's documents of files, and the story of one: its versions, their jobs, and advice.

Paths are text by surrogateescape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casparian.adapters.queue.advice import job_advice, purged_advice
from casparian.adapters.queue.common import iso
from casparian.adapters.queue.job_documents import job_story_document
from casparian.adapters.queue.standing import JobStory, newest_purges, purged_by
from casparian.adapters.queue.status_documents import is_alive
from casparian.domain.files import FileLocation, FileVersion, SourceRoot, path_text
from casparian.domain.ports import WorkerNode
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
    from casparian.domain.documents.jobs import OriginalDocument


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
                    {**job_story_document(location, one, jobs), "subscription": []}
                    for one in story.jobs
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
        "job": job_story_document(location, one, others),
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
