"""ScoutLeases in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, cast

from casparian.adapters.queue.common import stale_scout
from casparian.adapters.queue.memory.catalog import MemoryCatalog
from casparian.domain.scouting import Fence, FencedCatalog, Scanner, ScoutLease

WRITES = frozenset({"record", "missed", "seen", "forget", "plan_departures", "end_departure"})


class MemoryScoutLeases:
    """Beside the queue: the names of its methods are taken there."""

    def __init__(self, queue: MemoryCatalog) -> None:
        self._queue = queue

    def take(
        self,
        root_id: int,
        scanner: Scanner,
        lasting: bool,
        lease_us: int,
        dead: Collection[str] = (),
    ) -> ScoutLease:
        with self._queue.lock:
            now, known = self._queue.clock(), self._queue.scout_leases.get(root_id)
            mine = known is not None and known.scanner == scanner
            if known and not mine and known.until_us > now and known.scanner.id not in dead:
                return known
            number = self._queue.scout_fences.get(root_id, 0) + (not mine)
            self._queue.scout_fences[root_id] = number
            lease = ScoutLease(Fence(root_id, number), scanner, lasting, now + lease_us)
            self._queue.scout_leases[root_id] = lease
            return lease

    def renew(self, scanner_id: str, lease_us: int) -> Sequence[Fence]:
        with self._queue.lock:
            until = self._queue.clock() + lease_us
            mine = [x for x in self.standing() if x.scanner.id == scanner_id]
            for lease in mine:
                self._queue.scout_leases[lease.fence.root_id] = lease._replace(until_us=until)
            return [lease.fence for lease in mine]

    def release(self, scanner_id: str) -> None:
        with self._queue.lock:
            for lease in self.standing():
                if lease.scanner.id == scanner_id:
                    del self._queue.scout_leases[lease.fence.root_id]

    def catalog(self, fence: Fence) -> FencedCatalog:
        return cast(FencedCatalog, _Fenced(self._queue, fence))

    def standing(self) -> Sequence[ScoutLease]:
        with self._queue.lock:
            return [lease for _, lease in sorted(self._queue.scout_leases.items())]


class _Fenced:
    """The catalog; its writes look at the fence under the same lock."""

    def __init__(self, queue: MemoryCatalog, fence: Fence) -> None:
        self._queue, self._fence = queue, fence

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._queue, name)
        return self._checked(value) if name in WRITES else value

    def _checked(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*arguments: Any, **named: Any) -> Any:
            with self._queue.lock:
                if self._queue.scout_fences.get(self._fence.root_id) != self._fence.number:
                    raise stale_scout(self._fence)
                return write(*arguments, **named)

        return checked
