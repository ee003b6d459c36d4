"""Any history of files, scanned at any moments: a model knows which versions must exist."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from casparian.adapters.files import LocalFileSource
from casparian.adapters.queue import QueueStores, open_memory, open_sqlite
from casparian.app.scout import Scout
from casparian.domain.files import SCANS_UNTIL_DELETED, ScanReport, ScanRules
from casparian.domain.ports import Applied
from tests.support.examples import examples

NAMES = st.sampled_from(["a", "a.b", "a-dir/x", "b/c/d", "b/c.d", "z\udcff"])
CONTENTS = st.sampled_from([b"", b"A", b"B", b"AA", b"x" * 200_000])
LONG_AGO_NS = 1_000_000_000_000_000_000


@dataclass
class File:
    """What is on the disk, under as many names as hard links give it."""

    content: bytes


def next_tick() -> None:
    """Wait for the kernel's clock of file timestamps to move on, some milliseconds at most.

    A test's clock may jump between two writes; two writes within one tick look the same.
    """
    with tempfile.TemporaryFile() as probe:
        before = os.fstat(probe.fileno()).st_ctime_ns
        while os.fstat(probe.fileno()).st_ctime_ns == before:
            os.utime(probe.fileno())


class Histories(RuleBasedStateMachine):
    """Each file's content at every settled scan, as the scout should have seen it."""

    def __init__(self) -> None:
        super().__init__()
        self.added_us = 0
        self.directory = Path(tempfile.mkdtemp())
        self.path = self.directory / "root"
        self.path.mkdir()
        (self.directory / "outside").write_bytes(b"not ours")
        self.files: dict[str, File] = {}
        self.links: set[str] = set()
        self.versions: dict[str, list[bytes]] = {}
        self.standing: dict[str, bytes] = {}
        self.missed: dict[str, int] = {}
        self.stores = self.open_stores()
        self.stores.store.apply(Applied((os.fsencode(self.path),), (), (), ()))
        self.catalog = self.stores.catalog
        (self.root,) = self.catalog.roots()
        self.scout = self.new_scout()

    def new_scout(self) -> Scout:
        routing = self.stores.store.routing
        return Scout(self.catalog, LocalFileSource(), ScanRules(), self.clock, routing)

    def open_stores(self) -> QueueStores:
        return open_memory(self.clock)

    def clock(self) -> int:
        return time.time_ns() // 1000 + self.added_us

    def teardown(self) -> None:
        self.stores.close()
        shutil.rmtree(self.directory)

    @initialize()
    def an_empty_root(self) -> None:
        assert self.scout.scan(self.root).counts()["new"] == 0

    # --- what happens to files ---

    def place(self, name: str) -> Path:
        """Where a file of this name goes; a symbolic link of this name makes way."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name in self.links:
            path.unlink()
            self.links.remove(name)
        return path

    @rule(name=NAMES, content=CONTENTS)
    def write(self, name: str, content: bytes) -> None:
        """In place, so under all of its names."""
        self.place(name).write_bytes(content)
        self.files.setdefault(name, File(content)).content = content

    @rule(name=NAMES, content=CONTENTS)
    def replace(self, name: str, content: bytes) -> None:
        other = self.path / "other.tmp"
        other.write_bytes(content)
        other.rename(self.place(name))
        self.files[name] = File(content)

    @precondition(lambda self: self.files)
    @rule(data=st.data(), more=st.sampled_from([b"A", b"more"]))
    def append(self, data: st.DataObject, more: bytes) -> None:
        name = self.draw_file(data)
        with (self.path / name).open("ab") as file:
            file.write(more)
        self.files[name].content += more

    @precondition(lambda self: self.files)
    @rule(data=st.data(), size=st.sampled_from([0, 1, 100_000]))
    def truncate(self, data: st.DataObject, size: int) -> None:
        """Or grow, by a hole."""
        name = self.draw_file(data)
        os.truncate(self.path / name, size)
        file = self.files[name]
        file.content = file.content[:size].ljust(size, b"\0")

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def overwrite_and_restore_mtime(self, data: st.DataObject) -> None:
        """Same size, same mtime, same inode: only ctime tells."""
        name = self.draw_file(data)
        path = self.path / name
        before = path.stat()
        content = bytes(byte ^ 1 for byte in self.files[name].content)
        with path.open("r+b") as file:
            file.write(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.files[name].content = content

    @precondition(lambda self: self.files)
    @rule(data=st.data(), mtime_ns=st.sampled_from([None, LONG_AGO_NS]))
    def touch(self, data: st.DataObject, mtime_ns: int | None) -> None:
        """Its times change, and nothing else: no version."""
        path = self.path / self.draw_file(data)
        if mtime_ns is None:
            os.utime(path)
        else:
            os.utime(path, ns=(mtime_ns, mtime_ns))

    @precondition(lambda self: self.files)
    @rule(data=st.data(), to=NAMES)
    def rename(self, data: st.DataObject, to: str) -> None:
        name = self.draw_file(data)
        (self.path / name).rename(self.place(to))
        if self.files[name] is not self.files.get(to) or name == to:
            self.files[to] = self.files.pop(name)
        # Else they are names of one file, which the system leaves as they are.

    @precondition(lambda self: self.files)
    @rule(data=st.data(), to=NAMES)
    def copy(self, data: st.DataObject, to: str) -> None:
        name = self.draw_file(data)
        if to not in self.files:
            shutil.copy2(self.path / name, self.place(to))
            self.files[to] = File(self.files[name].content)

    @precondition(lambda self: self.files)
    @rule(data=st.data(), to=NAMES)
    def link(self, data: st.DataObject, to: str) -> None:
        """Another name of the same file: a location of its own."""
        name = self.draw_file(data)
        if to not in self.files:
            os.link(self.path / name, self.place(to))
            self.files[to] = self.files[name]

    @rule(name=NAMES, to=st.sampled_from(["a", "a.b", ".", "..", "../outside", "nowhere"]))
    def link_symbolically(self, name: str, to: str) -> None:
        """In place of a file, too: to a file, a loop, the way out, nothing. It is no file."""
        path = self.place(name)
        path.unlink(missing_ok=True)
        self.files.pop(name, None)
        path.symlink_to(os.path.relpath(self.path / to, path.parent))
        self.links.add(name)

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = self.draw_file(data)
        (self.path / name).unlink()
        del self.files[name]

    def draw_file(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.files)))

    # --- what the scout makes of it ---

    @rule()
    def scan_settled(self) -> None:
        self.added_us += 5_000_000
        self.expect_seen(self.scout.scan(self.root))
        gone = [name for name in self.standing if name not in self.files]
        for name in gone:
            self.missed[name] = self.missed.get(name, 0) + 1
            if self.missed[name] == SCANS_UNTIL_DELETED:
                del self.standing[name], self.missed[name]

    @rule()
    def look_at_everything(self) -> None:
        self.added_us += 5_000_000
        names = [*self.files, *self.links, "gone"]
        report = self.scout.look(self.root, [os.fsencode(name) for name in names])
        self.expect_seen(report)

    @rule()
    def somebody_else_scans(self) -> None:
        """Another program, with a memory of its own."""
        mine, self.scout = self.scout, self.new_scout()
        self.scan_settled()
        self.scout = mine

    def expect_seen(self, report: ScanReport) -> None:
        expected = {"new": 0, "changed": 0, "unchanged": 0}
        for name, file in self.files.items():
            content = file.content
            self.missed.pop(name, None)
            case = "changed" if name in self.standing else "new"
            if self.standing.get(name) == content:
                case = "unchanged"
            else:
                self.versions.setdefault(name, []).append(content)
                self.standing[name] = content
            expected[case] += 1
        assert {key: report.counts()[key] for key in expected} == expected
        assert (report.deferred, report.unreadable, report.complete) == (0, 0, True)
        next_tick()

    @invariant()
    def the_catalog_has_the_model_s_versions(self) -> None:
        known = {os.fsdecode(x.path): x for x in self.catalog.locations(self.root.id)}
        assert known.keys() == self.versions.keys()
        for name, versions in self.versions.items():
            location = known[name]
            assert location.versions == len(versions)
            assert location.content_hash == hashlib.sha256(versions[-1]).hexdigest()
            assert location.deleted == (name not in self.standing)
            if not location.deleted:
                assert location.missed_scans == self.missed.get(name, 0)


class HistoriesInSqlite(Histories):
    """The same, with the catalog that is used in earnest."""

    def open_stores(self) -> QueueStores:
        return open_sqlite(str(self.directory / "queue.sqlite3"), self.clock)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=examples(20),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestHistoriesInSqlite = HistoriesInSqlite.TestCase
TestHistoriesInSqlite.settings = settings(TestHistories.settings, max_examples=examples(10))
