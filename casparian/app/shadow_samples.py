"""Which file versions new code is tried on, and what the queue says was published of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from casparian.adapters.files.archive import VersionArchive
from casparian.adapters.queue import QueueStores
from casparian.domain.documents.jobs import JobDocument
from casparian.domain.files import FileLocation, Sighting, SourceRoot, path_bytes
from casparian.domain.publish import Marker
from casparian.domain.statuses import JobKind, JobStatus

_UNWANTED = frozenset({JobStatus.SKIPPED, JobStatus.CANCELLED, JobStatus.SUPERSEDED})
"""Of jobs that publish nothing, and rightly."""
_HALFWAY = frozenset({JobStatus.PROMOTING, JobStatus.BLOCKED})


class Sample(NamedTuple):
    """A version whose file is as it was. `job` is the last that has published it, else the last
    that was to; `job_ids` are all of the version; `purge` has removed its rows since."""

    root: bytes
    sighting: Sighting
    location_id: int
    version_id: int
    job: JobDocument
    job_ids: frozenset[int]
    purge: JobDocument | None = None

    @property
    def place(self) -> tuple[bytes, bytes]:
        return self.root, self.sighting.path

    @property
    def published(self) -> bool:
        """False where none of its rows can stand."""
        return self.job["status"] == JobStatus.COMPLETED and self.purge is None

    @property
    def halfway(self) -> bool:
        """True where a job is decided, and perhaps not published in every target."""
        return self.job["status"] in _HALFWAY

    def is_of(self, marker: Marker) -> bool:
        """True where the marker is that of rows of this version's content. Old markers do not say
        which content that was."""
        if marker.content_hash:
            return marker.content_hash == self.sighting.content_hash
        return not marker.adopted and marker.job_id in self.job_ids

    def why_unpublished(self) -> str:
        job = self.job
        if self.purge is not None:
            return f"its rows were removed by job {self.purge['id']} ({self.purge['kind']})"
        if job["status"] == JobStatus.COMPLETED:
            return f"none of the {job['rows_read']:,} rows of job {job['id']} stands any more"
        error = job["error"]
        why = f": {error['message']}" if error else ""
        return f"job {job['id']} is {job['status']}{why}"


class Samples(NamedTuple):
    """The version that was seen last first. `passed_over`: as many files, seen later than the last
    of these, are not there any more."""

    chosen: Sequence[Sample]
    passed_over: int


def last_versions(
    stores: QueueStores, plugin: str, limit: int, archive: VersionArchive | None
) -> Samples:
    """The last file versions, at most `limit`, that the plugin is to publish. Of files that are
    gone the bytes may be in the archive."""
    chosen: list[Sample] = []
    passed_over = 0
    roots = stores.catalog.roots()
    for version_id, jobs in _by_version(stores, plugin):
        if len(chosen) == limit:
            break
        runs = [job for job in jobs if job["kind"] == JobKind.RUN]
        done = [job for job in runs if job["status"] == JobStatus.COMPLETED]
        if not runs or (not done and runs[-1]["status"] in _UNWANTED):
            continue
        job = (done or runs)[-1]
        found = _location(stores, roots, path_bytes(job["path"]), version_id)
        if found is None:
            continue
        root, location = found
        content_hash = location.content_hash or ""
        kept = archive is not None and archive.has(content_hash)
        if location.identity is None or (location.deleted and not kept):
            passed_over += 1
            continue
        sighting = Sighting(location.path, location.identity, content_hash)
        ids = frozenset(one["id"] for one in jobs)
        purge = next((one for one in reversed(jobs) if _purged(one, job)), None)
        chosen.append(Sample(root, sighting, location.id, version_id, job, ids, purge))
    return Samples(chosen, passed_over)


def _by_version(stores: QueueStores, plugin: str) -> Iterator[tuple[int, list[JobDocument]]]:
    """The jobs of each version in their order, the newest version first."""
    found: dict[int, list[JobDocument]] = {}
    for job in stores.reports.jobs(plugin=plugin):
        found.setdefault(job["file_version_id"], []).append(job)
    return iter(sorted(found.items(), reverse=True))


def _purged(one: JobDocument, job: JobDocument) -> bool:
    removes = one["kind"] != JobKind.RUN and one["status"] == JobStatus.COMPLETED
    return removes and one["id"] > job["id"]


def _location(
    stores: QueueStores, roots: Sequence[SourceRoot], path: bytes, version_id: int
) -> tuple[bytes, FileLocation] | None:
    """The root and location whose newest version this is; None where there is a newer one."""
    for root in roots:
        known = stores.catalog.find(root.id, path)
        if known is not None and known.current_version_id == version_id:
            return root.path, known
    return None
