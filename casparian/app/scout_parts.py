"""What every scan works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from casparian.adapters.files.archive import VersionArchive
from casparian.app.scout_memory import ArchiveMemory, FutureStamps
from casparian.app.scout_quiet import QuietRuns
from casparian.domain.files import ScanRules, SourceRoot
from casparian.domain.ports import Clock, FileCatalog, FileSource
from casparian.domain.roots import RootRules
from casparian.domain.routing import RoutingTable


@dataclass(frozen=True, slots=True)
class ScoutParts:
    """Ports, rules, and what one scan remembers for the next."""

    catalog: FileCatalog
    source: FileSource
    rules: ScanRules
    clock: Clock
    routing: Callable[[], RoutingTable]
    roots: Mapping[bytes, RootRules] = field(default_factory=dict)
    keep: VersionArchive | None = None
    futures: FutureStamps = field(default_factory=FutureStamps)
    archives: ArchiveMemory = field(default_factory=ArchiveMemory)
    quiet: QuietRuns = field(default_factory=QuietRuns)

    def rules_of(self, root: SourceRoot) -> RootRules:
        return self.roots.get(root.path) or RootRules(self.rules)
