"""What a scan has found, and when it is recorded: in batches, and none waits long."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from casparian.app.scout_parts import ScoutParts
from casparian.app.scout_recording import Recording
from casparian.domain.files import ScanReport, Sighting, SourceRoot
from casparian.domain.ports import RecordOutcome

# The first batch is small: its jobs can begin while the scan goes on. A large scan's grow to a
# twentieth of it: else each file had a page of the index of hashes written for it alone.
FIRST_BATCH, BATCH, LARGEST_BATCH = 250, 10_000, 50_000
GROWTH = 20
BATCH_US = 1_000_000


class Batches:
    """Sightings, and locations met unchanged that were missed before, on their way into the
    catalog. Counts in `report` what was recorded, and then tells `on_progress`."""

    def __init__(
        self,
        parts: ScoutParts,
        root: SourceRoot,
        report: ScanReport,
        on_progress: Callable[[ScanReport], None],
    ) -> None:
        self._parts, self._root = parts, root
        self._report, self._on_progress = report, on_progress
        self._sightings: list[Sighting] = []
        self._seen: list[int] = []
        self._size, self._recorded = min(FIRST_BATCH, BATCH), 0
        self._recording = Recording(parts.catalog, root, parts.routing, self._count)
        self._flushed_us = parts.clock()

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *raised: object) -> None:
        self._recording.__exit__(*raised)

    def add(self, sighting: Sighting) -> None:
        self._sightings.append(sighting)

    def extend(self, sightings: Iterable[Sighting]) -> None:
        self._sightings.extend(sightings)

    def seen_again(self, location_id: int) -> None:
        self._seen.append(location_id)

    def look(self) -> None:
        """Tell of what is recorded by now."""
        self._recording.look()

    def flush_if_due(self, now_us: int) -> None:
        waiting = len(self._sightings) + len(self._seen)
        if not waiting:
            return
        if waiting >= self._size or now_us >= self._flushed_us + BATCH_US:
            self._flush()

    def finish(self) -> None:
        """Record the rest."""
        self._recording.finish(self._sightings)
        self._flush_seen()

    def _flush(self) -> None:
        """Record what is known so far, in one short transaction."""
        if self._sightings:
            self._recording.put(self._sightings)
            self._recorded += len(self._sightings)
            self._sightings = []
            at_most = min(max(BATCH, self._recorded // GROWTH), LARGEST_BATCH)
            self._size = min(2 * self._size, at_most)
        self._flush_seen()
        self._flushed_us = self._parts.clock()

    def _flush_seen(self) -> None:
        seen, self._seen = self._seen, []
        if seen:
            self._parts.catalog.seen(seen)

    def _count(self, outcome: RecordOutcome) -> None:
        self._report.new += outcome.new
        self._report.changed += outcome.changed
        self._report.unchanged += outcome.touched
        self._report.jobs += outcome.jobs
        self._parts.quiet.disturbed(self._root.id, outcome.disturbed)
        self._on_progress(self._report)
