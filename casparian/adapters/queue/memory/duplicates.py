"""Which job does a content, in memory: one for each plugin that skips duplicates."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from casparian.adapters.queue.common import taken_up, taking_up
from casparian.adapters.queue.memory.state import MemoryState
from casparian.domain.duplicates import Part, Wanted, part_of, still_does
from casparian.domain.files import FileVersion, path_text
from casparian.domain.jobs import JobEventKind, JobKind, JobStatus, ProcessingJob

if TYPE_CHECKING:
    from casparian.domain.documents.jobs import OriginalDocument

_ACTIVE = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PROMOTING, JobStatus.BLOCKED)


class MemoryDuplicates(MemoryState):
    """A part of the queue; every method is called under its lock."""

    def _skipping(self) -> set[str]:
        return {name for name in self.active_plugins if self.configs[name].skips_duplicates}

    def _key(self, job: ProcessingJob) -> tuple[str, str]:
        return job.plugin, self.versions[job.file_version_id].content_hash

    def _wanted(self, job: ProcessingJob) -> Wanted:
        content_hash = self.versions[job.file_version_id].content_hash
        return Wanted(
            job.plugin, content_hash, job.file_version_id, job.location_id, job.ordinal,
            job.priority,
        )  # fmt: skip

    def _enqueue_shared(self, wanted: Sequence[Wanted]) -> int:
        skipped = []
        jobs = 0
        for one in wanted:
            doer = self.content_doers.get(one.key)
            part = part_of(one, None if doer is None else self.job_by_id[doer].location_id)
            if part is Part.SKIPPED:
                skipped.append(one)
                continue
            job_id = self.enqueue(one.plugin, self.versions[one.version_id], one.priority)
            self.content_doers.setdefault(one.key, job_id)
            jobs += 1
        for one in skipped:
            known = self.job_by_id[self.content_doers[one.key]]
            if known.location_id != one.location_id and self._has_rows(one):
                version = self.versions[one.version_id]
                job_id = self.enqueue(one.plugin, version, one.priority)
                withdraw = replace(self.job_by_id[job_id], kind=JobKind.WITHDRAW)
                self.job_by_id[job_id] = withdraw
                jobs += 1
        for one in skipped:
            job_id = self.enqueue(one.plugin, self.versions[one.version_id], one.priority)
            job = self.job_by_id[job_id]
            now = self.clock()
            self.job_by_id[job_id] = replace(job, status=JobStatus.SKIPPED, finished_at_us=now)
            self.content_copies[job_id] = one.key
        return jobs

    def _has_rows(self, wanted: Wanted) -> bool:
        if self.published_slots.get((wanted.plugin, wanted.location_id)):
            return True
        return any(
            (job.plugin, job.location_id) == (wanted.plugin, wanted.location_id)
            and job.file_version_id != wanted.version_id
            and job.kind is JobKind.RUN
            and job.status is not JobStatus.SKIPPED
            for job in self.job_by_id.values()
        )

    # --- ends of doers ---

    def _pass_on_ended(self, job_ids: Iterable[int]) -> None:
        ended = set(job_ids)
        for key, doer_id in sorted(self.content_doers.items()):
            if doer_id in ended:
                self._pass_on(key, str(self.job_by_id[doer_id].status))

    def _pass_on_completed(self, job_ids: Iterable[int]) -> None:
        completed = [self.job_by_id[job_id] for job_id in job_ids]
        newest = {(job.plugin, job.location_id): job for job in completed}
        for key, doer_id in sorted(self.content_doers.items()):
            doer = self.job_by_id[doer_id]
            later = newest.get((doer.plugin, doer.location_id))
            if later is None or later is doer:
                continue
            manifests = (self.manifests.get(doer_id), self.manifests.get(later.id))
            if still_does(doer.status, *manifests):
                continue
            if later.kind is JobKind.RUN and self._key(later) == key:
                self.content_doers[key] = later.id
            elif later.kind is JobKind.PURGE:
                self._pass_on(key, "purged", doer.location_id)
            else:
                self._pass_on(key, "replaced")

    def _pass_on(self, key: tuple[str, str], why: str, not_at: int | None = None) -> None:
        former = self.content_doers.pop(key)
        own = self.job_by_id[former].location_id
        skipped = (job for job in self._candidates(key) if job.location_id != not_at)
        chosen = min(skipped, key=lambda job: (job.location_id != own, job.id), default=None)
        if chosen is not None:
            self.content_doers[key] = self._run_instead(chosen, former, why)

    def _candidates(self, key: tuple[str, str]) -> Iterator[ProcessingJob]:
        for job_id, its_key in sorted(self.content_copies.items()):
            job = self.job_by_id.get(job_id)
            if its_key == key and job is not None:
                location = self.location_by_id[job.location_id]
                if location.current_version_id == job.file_version_id and not location.deleted:
                    yield job

    def _run_instead(self, skipped: ProcessingJob, former: int | None, why: str) -> int:
        version = self.versions[skipped.file_version_id]
        new_id = self.enqueue(skipped.plugin, version, skipped.priority)
        self.move(skipped, JobEventKind.REPLACED, JobStatus.SUPERSEDED)
        del self.content_copies[skipped.id]
        self.log(skipped, JobEventKind.REPLACED, taken_up(new_id))
        said = taking_up(skipped.id, former, why)
        self.log(self.job_by_id[new_id], JobEventKind.ENQUEUED, said)
        self.waiters.wake()
        return new_id

    # --- the operator's, the configuration, reports ---

    def _done_by_other(self, job: ProcessingJob) -> int | None:
        if job.kind is not JobKind.RUN or job.plugin not in self._skipping():
            return None
        doer_id = self.content_doers.setdefault(self._key(job), job.id)
        if self.job_by_id[doer_id].location_id == job.location_id:
            return None
        location = self.location_by_id[job.location_id]
        if location.current_version_id == job.file_version_id and not location.deleted:
            self._enqueue_shared([self._wanted(job)])
        return doer_id

    def _apply_choices(self, before: Collection[str]) -> int:
        skipping = self._skipping()
        count = sum(self._find_doers(plugin) for plugin in sorted(skipping.difference(before)))
        known = {plugin for plugin, _ in self.content_doers}
        known |= {plugin for plugin, _ in self.content_copies.values()}
        for plugin in sorted(known & self.active_plugins - skipping):
            for job in self._copies_of(plugin):
                self._run_instead(job, None, "")
                count += 1
            self.content_doers = {
                key: job_id for key, job_id in self.content_doers.items() if key[0] != plugin
            }
            self.content_copies = {
                job_id: key for job_id, key in self.content_copies.items() if key[0] != plugin
            }
        return count

    def _find_doers(self, plugin: str) -> int:
        for key in [key for key in self.content_doers if key[0] == plugin]:
            del self.content_doers[key]
        runs = [
            job
            for job in self.job_by_id.values()
            if job.plugin == plugin and job.kind is JobKind.RUN
        ]
        for job in [job for job in runs if self._stands(job)]:
            self.content_doers.setdefault(self._key(job), job.id)
        for job in [job for job in runs if job.status in _ACTIVE]:
            self.content_doers.setdefault(self._key(job), job.id)
        count = 0
        for job in self._copies_of(plugin):
            key = self.content_copies[job.id]
            if key not in self.content_doers:
                self.content_doers[key] = self._run_instead(job, None, "")
                count += 1
        return count

    def _copies_of(self, plugin: str) -> list[ProcessingJob]:
        keys = {key for key in self.content_copies.values() if key[0] == plugin}
        found = [job for key in keys for job in self._candidates(key)]
        return sorted(found, key=lambda job: job.id)

    def _stands(self, job: ProcessingJob) -> bool:
        owner = (job.plugin, job.location_id)
        row = self.slot_rows.get(owner)
        if job.status is not JobStatus.COMPLETED or row is None or row.generation is None:
            return False
        newest = row.generation.enqueue == job.id
        return any(
            newest if p.slot.version_id == 0 else p.slot.version_id == job.file_version_id
            for p in self.published_slots.get(owner, ())
        )

    def _originals(self, version: FileVersion | None) -> dict[str, OriginalDocument]:
        skipped = [self.job_by_id[job_id] for job_id in self.content_copies]
        return {
            job.plugin: original
            for job in skipped
            if version is not None and job.file_version_id == version.id
            if (original := self._original(job.id)) is not None
        }

    def _original(self, job_id: int) -> OriginalDocument | None:
        key = self.content_copies.get(job_id)
        doer_id = None if key is None else self.content_doers.get(key)
        if doer_id is None:
            return None
        location = self.location_by_id[self.job_by_id[doer_id].location_id]
        return {
            "job_id": doer_id,
            "path": path_text(location.path),
            "source_root": path_text(self.root_paths[location.source_root_id]),
        }
