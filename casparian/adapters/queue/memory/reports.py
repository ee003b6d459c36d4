"""Reports in memory."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from casparian.adapters.queue.common import JobEvent, slot_order
from casparian.adapters.queue.file_documents import (
    Surroundings,
    VersionStory,
    file_document,
    trace_document,
    why_document,
)
from casparian.adapters.queue.job_documents import job_document
from casparian.adapters.queue.memory.duplicates import MemoryDuplicates
from casparian.adapters.queue.memory.state import Code
from casparian.adapters.queue.standing import JobStory, published_document
from casparian.adapters.queue.status_documents import (
    PRUNINGS_TOLD,
    THROUGHPUT_US,
    plugin_document,
    pruning_document,
    queue_document,
    status_document,
    worker_document,
)
from casparian.domain.files import FileLocation, FileVersion, SourceRoot, path_text
from casparian.domain.jobs import JobKind, JobStatus, ProcessingJob

if TYPE_CHECKING:
    from casparian.domain.documents.files import FileDocument, FileStoryDocument, JobOriginDocument
    from casparian.domain.documents.jobs import JobDocument, PublishedDocument
    from casparian.domain.documents.status import (
        PluginDocument,
        QueueDocument,
        SourceRootDocument,
        StatusDocument,
    )


class MemoryReports(MemoryDuplicates):
    """Read-only views."""

    def status(self) -> StatusDocument:
        with self.lock:
            now, jobs = self.clock(), self.job_by_id.values()
            counts = Counter((str(job.status), job.plugin) for job in jobs)
            lately = [
                job.rows
                for job in jobs
                if job.status is JobStatus.COMPLETED
                and (job.finished_at_us or 0) > now - THROUGHPUT_US
            ]
            nodes = sorted(self.nodes.values(), key=lambda node: (node.hostname, node.pid))
            deleted = sum(location.deleted for location in self.location_by_id.values())
            return status_document(
                counts,
                len(self.location_by_id) - deleted,
                deleted,
                len(self.versions),
                [worker_document(node, now) for node in nodes],
                [self._plugin(name, counts) for name in sorted(self.configs)],
                [self._root(root_id) for root_id in sorted(self.root_paths)],
                (len(lately), sum(lately)),
                [
                    pruning_document(*pruning)
                    for pruning in self.prunings[: -PRUNINGS_TOLD - 1 : -1]
                ],
            )

    def arrived_since(self, since_us: int) -> Iterator[tuple[bytes, int]]:
        with self.lock:
            found = [
                (self.location_by_id[version.location_id].path, version.seen_at_us)
                for version in self.versions.values()
                if version.seen_at_us >= since_us
            ]
        return iter(found)

    def queue(self) -> list[QueueDocument]:
        with self.lock:
            now, groups = self.clock(), defaultdict[tuple[str, JobStatus], list[int]](list)
            for job in self.job_by_id.values():
                groups[job.plugin, job.status].append(job.enqueued_at_us)
        return [
            queue_document(
                plugin,
                str(status),
                len(times),
                min(times) if status is JobStatus.QUEUED else None,
                now,
            )
            for (plugin, status), times in sorted(groups.items())
        ]

    def _plugin(self, name: str, counts: Counter[tuple[str, str]]) -> PluginDocument:
        code = self._live_code(name)
        return plugin_document(
            self.configs[name],
            name in self.active_plugins,
            code.manifest if code else None,
            code.quarantined if code else None,
            self.environment_by_digest.get(code.environment) if code else None,
            {status: n for (status, plugin), n in counts.items() if plugin == name},
        )

    def _live_code(self, plugin: str) -> Code | None:
        live = [code for key, code in self.code.items() if key[0] == plugin and code.live]
        return live[0] if live else None

    def _root(self, root_id: int) -> SourceRootDocument:
        here = [x for x in self.location_by_id.values() if x.source_root_id == root_id]
        lease = self.scout_leases.get(root_id)
        return {
            "path": path_text(self.root_paths[root_id]),
            "active": root_id in self.active_roots,
            "files": sum(not location.deleted for location in here),
            "deleted": sum(location.deleted for location in here),
            "versions": sum(location.versions for location in here),
            "scout": lease.scanner.id if lease and lease.until_us > self.clock() else None,
        }

    def files(self) -> list[FileDocument]:
        with self.lock:
            return [
                file_document(
                    location,
                    self._root_of(location),
                    version := self._current(location),
                    self.tags[version.id] if version else (),
                    self._originals(version),
                )
                for location in self._in_order()
            ]

    def _in_order(self) -> list[FileLocation]:
        found = self.location_by_id.values()
        return sorted(found, key=lambda x: (self.root_paths[x.source_root_id], x.path))

    def _root_of(self, location: FileLocation) -> SourceRoot:
        return SourceRoot(location.source_root_id, self.root_paths[location.source_root_id])

    def _current(self, location: FileLocation) -> FileVersion | None:
        current = location.current_version_id
        return None if current is None else self.versions[current]

    def jobs(
        self,
        status: str | None = None,
        plugin: str | None = None,
        ids: Sequence[int] | None = None,
    ) -> list[JobDocument]:
        with self.lock:
            return self._job_documents(
                job
                for job in self.job_by_id.values()
                if status in (None, str(job.status))
                and plugin in (None, job.plugin)
                and (ids is None or job.id in ids)
            )

    def _job_documents(self, jobs: Iterable[ProcessingJob]) -> list[JobDocument]:
        events = self._events()
        return [
            job_document(
                job,
                self.location_by_id[job.location_id].path,
                events.get(job.id, []),
                self._original(job.id),
            )
            for job in jobs
        ]

    def _events(self) -> dict[int, list[JobEvent]]:
        by_job: dict[int, list[JobEvent]] = {}
        for event in self.events:
            by_job.setdefault(event.job_id, []).append(event)
        return by_job

    def current_failures(self) -> list[JobDocument]:
        with self.lock:
            current = {location.current_version_id for location in self.location_by_id.values()}
            return self._job_documents(
                job
                for job in self.job_by_id.values()
                if job.status in (JobStatus.FAILED, JobStatus.BLOCKED)
                and job.file_version_id in current
                and (job.kind, job.status) != (JobKind.PURGE, JobStatus.FAILED)
            )

    def published(self, matches: Callable[[str], bool]) -> list[PublishedDocument]:
        with self.lock:
            return [
                self._published(location, plugin)
                for location in self._in_order()
                if matches(path_text(location.path))
                for plugin, location_id in sorted(self.published_slots)
                if location_id == location.id and self.published_slots[plugin, location_id]
            ]

    def _published(self, location: FileLocation, plugin: str) -> PublishedDocument:
        key = (plugin, location.id)
        jobs = [
            self._job_story(job)
            for job in self.job_by_id.values()
            if (job.plugin, job.location_id) == key
        ]
        slots = sorted(self.published_slots[key], key=slot_order)
        root = self.root_paths[location.source_root_id]
        return published_document(location.path, root, location.deleted, key, slots, jobs)

    def why(self, path: bytes) -> list[FileStoryDocument]:
        with self.lock:
            around = Surroundings(self.clock(), list(self.nodes.values()), self._quarantined())
            return [
                # A queue in memory takes over no rows.
                why_document(location, self._root_of(location), self._stories(location), around)
                for location in self._in_order()
                if location.path == path
            ]

    def trace(self, job_id: int) -> JobOriginDocument | None:
        with self.lock:
            job = self.job_by_id.get(job_id)
            if job is None:
                return None
            location, version = self.location_by_id[job.location_id], job.file_version_id
            story = VersionStory(self.versions[version], self.tags[version], [self._job_story(job)])
            beside = [
                self._job_story(other)
                for other in self.job_by_id.values()
                if (other.plugin, other.location_id) == (job.plugin, job.location_id)
            ]
            return trace_document(location, self._root_of(location), story, beside)

    def _quarantined(self) -> dict[str, str]:
        return {
            key[0]: code.quarantined
            for key, code in self.code.items()
            if code.live and code.quarantined is not None
        }

    def _stories(self, location: FileLocation) -> list[VersionStory]:
        return [
            VersionStory(
                version,
                self.tags[version.id],
                [
                    self._job_story(job)
                    for job in self.job_by_id.values()
                    if job.file_version_id == version.id
                ],
            )
            for version in self.versions.values()
            if version.location_id == location.id
        ]

    def _job_story(self, job: ProcessingJob) -> JobStory:
        events = [event for event in self.events if event.job_id == job.id]
        environment = self.environment_by_digest.get(job.environment)
        manifest, original = self.manifests.get(job.id), self._original(job.id)
        return JobStory(job, events, manifest, original, environment)
