"""A root of real files, a catalog in memory and a scout.

The clock is the real one plus what a test adds, since nobody can set a file's ctime.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from casparian.adapters.files import LocalFileSource
from casparian.adapters.queue import QueueStores, open_memory
from casparian.app.scout import Scout
from casparian.domain.files import FileLocation, ScanReport, ScanRules, StatIdentity
from casparian.domain.ports import Applied
from casparian.domain.routing import RoutingRule
from tests.support.clocks import Clock, next_tick

SETTLE_S = 2
KEYS = ("new", "changed", "unchanged", "deferred", "deleted", "unreadable", "waiting")


class CountingSource(LocalFileSource):
    """The real source; counts reads, and lets a test act before or instead of them."""

    def __init__(self) -> None:
        self.read: list[bytes] = []
        self.before_read: Callable[[bytes], None] = lambda path: None

    def read_hash(self, root: bytes, path: bytes) -> tuple[str, StatIdentity]:
        self.read.append(path)
        self.before_read(path)
        return super().read_hash(root, path)

    def read_hashes(
        self, root: bytes, paths: Sequence[bytes]
    ) -> list[tuple[str, StatIdentity] | None]:
        return [None] * len(paths)


class World:
    """A root, a catalog and a scout."""

    def __init__(self, path: Path, settle_s: float = SETTLE_S) -> None:
        self.path = path
        path.mkdir()
        self.clock = Clock()
        self.stores: QueueStores = open_memory(self.clock)
        rules = (RoutingRule("**/*.csv", "csv"),)
        self.stores.store.apply(Applied((os.fsencode(path),), rules, (), ()))
        self.catalog = self.stores.catalog
        (self.root,) = self.catalog.roots()
        self.source = CountingSource()
        scan_rules = ScanRules(settle_ns=int(settle_s * 1e9))
        self.scout = Scout(
            self.catalog, self.source, scan_rules, self.clock, self.stores.store.routing
        )

    def write(self, name: str, content: bytes = b"content", settle: bool = True) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if settle:
            self.clock.advance(SETTLE_S + 1)
        return path

    def scan(self, after_s: float = 0) -> dict[str, int]:
        """Counts of a scan, those that are 0 left out."""
        self.clock.advance(after_s)
        found = counts(self.scout.scan(self.root))
        next_tick()
        return found

    def known(self, name: str) -> FileLocation:
        found = self.catalog.find(self.root.id, os.fsencode(name))
        assert found is not None
        return found


def counts(report: ScanReport) -> dict[str, int]:
    assert tuple(report.counts()) == KEYS
    return {name: count for name, count in report.counts().items() if count}
