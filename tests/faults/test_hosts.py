"""Engines on several hosts, of which one dies, is cut off from the database, or has a wrong clock.

CASPARIAN_HOSTS=full cuts a host off in every step, as `make hosts` does.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.test_postgresql import Shared, all_rows
from tests.support.hosts import Host, Network, missing, missing_loss
from tests.support.postgres_server import Server, server_programs
from tests.support.project import wait_for

FULL = os.environ.get("CASPARIAN_HOSTS") == "full"
ENGINE = (sys.executable, "-m", "casparian.app.cli.engine", "run", "--role")
PAUSED = (sys.executable, "-m", "tests.support.paused_engine")
WORKER = ("run", "--role", "worker")
SCAN = (str(Path(sys.executable).with_name("casparian")), "scan")
BEFORE = ["claim", "stage", "decide", "promote", "complete", "clean"]
STEPS = [*BEFORE, "claim:commit", "decide:commit", "complete:commit"] if FULL else ["decide"]
FILES = 12
LOSS = 0.1 if FULL else 0.03
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def network(postgresql_url: str) -> Iterator[Network]:
    if reason := missing():
        pytest.skip(reason)
    network = Network()
    yield network
    network.remove()


@pytest.fixture(scope="module")
def one(network: Network) -> Host:
    return network.host("one")


@pytest.fixture(scope="module")
def other(network: Network) -> Host:
    return network.host("two")


@pytest.fixture
def server(network: Network) -> Iterator[Server]:
    programs = server_programs()
    if programs is None:
        pytest.skip("PostgreSQL's own programs are not on this machine")
    server = Server(programs, "fsync=off", address=network.address, within=network.within())
    try:
        server.start()
        yield server
    finally:
        server.remove()


class Cluster(Shared):
    """A project that hosts share; the test asks the database over its socket."""

    def __init__(self, directory: Path, server: Server) -> None:
        super().__init__(directory, server.url)
        self._local = server.local_url.replace("+psycopg", "")
        toml = self.directory / "casparian.toml"
        quick = "[worker]\nlease_s = 4\nrenew_s = 1\nsweep_s = 0.5\ngive_up_s = 3\n"
        # Each host may have a process of the same number, as here, where all are the first.
        endpoint = '[transport]\nendpoint = "run/router-{host}-{pid}.ipc"\n'
        toml.write_text(endpoint + toml.read_text().replace("[worker]\n", quick))

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            with psycopg.connect(self._local) as connection:
                return connection.execute(sql.encode(), values).fetchall()
        except psycopg.errors.UndefinedTable:
            return []

    def completed(self) -> int:
        return self.statuses().get("COMPLETED", 0)

    def is_exact(self, files: int) -> None:
        """Every row once, nothing left over, and nobody to blame."""
        assert self.statuses() == {"COMPLETED": files}
        assert self.rows() == all_rows(files)
        assert self.query("select 1 from publish_slot where holder is not null") == []
        assert self.stagings() == []


@pytest.fixture
def cluster(tmp_path: Path, server: Server, one: Host, other: Host) -> Cluster:
    cluster = Cluster(tmp_path / "project", server)
    cluster.drop_some(0, FILES)
    one.reconnect()
    with one.running(*SCAN, cwd=cluster.directory) as scan:
        assert scan.wait(60) == 0
    assert cluster.statuses() == {"QUEUED": FILES}
    return cluster


@pytest.mark.parametrize("step", STEPS)
def test_a_host_that_is_cut_off_and_comes_back(
    cluster: Cluster, one: Host, other: Host, step: str, tmp_path: Path
) -> None:
    here = cluster.directory
    if step == "clean":
        # An orphan, so that there is something to ask about.
        with one.running(*PAUSED, "decide", str(tmp_path), *WORKER, cwd=here) as victim:
            wait_for((tmp_path / "reached").exists)
            victim.kill()
        (tmp_path / "reached").unlink()
    with one.running(*PAUSED, step, str(tmp_path), *WORKER, cwd=here) as first:
        wait_for((tmp_path / "reached").exists)
        one.cut_off()
        (tmp_path / "go").touch()
        with other.running(*ENGINE, "worker", cwd=here):
            wait_for(lambda: cluster.completed() == FILES, timeout=90)
        one.reconnect()
        # It is alive, and works again.
        cluster.drop_some(FILES, 2)
        with other.running(*SCAN, cwd=here) as scan:
            assert scan.wait(60) == 0
        wait_for(lambda: cluster.completed() == FILES + 2, timeout=60)
        assert first.poll() is None
    cluster.is_exact(FILES + 2)
    assert set(cluster.query("select crashes from processing_job")) == {(0,)}


def test_a_host_that_dies_is_relieved_within_lease_and_sweep(
    cluster: Cluster, one: Host, other: Host, tmp_path: Path
) -> None:
    """Told by the database's own times: the lease of 4 s and a sweep, and the time to do it."""
    victim = one.start(*PAUSED, "decide", str(tmp_path), *WORKER, cwd=cluster.directory)
    try:
        wait_for((tmp_path / "reached").exists)
        with other.running(*ENGINE, "worker", cwd=cluster.directory):
            wait_for(lambda: len(cluster.query("select 1 from worker_node")) == 2)
            held = cluster.query("select id from processing_job where worker like 'one:%%'")
            assert held
            one.cut_off()
            os.kill(victim.pid, signal.SIGKILL)
            victim.wait()
            wait_for(lambda: cluster.completed() == FILES, timeout=60)
    finally:
        victim.kill()
        victim.wait()
    # An engine sweeps when it ends, as it does every minute.
    cluster.is_exact(FILES)
    late = cluster.query(
        "select job_id, at_us - lease from (select e.job_id, e.at_us, n.heartbeat_at_us + 4000000 "
        "as lease from job_event e join worker_node n on n.id = e.worker where e.event = 'REAPED')"
        " as reaped"
    )
    assert {job for job, _ in late} == {job for (job,) in held}
    # Renewed at most a second after the last heartbeat; looked for every half second.
    assert all(over_us <= 4_000_000 for _, over_us in late), late


def test_hosts_that_lose_packets_lose_no_rows(cluster: Cluster, one: Host, other: Host) -> None:
    """Of what comes and of what goes: connections stall, and some are given up."""
    if reason := missing_loss():
        pytest.skip(reason)
    with one.losing(LOSS), other.losing(LOSS):
        with (
            one.running(*ENGINE, "worker", cwd=cluster.directory),
            other.running(*ENGINE, "worker", cwd=cluster.directory),
        ):
            wait_for(lambda: cluster.completed() == FILES, timeout=90)
        assert one.lost() > 0
        assert other.lost() > 0
    cluster.is_exact(FILES)
    # A server that is out of reach for a while is nobody's failure.
    assert set(cluster.query("select tries, crashes from processing_job")) == {(0, 0)}


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed")
def test_a_host_whose_clock_is_an_hour_wrong(cluster: Cluster, one: Host, other: Host) -> None:
    ahead = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": "+1h", "DONT_FAKE_MONOTONIC": "1"}
    behind = {**ahead, "FAKETIME": "-1h"}
    with (
        one.running(*ENGINE, "worker", cwd=cluster.directory, **ahead),
        other.running(*ENGINE, "worker", cwd=cluster.directory, **behind),
    ):
        wait_for(lambda: cluster.completed() == FILES, timeout=60)
    cluster.is_exact(FILES)
    assert set(cluster.query("select attempt, tries from processing_job")) == {(1, 0)}
    nodes = cluster.query("select heartbeat_at_us from worker_node")
    ((now,),) = cluster.query("select extract(epoch from clock_timestamp()) * 1000000")
    assert all(abs(now - at) < 120_000_000 for (at,) in nodes), "heartbeats are by the server"


def test_status_shows_every_host(cluster: Cluster, one: Host, other: Host) -> None:
    with (
        one.running(*ENGINE, "scout", cwd=cluster.directory),
        other.running(*ENGINE, "worker", cwd=cluster.directory),
    ):
        wait_for(lambda: cluster.completed() == FILES)
        wait_for(lambda: len(cluster.query("select 1 from worker_node")) == 2)
        nodes = cluster.query(
            "select hostname, roles, pid, git_hash, versions, load from worker_node order by 1"
        )
    assert [(host, roles) for host, roles, *_ in nodes] == [
        ("one", '["scout"]'),
        ("two", '["worker"]'),
    ]
    for _, _, pid, _, versions, load in nodes:
        assert pid > 0
        assert "casparian-flow" in versions
        assert load.startswith("{")
