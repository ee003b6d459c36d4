"""Files that the engine takes away, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from casparian.adapters.queue.memory.state import MemoryState
from casparian.domain.departures import Action, Departure, Outcome
from casparian.domain.files import FileLocation, Sighting
from casparian.domain.jobs import GIVEN_UP, JobKind, JobStatus


class MemoryDepartures(MemoryState):
    """A part of the catalog."""

    def plan_departures(
        self,
        root_id: int,
        action: Action,
        place_of: Callable[[bytes, int], bytes],
        not_since_us: int,
        limit: int,
    ) -> Sequence[Departure]:
        planned: list[Departure] = []
        with self.lock:
            for _, location in sorted(self.location_by_id.items()):
                if len(planned) == limit:
                    break
                if location.source_root_id == root_id and self._may_leave(location, not_since_us):
                    planned.append(self._planned(location, action, place_of))
            for departure in planned:
                self.departures[departure.version_id] = departure
        return planned

    def _may_leave(self, location: FileLocation, not_since_us: int) -> bool:
        version = self.versions.get(location.current_version_id or 0)
        if version is None or location.deleted or location.content_hash != version.content_hash:
            return False
        jobs = [job for job in self.job_by_id.values() if job.file_version_id == version.id]
        runs = [job for job in jobs if job.kind is JobKind.RUN]
        if not runs or any(job.status is not JobStatus.COMPLETED for job in runs):
            return False
        if any(job.kind is JobKind.PURGE and job.status not in GIVEN_UP for job in jobs):
            return False
        known = self.departures.get(version.id)
        if known is None:
            return True
        return known.outcome is Outcome.KEPT and (known.ended_at_us or 0) <= not_since_us

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

    def _has_departed(self, location: FileLocation, sighting: Sighting) -> bool:
        """Met right before the engine took it away, by a scan that records it only now."""
        departure = self.departures.get(location.current_version_id or 0)
        gone = departure is not None and departure.outcome is Outcome.GONE
        return gone and location.deleted and location.identity == sighting.identity

    def departures_of(self, location_id: int) -> Sequence[Departure]:
        with self.lock:
            return [d for _, d in sorted(self.departures.items()) if d.location_id == location_id]
