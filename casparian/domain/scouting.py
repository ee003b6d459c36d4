"""Who scans a source root: one scout at a time, by a lease with a fence.

A scout that was stopped for a while may go on after another has taken its place. Its fence is
then out of date, and what it writes is refused: two scouts never count one scan twice.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from casparian.domain.departures import Departures
from casparian.domain.ports import FileCatalog


class Scanner(NamedTuple):
    """A process that scans. `id` is unique for ever; the rest says who can see it end, as in
    WorkerNode."""

    id: str
    hostname: str
    host_key: str
    pid: int
    pid_started: int


class Fence(NamedTuple):
    """Which holder of a root's lease this is: each has a higher number than those before."""

    root_id: int
    number: int


class ScoutLease(NamedTuple):
    """A lease that somebody holds. `lasting`: until the process ends, not for one scan."""

    fence: Fence
    scanner: Scanner
    lasting: bool
    until_us: int


class FencedCatalog(FileCatalog, Departures, Protocol):
    """A catalog for the scans of one root by one holder of its lease."""


class ScoutLeases(Protocol):
    """What a queue can do besides: let one scout at a time scan a root.

    1. `take` gives a root to a scout where nobody holds it, its lease is over, or its holder is
       named dead: among concurrent callers to one, with a fence above all before it. Any other
       caller is told of the lease that stands. Its holder gets it for longer, with its fence.
    2. `renew` extends all leases of a scout, and returns those that are still its own. One that
       is over and was given to nobody else still is.
    3. `release` ends all leases of a scout at once.
    4. What is written through `catalog(fence)` is written in transactions that have found the
       fence to be the root's. Any other fence changes nothing, and raises StaleScoutError.
    5. The clock is that of the queue's other leases.
    6. `standing` tells of all leases that were not released, those that are over included.
    """

    def take(
        self,
        root_id: int,
        scanner: Scanner,
        lasting: bool,
        lease_us: int,
        dead: Collection[str] = (),
    ) -> ScoutLease: ...

    def renew(self, scanner_id: str, lease_us: int) -> Sequence[Fence]: ...

    def release(self, scanner_id: str) -> None: ...

    def catalog(self, fence: Fence) -> FencedCatalog: ...

    def standing(self) -> Sequence[ScoutLease]: ...
