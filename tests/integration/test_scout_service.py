"""The scout's thread with real OS events, and the watcher alone. Events are waited for."""

from __future__ import annotations

import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import watchfiles

from casparian.adapters.files import LocalFileSource, Watcher
from casparian.adapters.queue import QueueStores, open_memory
from casparian.app.scout import Scout
from casparian.app.scout_service import ScoutService
from casparian.domain.errors import UnavailableError
from casparian.domain.files import ScanReport, ScanRules, SourceRoot
from casparian.domain.ports import Applied
from casparian.domain.routing import RoutingRule

WAIT_S = 20.0
HOUR_S = 3600.0


def clock() -> int:
    return time.time_ns() // 1000


class TellingScout(Scout):
    """The real scout; `told` hears what it did."""

    def scan(self, root: SourceRoot, **rest: object) -> ScanReport:
        report = super().scan(root, **rest)  # type: ignore[arg-type]
        self.told("scan", report)
        return report

    def look(self, root: SourceRoot, paths: object, **rest: object) -> ScanReport:
        report = super().look(root, paths, **rest)  # type: ignore[arg-type]
        self.told("look", report)
        return report

    told: Callable[[str, ScanReport], None] = staticmethod(lambda what, report: None)


class Running:
    """A scout service in its thread."""

    def __init__(self, *roots: Path, settle_s: float, interval_s: float, watch: bool) -> None:
        self.stores: QueueStores = open_memory()
        self.stores.store.apply(
            Applied(tuple(map(os.fsencode, roots)), (RoutingRule("**", "all"),), (), ())
        )
        self.reports: queue.Queue[tuple[str, ScanReport]] = queue.Queue()
        self.scout = TellingScout(
            self.stores.catalog,
            LocalFileSource(),
            ScanRules(settle_ns=int(settle_s * 1e9)),
            clock,
            self.stores.store.routing,
        )
        self.scout.told = lambda what, report: self.reports.put((what, report))
        self.service = ScoutService(self.scout, interval_s=interval_s, watch=watch)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.service.run, args=(self.stop,))

    def wait_for(self, what: str, wanted: Callable[[ScanReport], bool]) -> ScanReport:
        ends = time.monotonic() + WAIT_S
        while True:
            kind, report = self.reports.get(timeout=max(0.01, ends - time.monotonic()))
            if what in (kind, "any") and wanted(report):
                return report

    def __enter__(self) -> Running:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.service.wake()
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()


def anything(report: ScanReport) -> bool:
    return True


def test_a_dropped_file_is_found_by_its_event_and_recorded_when_settled(tmp_path: Path) -> None:
    with Running(tmp_path, settle_s=0.3, interval_s=HOUR_S, watch=True) as running:
        running.wait_for("scan", anything)
        # The look that says: events are being received from here on.
        running.wait_for("look", anything)
        (tmp_path / "file").write_bytes(b"dropped")
        deferred = running.wait_for("look", lambda report: report.deferred == 1)
        recorded = running.wait_for("look", lambda report: report.new == 1)
        assert deferred.next_look_us is not None
        assert clock() >= deferred.next_look_us
        assert recorded.counts()["deferred"] == 0
    (location,) = running.stores.catalog.locations(1)
    assert location.path == b"file"


def test_a_directory_moved_in_is_looked_through(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "aside/deep/er").mkdir(parents=True)
    (tmp_path / "aside/deep/er/file").write_bytes(b"x")
    with Running(tmp_path / "root", settle_s=0, interval_s=HOUR_S, watch=True) as running:
        running.wait_for("look", anything)
        (tmp_path / "aside").rename(tmp_path / "root/within")
        running.wait_for("look", lambda report: report.new == 1)
    (location,) = running.stores.catalog.locations(1)
    assert location.path == b"within/deep/er/file"


def test_without_events_the_interval_finds_everything(tmp_path: Path) -> None:
    with Running(tmp_path, settle_s=0.1, interval_s=0.05, watch=False) as running:
        running.wait_for("scan", anything)
        path = tmp_path / os.fsdecode(b"not utf-8 \xff")
        path.write_bytes(b"x")
        running.wait_for("any", lambda report: report.new == 1)
        path.unlink()
        running.wait_for("scan", lambda report: report.deleted == 1)


def test_a_missing_root_ends_nothing_and_is_scanned_once_it_appears(tmp_path: Path) -> None:
    here, later = tmp_path / "here", tmp_path / "later"
    here.mkdir()
    (here / "file").write_bytes(b"x")
    with Running(here, later, settle_s=0, interval_s=0.05, watch=True) as running:
        running.wait_for("scan", lambda report: b"" in report.errors)
        later.mkdir()
        (later / "late").write_bytes(b"x")
        while not any(known.path == b"late" for known in running.stores.catalog.locations(2)):
            running.wait_for("scan", anything)
    assert [known.path for known in running.stores.catalog.locations(1)] == [b"file"]


def test_errors_are_waited_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"x")
    running = Running(tmp_path, settle_s=0, interval_s=0.05, watch=False)
    failures: Iterator[Exception] = iter(
        [UnavailableError("The database cannot be reached."), RuntimeError("a bug")]
    )
    real = running.stores.catalog.record

    def record(*args: object) -> object:
        for failure in failures:
            raise failure
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(running.stores.catalog, "record", record)
    monkeypatch.setattr("casparian.app.scout_service.FIRST_RETRY_US", 10_000)
    with running:
        running.wait_for("scan", lambda report: report.new == 1)
    assert next(failures, None) is None


def test_the_worker_is_told_of_jobs(tmp_path: Path) -> None:
    told: queue.Queue[int] = queue.Queue()
    running = Running(tmp_path, settle_s=0, interval_s=0.05, watch=False)
    service = ScoutService(running.scout, interval_s=HOUR_S, watch=False, on_recorded=told.put)
    tell = service._progress()
    for jobs in (0, 3, 3, 10):
        tell(ScanReport(jobs=jobs))
    assert [told.get_nowait(), told.get_nowait()] == [3, 7]
    assert told.empty()


# --- the watcher ---------------------------------------------------------------------------


class Watching:
    def __init__(self, *roots: Path) -> None:
        self.hints: queue.Queue[tuple[int, bytes]] = queue.Queue()
        self.errors: queue.Queue[str] = queue.Queue()
        self.watcher = Watcher(
            [SourceRoot(n, os.fsencode(path)) for n, path in enumerate(roots, 1)],
            lambda root_id, path: self.hints.put((root_id, path)),
            self.errors.put,
        )

    def __enter__(self) -> Watching:
        self.watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.watcher.stop()

    def wait_for(self, hint: tuple[int, bytes]) -> None:
        ends = time.monotonic() + WAIT_S
        while self.hints.get(timeout=max(0.01, ends - time.monotonic())) != hint:
            pass


def test_watching_begins_with_a_hint_at_the_whole_root(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    with Watching(one, two) as watching:
        watching.wait_for((1, b""))
        watching.wait_for((2, b""))
        (two / "a b\n").write_bytes(b"")
        watching.wait_for((2, b"a b\n"))
        (one / "d").mkdir()
        watching.wait_for((1, b"d"))


def test_a_root_made_later_and_one_made_anew_are_watched(tmp_path: Path) -> None:
    root = tmp_path / "root"
    with Watching(root) as watching:
        assert "do not exist yet" in watching.errors.get(timeout=WAIT_S)
        root.mkdir()
        watching.wait_for((1, b""))
        shutil.rmtree(root)
        root.mkdir()
        watching.wait_for((1, b""))
        (root / "file").write_bytes(b"")
        watching.wait_for((1, b"file"))


def test_a_name_that_is_not_utf8_costs_no_later_event(tmp_path: Path) -> None:
    with Watching(tmp_path) as watching:
        watching.wait_for((1, b""))
        (tmp_path / os.fsdecode(b"\xff")).write_bytes(b"")
        assert "full scans" in watching.errors.get(timeout=WAIT_S)
        watching.wait_for((1, b""))
        (tmp_path / "file").write_bytes(b"")
        watching.wait_for((1, b"file"))


def test_too_few_watches_are_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = threading.Semaphore(0)

    def no_watches(*paths: object, **rest: object) -> object:
        tries.release()
        raise OSError(28, "OS file watch limit reached")

    monkeypatch.setattr(watchfiles, "watch", no_watches)
    monkeypatch.setattr("casparian.adapters.files.watch.FIRST_RETRY_S", 0.01)
    with Watching(tmp_path) as watching:
        for _ in range(3):
            assert tries.acquire(timeout=WAIT_S)
        assert "watch limit" in watching.errors.get(timeout=WAIT_S)
        assert watching.errors.empty()
