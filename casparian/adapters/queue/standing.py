"""Whose rows stand in a slot, and whose were purged: told by the manifests of all jobs of a file.

Every database tells it the same way, since the jobs are domain values here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casparian.adapters.queue.common import JobEvent, iso_or_none
from casparian.domain.files import path_text
from casparian.domain.jobs import JobEventKind, JobKind, JobStatus, ProcessingJob
from casparian.domain.publish import (
    Generation,
    Manifest,
    ManifestItem,
    PublishedSlot,
    SlotKey,
    Target,
)
from casparian.domain.requirements import Environment

if TYPE_CHECKING:
    from casparian.domain.documents.jobs import (
        OriginalDocument,
        PublishedDocument,
        PublishedOutputDocument,
        PurgedByDocument,
    )

Place = tuple[Target, SlotKey]


@dataclass(frozen=True, slots=True)
class JobStory:
    """A job with all that is known of it."""

    job: ProcessingJob
    events: Sequence[JobEvent]
    manifest: Manifest | None
    original: OriginalDocument | None = None
    environment: Environment | None = None

    @property
    def generation(self) -> Generation:
        return Generation(self.job.ordinal, self.job.id)

    def done(self) -> Iterator[tuple[Place, ManifestItem]]:
        """What it did to which slot, once it is COMPLETED."""
        if self.manifest is not None and self.job.status is JobStatus.COMPLETED:
            for item in self.manifest.items:
                yield (item.target, item.slot), item


def purged_of(mine: JobStory, others: Iterable[JobStory]) -> dict[Place, PurgedByDocument]:
    """Of the rows that a job published, those that stood until they were purged: when, by whom
    and by which job. `others`: the jobs of its plugin and file, or more."""
    ends: dict[Place, JobStory] = {}
    wrote = {place for place, item in mine.done() if item.staged}
    newer = (o for o in others if o.job.plugin == mine.job.plugin)
    for other in sorted(newer, key=lambda o: o.generation):
        if other.generation > mine.generation:
            for place, _ in other.done():
                if place in wrote:
                    ends.setdefault(place, other)
    return {
        place: {
            "job_id": end.job.id,
            "at": iso_or_none(end.job.finished_at_us),
            "actor": purged_by(end),
        }
        for place, end in ends.items()
        if end.job.kind is JobKind.PURGE
    }


def purged_by(purge: JobStory) -> str | None:
    """Who asked for a purge; None where its history was pruned."""
    asked = (e.actor for e in purge.events if e.event is JobEventKind.PURGED)
    return next(asked, None)


def newest_purges(jobs: Iterable[JobStory]) -> dict[str, JobStory]:
    """By plugin, the purge of a version's jobs that removed rows last, where nothing was queued
    for the version after it."""
    newest: dict[str, JobStory] = {}
    for story in jobs:
        if story.job.kind is JobKind.RUN:
            newest.pop(story.job.plugin, None)
        elif story.job.kind is JobKind.PURGE and story.job.status is JobStatus.COMPLETED:
            newest[story.job.plugin] = story
    return newest


def published_document(
    path: bytes,
    root: bytes,
    deleted: bool,
    owner: tuple[str, int],
    slots: Sequence[PublishedSlot],
    jobs: Iterable[JobStory],
) -> PublishedDocument:
    """What stands of one plugin and file. `rows` and `job_id` are null where no job of this
    queue has completed the slot."""
    newest: dict[Place, tuple[JobStory, ManifestItem]] = {}
    for story in sorted(jobs, key=lambda s: s.generation):
        newest |= {place: (story, item) for place, item in story.done()}

    def output(published: PublishedSlot) -> PublishedOutputDocument:
        found = newest.get((published.target, published.slot))
        return {
            "topic": published.slot.topic,
            "target": str(published.target),
            "mode": str(published.mode),
            "slot": published.slot.name,
            "rows": found[1].rows if found else None,
            "job_id": found[0].job.id if found else None,
        }

    plugin, location_id = owner
    return {
        "path": path_text(path),
        "source_root": path_text(root),
        "deleted": deleted,
        "plugin": plugin,
        "location_id": location_id,
        "outputs": [output(published) for published in slots],
    }
