"""The port to what is known of files: locations, versions, tags."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from casparian.domain.files import FileLocation, Sighting, SourceRoot
from casparian.domain.routing import RoutingTable


@dataclass(frozen=True, slots=True)
class RecordOutcome:
    """What recording made of sightings: counts of new, changed and merely touched files,
    and of the jobs enqueued. `disturbed`: by how much it has raised the root's disturbances."""

    new: int = 0
    changed: int = 0
    touched: int = 0
    jobs: int = 0
    disturbed: int = 0


class FileCatalog(Protocol):
    """Locations, versions, content registry, tags.

    1. A version, its tags, its jobs and the location's `current_version_id` appear in one
       transaction or not at all.
    2. A version is never changed or removed; `ordinal` grows by one per location.
    3. Recording the content that a location already has adds no version, only the stat.
    4. The content registry has one entry per hash, however many locations hold it.
    5. `locations` yields a root's locations in byte order of their paths, deleted ones
       included, in pages, without a transaction held between them.
    6. A location is deleted at the second consecutive `missed`; a sighting resets the count,
       and one of a deleted location is a new version.
    7. `forget` makes the next recording a new version, whatever the content; the jobs of the
       version that stands say who asked (`job_event`).
    8. `disturbances` of a root grows by one with each `forget` and each `missed` of its
       locations, whoever calls them; with a `record` by which locations come to stand, as its
       outcome says; and with nothing else.

    One that cannot keep every path has an attribute `longest_path`, in bytes: files whose paths
    are longer are not recorded, and told as unreadable.
    """

    def roots(self) -> Sequence[SourceRoot]: ...

    def locations(
        self, root_id: int, below: bytes = b"", begin: bytes = b""
    ) -> Iterator[FileLocation]:
        """Those of the root, or `below` a path; none whose path is before `begin`."""
        ...

    def disturbances(self, root_id: int) -> int: ...

    def find(self, root_id: int, path: bytes) -> FileLocation | None: ...

    def record(
        self, root_id: int, sightings: Sequence[Sighting], routing: RoutingTable
    ) -> RecordOutcome: ...

    def missed(self, location_ids: Sequence[int]) -> int:
        """Count one complete scan of a root without these; returns how many became deleted."""
        ...

    def seen(self, location_ids: Sequence[int]) -> None:
        """Reset the count of missed scans of locations that a scan met unchanged."""
        ...

    def forget(self, location_id: int, actor: str) -> None: ...
