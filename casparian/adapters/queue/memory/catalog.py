"""FileCatalog in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from casparian.adapters.queue.common import below_range
from casparian.adapters.queue.memory.departures import MemoryDepartures
from casparian.adapters.queue.memory.duplicates import MemoryDuplicates
from casparian.domain.duplicates import Wanted
from casparian.domain.errors import ConfigurationError
from casparian.domain.files import (
    SCANS_UNTIL_DELETED,
    FileHashRegistry,
    FileLocation,
    FileVersion,
    Sighting,
    SourceRoot,
)
from casparian.domain.jobs import JobEventKind
from casparian.domain.ports import RecordOutcome
from casparian.domain.routing import Routed, RoutingTable


class MemoryCatalog(MemoryDepartures, MemoryDuplicates):
    """Locations, versions, content registry, tags."""

    def roots(self) -> Sequence[SourceRoot]:
        with self.lock:
            return [SourceRoot(i, self.root_paths[i]) for i in sorted(self.active_roots)]

    def locations(
        self, root_id: int, below: bytes = b"", begin: bytes = b""
    ) -> Iterator[FileLocation]:
        first, end = below_range(below)
        with self.lock:
            found = sorted(
                (location.path, location)
                for location in self.location_by_id.values()
                if location.source_root_id == root_id
                and location.path >= begin
                and (not below or location.path == below or first <= location.path < end)
            )
        for _, location in found:
            yield location

    def disturbances(self, root_id: int) -> int:
        with self.lock:
            return self.root_disturbances[root_id]

    def _disturb(self, location_id: int) -> None:
        if location_id in self.location_by_id:
            self.root_disturbances[self.location_by_id[location_id].source_root_id] += 1

    def find(self, root_id: int, path: bytes) -> FileLocation | None:
        with self.lock:
            location_id = self.location_by_path.get((root_id, path))
            return None if location_id is None else self.location_by_id[location_id]

    def record(
        self, root_id: int, sightings: Sequence[Sighting], routing: RoutingTable
    ) -> RecordOutcome:
        routed = [routing.route(sighting.path) for sighting in sightings]
        counts = {"new": 0, "changed": 0, "touched": 0, "jobs": 0, "ignored": 0}
        given = {rule.id for route in routed for rule in route.tags.values() if rule.id}
        with self.lock:
            if unknown := given.difference(self.rule_ids.values()):
                raise ConfigurationError(f"The database has no rules {sorted(unknown)}.")
            for sighting, route in zip(sightings, routed, strict=True):
                case, jobs = self._record(root_id, sighting, route)
                counts[case] += 1
                counts["jobs"] += jobs
            disturbed = int(counts["new"] > 0)
            self.root_disturbances[root_id] += disturbed
        if counts["jobs"]:
            self.waiters.wake()
        del counts["ignored"]
        return RecordOutcome(**counts, disturbed=disturbed)

    def _record(self, root_id: int, sighting: Sighting, routed: Routed) -> tuple[str, int]:
        known = self.find(root_id, sighting.path)
        if known is not None and self._has_departed(known, sighting):
            return "ignored", 0
        standing = known is not None and not known.deleted and known.content_hash is not None
        forgotten = known is not None and not known.deleted and known.content_hash is None
        if known is None:
            known = self._new_location(root_id, sighting.path)
        known = known._replace(
            identity=sighting.identity, hashed_at_us=self.clock(), missed_scans=0
        )
        if standing and known.content_hash == sighting.content_hash:
            self.location_by_id[known.id] = known
            return "touched", 0
        version = self._new_version(known, sighting)
        self.location_by_id[known.id] = known._replace(
            content_hash=sighting.content_hash,
            current_version_id=version.id,
            versions=version.ordinal,
            deleted=False,
        )
        self.tags[version.id] = dict(routed.tags)
        alone = [plugin for plugin in routed.plugins if plugin not in routed.skipping]
        for plugin in alone:
            self.enqueue(plugin, version, routed.priority)
        shared = [
            Wanted(
                plugin, sighting.content_hash, version.id, known.id, version.ordinal,
                routed.priority, forgotten,
            )
            for plugin in routed.plugins
            if plugin in routed.skipping
        ]  # fmt: skip
        return ("changed" if standing else "new"), len(alone) + self._enqueue_shared(shared)

    def _new_location(self, root_id: int, path: bytes) -> FileLocation:
        location_id = self.next_id("file_location")
        self.location_by_path[root_id, path] = location_id
        return FileLocation(location_id, root_id, path, None, None, None, 0, 0)

    def _new_version(self, location: FileLocation, sighting: Sighting) -> FileVersion:
        now, size = self.clock(), sighting.identity.size
        self.registry.setdefault(
            sighting.content_hash, FileHashRegistry(sighting.content_hash, size, now)
        )
        version = FileVersion(
            self.next_id("file_version"),
            location.id,
            location.versions + 1,
            sighting.content_hash,
            size,
            now,
            sighting.identity,
        )
        self.versions[version.id] = version
        return version

    def missed(self, location_ids: Sequence[int]) -> int:
        deleted = 0
        with self.lock:
            if location_ids:
                self._disturb(location_ids[0])
            for location_id in location_ids:
                location = self.location_by_id.get(location_id)
                if location is None or location.deleted:
                    continue
                missed = location.missed_scans + 1
                gone = missed >= SCANS_UNTIL_DELETED
                self.location_by_id[location_id] = location._replace(
                    missed_scans=missed, deleted=gone
                )
                deleted += gone
        return deleted

    def seen(self, location_ids: Sequence[int]) -> None:
        with self.lock:
            for location_id in location_ids:
                location = self.location_by_id.get(location_id)
                if location is not None and not location.deleted:
                    self.location_by_id[location_id] = location._replace(missed_scans=0)

    def forget(self, location_id: int, actor: str) -> None:
        with self.lock:
            self._disturb(location_id)
            location = self.location_by_id.get(location_id)
            if location is not None:
                self.location_by_id[location_id] = location._replace(
                    identity=None, content_hash=None
                )
                for job in self.job_by_id.values():
                    if job.file_version_id == location.current_version_id:
                        self.log(job, JobEventKind.FORGOTTEN, actor=actor)
