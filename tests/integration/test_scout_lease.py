"""One scout at a time: engines that would scan the same directory, and commands beside them."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from casparian.adapters.files import LocalFileSource
from casparian.adapters.queue import open_memory, wall_clock_us
from casparian.app.scout import Scout
from casparian.app.scout_lease import RootLeases
from casparian.app.scout_service import ScoutService
from casparian.domain.files import ScanRules
from casparian.domain.ports import Applied
from casparian.domain.routing import RoutingRule
from casparian.domain.scouting import Scanner
from tests.support.project import Project, wait_for

HOUR_S = 3600.0


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "project")
    project.csv_to("parquet://output")
    return project


def status(project: Project) -> dict[str, Any]:
    return dict(json.loads(project.casparian("status", "--json").stdout))


def scout_of(project: Project) -> str | None:
    """Who scans; nobody while the database is being made."""
    if not project.statuses() and not project.database.exists():
        return None
    return next((root["scout"] for root in status(project)["source_roots"]), None)


def test_another_scout_takes_over_when_the_first_is_killed(project: Project) -> None:
    first = project.start("--role", "scout")
    try:
        holder = wait_for(lambda: project.database.exists() and scout_of(project))
        assert f":{first.pid}:" in holder
        with project.running("--role", "scout") as second:
            wait_for(lambda: "another engine scans" in project.log())
            project.drop("a.csv", "a\n1\n")
            wait_for(lambda: project.statuses() == {"QUEUED": 1})
            assert scout_of(project) == holder
            first.send_signal(signal.SIGKILL)
            first.wait()
            project.drop("b.csv", "a\n2\n")
            # Long before the dead one's lease is over: it is of this host.
            wait_for(lambda: project.statuses() == {"QUEUED": 2}, timeout=20)
            assert f":{second.pid}:" in (scout_of(project) or "")
            roles = {w["pid"]: (w["roles"], w["alive"]) for w in status(project)["workers"]}
            assert roles[second.pid] == (["scout"], True)
        assert scout_of(project) is None
    finally:
        first.kill()
        first.wait()


def test_a_scan_by_hand_is_told_who_scans(project: Project) -> None:
    with project.running() as engine:
        wait_for(lambda: project.database.exists() and scout_of(project))
        done = project.casparian("scan", "--json", code=1)
        assert f"process {engine.pid} on" in done.stderr
        document = json.loads(done.stdout)
        (left,) = document["left"]
        assert str(project.inbox) in left
        assert (document["new"], document["complete"]) == (0, False)
        assert "scans it." in project.casparian("check").stdout
        project.drop("a.csv", "a\n1\n")
        # A drain leaves the root to the engine too, and says so.
        assert project.drain() == 0
        wait_for(lambda: project.statuses() == {"COMPLETED": 1})
        assert "it was not scanned here" in project.log()
    done = project.casparian("scan", "--json")
    assert json.loads(done.stdout)["unchanged"] == 1


def test_drains_at_the_same_time_take_turns(project: Project) -> None:
    for n in range(40):
        project.drop(f"{n}.csv", f"a\n{n}\n")
    drains = [project.start("--drain") for _ in range(3)]
    assert [drain.wait(100) for drain in drains] == [0, 0, 0]
    assert project.statuses() == {"COMPLETED": 40}
    assert sorted(project.parquet()["a"].to_pylist()) == list(range(40))


def test_check_tells_of_a_scout_that_fell_silent(project: Project) -> None:
    project.casparian("scan")
    statement = (
        "update scout_lease set holder = 'gone:1:x', hostname = 'gone', lasting = 1, until_us = 1"
    )
    with sqlite3.connect(project.database) as database:
        database.execute(statement)
    database.close()
    assert "gone:1:x scanned it and has not renewed" in project.casparian("check").stdout
    # Its lease is over, so that anybody may scan.
    project.casparian("scan")


class TestService:
    """A service whose leases another process takes."""

    @pytest.fixture(autouse=True)
    def _running(self, tmp_path: Path) -> None:
        self.stores = open_memory()
        root = os.fsencode(tmp_path)
        self.stores.store.apply(Applied((root,), (RoutingRule("**", "all"),), (), ()))
        assert self.stores.scout_leases is not None
        self.leases = self.stores.scout_leases
        (self.root,) = self.stores.catalog.roots()
        self.dead: set[Scanner] = set()
        self.path = tmp_path
        self.me, self.other = (Scanner(f"{n}:1:x", n, n, 1, 1) for n in ("me", "other"))
        self.mine = RootLeases(
            self.leases, self.stores.catalog, self.me, self.dead.__contains__, renew_s=HOUR_S
        )
        scout = Scout(
            self.stores.catalog,
            LocalFileSource(),
            ScanRules(settle_ns=0),
            wall_clock_us,
            self.stores.store.routing,
            leases=self.mine,
        )
        self.service = ScoutService(scout, interval_s=0.05, watch=False, leases=self.mine)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.service.run, args=(self.stop,))

    def known(self) -> list[bytes]:
        return [location.path for location in self.stores.catalog.locations(self.root.id)]

    def holder(self) -> Scanner | None:
        return next((lease.scanner for lease in self.leases.standing()), None)

    def test_a_scout_that_lost_its_root_stands_by(self) -> None:
        self.thread.start()
        try:
            (self.path / "a").write_bytes(b"a")
            wait_for(lambda: self.known() == [b"a"])
            # As if this process had been stopped for longer than its lease.
            self.leases.take(self.root.id, self.other, True, 10**9, [self.me.id])
            (self.path / "b").write_bytes(b"b")
            wait_for(lambda: not self.mine.has(self.root))
            assert self.known() == [b"a"]
            assert self.holder() == self.other
        finally:
            self.stop.set()
            self.service.wake()
            self.thread.join()
            self.mine.close()
        assert self.holder() == self.other

    def test_a_root_that_was_given_up_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(self.service, "_stand_by_us", 10_000)
        self.leases.take(self.root.id, self.other, True, 10**12)
        (self.path / "a").write_bytes(b"a")
        self.thread.start()
        try:
            self.leases.release(self.other.id)
            wait_for(lambda: self.known() == [b"a"])
            assert self.holder() == self.me
        finally:
            self.stop.set()
            self.service.wake()
            self.thread.join()
            self.mine.close()
        assert self.holder() is None

    def test_who_scans_once_is_waited_for(self) -> None:
        self.leases.take(self.root.id, self.other, False, 10**12)
        threading.Timer(0.3, self.leases.release, [self.other.id]).start()
        with self.mine.turn([self.root], self.stop) as mine:
            assert mine == [self.root]
            assert self.holder() == self.me
        assert self.holder() is None
        self.mine.close()

    def test_renewing_finds_what_was_lost(self) -> None:
        assert self.mine.hold(self.root, lasting=True) is None
        self.leases.take(self.root.id, self.other, True, 10**12, [self.me.id])
        assert self.mine.has(self.root)
        self.mine._renew()
        assert not self.mine.has(self.root)
        lease = self.mine.hold(self.root, lasting=True)
        assert lease is not None
        assert lease.scanner == self.other
        self.dead.add(self.other)
        assert self.mine.hold(self.root, lasting=True) is None
        self.mine.close()
