"""Files that the engine takes away, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from casparian.adapters.queue.memory.state import MemoryState
from casparian.domain.departures import Action, Departure, Outcome, Standing, may_leave
from casparian.domain.files import FileLocation, Sighting
from casparian.domain.jobs import GIVEN_UP, JobKind, JobStatus
from casparian.domain.unpacking import INSIDE, is_archive


class MemoryDepartures(MemoryState):
    """A part of the catalog."""

    def plan_departures(
        self,
        root_id: int,
        action: Action,
        place_of: Callable[[bytes, int], bytes],
        not_since_us: int,
        limit: int,
        unpacks: bool = False,
    ) -> Sequence[Departure]:
        with self.lock:
            here = [
                location
                for _, location in sorted(self.location_by_id.items())
                if location.source_root_id == root_id
                and not location.deleted
                and location.current_version_id is not None
            ]
            paths = may_leave((self._standing(x, not_since_us) for x in here), unpacks)
            leaving = [location for location in here if location.path in paths][:limit]
            planned = [self._planned(location, action, place_of) for location in leaving]
            for departure in planned:
                self.departures[departure.version_id] = departure
        return planned

    def _standing(self, location: FileLocation, not_since_us: int) -> Standing:
        version = self.versions[location.current_version_id or 0]
        jobs = [job for job in self.job_by_id.values() if job.file_version_id == version.id]
        runs = [job for job in jobs if job.kind is JobKind.RUN]
        known = self.departures.get(version.id)
        barred = known is not None and not (
            known.outcome is Outcome.KEPT and (known.ended_at_us or 0) <= not_since_us
        )
        in_the_way = (
            location.content_hash != version.content_hash
            or any(job.status is not JobStatus.COMPLETED for job in runs)
            or any(job.kind is JobKind.PURGE and job.status not in GIVEN_UP for job in jobs)
            or barred
        )
        done = any(job.status is JobStatus.COMPLETED for job in runs)
        return Standing(location.path, done, in_the_way)

    def _planned(
        self, location: FileLocation, action: Action, place_of: Callable[[bytes, int], bytes]
    ) -> Departure:
        version = self.versions[location.current_version_id or 0]
        assert location.identity is not None
        return Departure(
            version.id,
            location.id,
            location.path,
            version.content_hash,
            location.identity,
            action,
            place_of(location.path, version.ordinal),
            self.clock(),
        )

    def open_departures(self, root_id: int) -> Sequence[Departure]:
        with self.lock:
            return [
                departure
                for _, departure in sorted(self.departures.items())
                if departure.outcome is None
                and self.location_by_id[departure.location_id].source_root_id == root_id
            ]

    def end_departure(self, version_id: int, outcome: Outcome, message: str | None = None) -> None:
        with self.lock:
            departure = self.departures.get(version_id)
            if departure is None or departure.outcome is not None:
                return
            self.departures[version_id] = replace(
                departure, outcome=outcome, message=message, ended_at_us=self.clock()
            )
            location = self.location_by_id[departure.location_id]
            standing = location.current_version_id == version_id and location.content_hash
            if outcome is Outcome.GONE and standing:
                self.location_by_id[location.id] = location._replace(deleted=True, missed_scans=0)
                if is_archive(departure.path):
                    self._end_members(location.source_root_id, self.departures[version_id])

    def _end_members(self, root_id: int, archive: Departure) -> None:
        """They leave with their archive."""
        for member in list(self.location_by_id.values()):
            version = self.versions.get(member.current_version_id or 0)
            inside = member.path.startswith(archive.path + INSIDE)
            if member.source_root_id != root_id or not inside or member.deleted or version is None:
                continue
            # Files in a directory of such a name are no members: they have inodes of their own.
            met = member.identity
            if member.content_hash != version.content_hash or met is None:
                continue
            if (met.inode, met.device) != (archive.identity.inode, archive.identity.device):
                continue
            place = archive.of_member(member.path)
            planned = self._planned(member, archive.action, lambda *_, place=place: place)
            self.departures[version.id] = replace(
                planned,
                planned_at_us=archive.planned_at_us,
                ended_at_us=self.clock(),
                outcome=Outcome.GONE,
            )
            self.location_by_id[member.id] = member._replace(deleted=True, missed_scans=0)

    def _has_departed(self, location: FileLocation, sighting: Sighting) -> bool:
        """Met right before the engine took it away, by a scan that records it only now."""
        departure = self.departures.get(location.current_version_id or 0)
        gone = departure is not None and departure.outcome is Outcome.GONE
        return gone and location.deleted and location.identity == sighting.identity

    def departures_of(self, location_id: int) -> Sequence[Departure]:
        with self.lock:
            return [d for _, d in sorted(self.departures.items()) if d.location_id == location_id]
