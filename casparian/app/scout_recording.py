"""Batches of sightings on their way into the catalog: while one is recorded, in a thread of its
own, the scan reads on. One batch at a time, in the order in which they came.

The thread is started when a batch is full; a small scan needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from casparian.domain.files import Sighting, SourceRoot
from casparian.domain.ports import FileCatalog, RecordOutcome
from casparian.domain.routing import RoutingTable

OnOutcome = Callable[[RecordOutcome], None]


class Recording:
    """Records for one scan. What goes wrong is raised by the next call; what was recorded before
    stands. `on_outcome` is called in the caller's thread, once for each batch."""

    def __init__(
        self,
        catalog: FileCatalog,
        root: SourceRoot,
        routing: Callable[[], RoutingTable],
        on_outcome: OnOutcome,
    ) -> None:
        self._catalog, self._root, self._routing = catalog, root, routing
        self._on_outcome = on_outcome
        self._pool: ThreadPoolExecutor | None = None
        self._under_way: Future[RecordOutcome] | None = None

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def put(self, sightings: Sequence[Sighting]) -> None:
        """Returns when the batch before this one is recorded."""
        self.wait()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "casparian-record")
        self._under_way = self._pool.submit(self._record, sightings)

    def finish(self, sightings: Sequence[Sighting]) -> None:
        """Record these as the last, in the caller's thread."""
        self.wait()
        if sightings:
            self._on_outcome(self._record(sightings))

    def wait(self) -> None:
        """Returns when what was put is recorded."""
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            self._on_outcome(under_way.result())

    def look(self) -> None:
        """Tell of what is recorded by now."""
        if self._under_way is not None and self._under_way.done():
            self.wait()

    def _record(self, sightings: Sequence[Sighting]) -> RecordOutcome:
        return self._catalog.record(self._root.id, sightings, self._routing())
