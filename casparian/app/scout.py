"""The scout: finds files and their versions in a source root.

What one scan does stands in `scout_pass`; when scans happen, in `scout_service`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from casparian.adapters.files.archive import ArchivingSource, VersionArchive
from casparian.app.scout_lease import RootLeases
from casparian.app.scout_parts import ScoutParts
from casparian.app.scout_pass import ScanPass
from casparian.domain.files import ScanReport, ScanRules, SourceRoot
from casparian.domain.ports import Clock, FileCatalog, FileSource
from casparian.domain.roots import RootRules
from casparian.domain.routing import RoutingTable


def _ignore(report: ScanReport) -> None:
    """Nobody wants to know."""


def _never() -> bool:
    return False


class Scout:
    """Scans source roots, one thread at a time. `roots` are the rules by a root's path, `rules`
    those of every other root; with `keep`, the bytes of every version go into that archive.
    What scans of a root write goes through the lease that `leases` holds of it.

    `on_progress` is called with the report so far after each batch that was recorded;
    `stopped` is asked between files, and ends the scan as an incomplete one.
    UnavailableError from the catalog passes through; what was recorded before it stands.
    """

    def __init__(
        self,
        catalog: FileCatalog,
        source: FileSource,
        rules: ScanRules,
        clock: Clock,
        routing: Callable[[], RoutingTable],
        roots: Mapping[bytes, RootRules] | None = None,
        keep: VersionArchive | None = None,
        leases: RootLeases | None = None,
    ) -> None:
        self._leases = leases
        if keep is not None:
            source = ArchivingSource(source, keep)
        self._parts = ScoutParts(catalog, source, rules, clock, routing, roots or {}, keep)

    @property
    def catalog(self) -> FileCatalog:
        return self._parts.catalog

    @property
    def clock(self) -> Clock:
        return self._parts.clock

    def scan(
        self,
        root: SourceRoot,
        *,
        stopped: Callable[[], bool] = _never,
        on_progress: Callable[[ScanReport], None] = _ignore,
    ) -> ScanReport:
        """A full walk. Known files that a whole walk did not meet are counted as missed."""
        return ScanPass(self._parts_of(root), root, stopped, on_progress).whole()

    def look(
        self,
        root: SourceRoot,
        paths: Iterable[bytes],
        *,
        stopped: Callable[[], bool] = _never,
        on_progress: Callable[[ScanReport], None] = _ignore,
    ) -> ScanReport:
        """Only these files, and what is below those that are directories. Deletes nothing."""
        return ScanPass(self._parts_of(root), root, stopped, on_progress).only(paths)

    def _parts_of(self, root: SourceRoot) -> ScoutParts:
        """What is written of this root goes through the lease that is held, if any is."""
        if self._leases is None:
            return self._parts
        return replace(self._parts, catalog=self._leases.catalog(root))
