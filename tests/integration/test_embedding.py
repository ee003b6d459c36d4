"""Engines inside somebody else's process: several at once, stopped from other threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from casparian import DrainResult, Engine, FailedJob, RunResult, Settings
from casparian.adapters.files import LocalFileSource
from casparian.adapters.queue import open_memory, wall_clock_us
from casparian.adapters.queue.memory import MemoryQueue
from casparian.adapters.transport.memory import MemoryTransport
from casparian.app.context import EtlContext
from casparian.domain.errors import ConfigurationError, UnavailableError
from casparian.domain.jobs import Claim
from tests.support.project import Project, wait_for

INLINE = """
[transport]
adapter = "memory"
"""


def inline(project: Project, more: str = "") -> None:
    """Threads for sidecars: what is tested here is the engine around them."""
    project.csv_to("parquet://./output", f"{INLINE}\n{more}")
    file = project.directory / "casparian.toml"
    file.write_text(file.read_text().replace("[plugin_host]", '[plugin_host]\nadapter = "inline"'))


def load(project: Project) -> Settings:
    return Settings.load(project.directory / "casparian.toml")


@pytest.fixture
def pool() -> Any:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def drop(project: Project, first: int, count: int) -> None:
    for number in range(first, first + count):
        project.drop(f"{number}.csv", f"n\n{number}\n")


# --- several in one process -------------------------------------------------------------------


@pytest.mark.parametrize("host", ["inline", "subprocess"])
def test_two_engines_on_two_databases(tmp_path: Path, pool: ThreadPoolExecutor, host: str) -> None:
    projects = [Project(tmp_path / name) for name in ("one", "two")]
    for number, project in enumerate(projects):
        if host == "inline":
            inline(project)
        else:
            project.csv_to("parquet://./output")
        drop(project, 100 * number, 20)
    engines = [Engine(load(project)) for project in projects]
    results = [done.result(100) for done in [pool.submit(engine.drain) for engine in engines]]
    for number, (project, engine, result) in enumerate(
        zip(projects, engines, results, strict=True)
    ):
        engine.close()
        assert dict(result.jobs) == {"COMPLETED": 20}
        rows = sorted(project.parquet()["n"].to_pylist())
        assert rows == list(range(100 * number, 100 * number + 20))


def test_two_engines_on_one_database_share_the_work(
    project: Project, pool: ThreadPoolExecutor
) -> None:
    """Both are listed as workers, and each job is run by one of them."""
    project.csv_to("parquet://./output")
    drop(project, 0, 5)
    engines = [Engine(load(project)) for _ in range(2)]
    running = [pool.submit(engine.run) for engine in engines]

    def workers() -> list[Any]:
        return [w for w in engines[0].stores.queue.workers() if not w.stopped]

    wait_for(lambda: len(workers()) == 2)
    drop(project, 5, 40)
    wait_for(lambda: project.statuses().get("COMPLETED") == 45)
    listed = workers()
    for engine in engines:
        engine.stop()
    results = [done.result(100) for done in running]
    for engine in engines:
        engine.close()
    assert len({w.endpoint for w in listed}) == 2
    assert len({w.hostname for w in listed}) == 2
    assert all(isinstance(result, RunResult) for result in results)
    assert sum(result.jobs.get("COMPLETED", 0) for result in results) == 45
    assert sorted(project.parquet()["n"].to_pylist()) == list(range(45))
    claims = project.query("select count(*) from job_event where event = 'CLAIMED'")
    assert claims == [] or claims[0][0] in (0, 45)


def test_a_seat_is_free_again_when_its_engine_has_ended() -> None:
    first, second = EtlContext.capture(), EtlContext.capture()
    numbers = (first.seat.number, second.seat.number)
    assert numbers[0] != numbers[1]
    assert first.process != second.process
    first.seat.leave()
    third = EtlContext.capture()
    assert third.seat.number == numbers[0]
    assert third.id != first.id
    for context in (second, third):
        context.seat.leave()


# --- stopping ---------------------------------------------------------------------------------


def test_a_running_engine_is_stopped_from_another_thread(
    project: Project, pool: ThreadPoolExecutor
) -> None:
    inline(project)
    engine = Engine(load(project))
    running: Future[RunResult] = pool.submit(engine.run)
    drop(project, 0, 3)
    wait_for(lambda: project.statuses().get("COMPLETED") == 3)
    engine.stop()
    assert dict(running.result(60).jobs) == {"COMPLETED": 3}
    engine.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("casparian-")]


@pytest.mark.parametrize("call", [Engine.run, Engine.drain])
def test_an_engine_stopped_before_it_begins_ends_at_once(
    project: Project, call: Callable[[Engine], RunResult]
) -> None:
    inline(project)
    drop(project, 0, 3)
    engine = Engine(load(project))
    engine.stop()
    engine.stop()
    assert isinstance(call(engine), RunResult)
    engine.close()


def test_an_engine_that_never_ran_leaves_nothing_behind(project: Project) -> None:
    inline(project)
    engine = Engine(load(project))
    engine.close()
    assert not project.database.exists()


def test_a_worker_that_cannot_start_takes_the_scout_with_it(project: Project) -> None:
    inline(project)
    taken = MemoryTransport("taken")
    taken.bind()
    engine = Engine(load(project), transport=MemoryTransport("taken"))
    with pytest.raises(Exception, match="is taken"):
        engine.run()
    engine.close()
    taken.close()
    assert not [t for t in threading.enumerate() if t.name == "casparian-scout"]


# --- ports of one's own, and what comes back --------------------------------------------------


def test_what_failed_comes_back_as_objects(project: Project) -> None:
    inline(project)
    project.drop("bad.csv", "a,b\n1\n")
    engine = Engine(load(project))
    result = engine.drain()
    (failure,) = result.failures
    status = engine.reports.status()
    engine.close()
    assert isinstance(result, DrainResult)
    assert not result.ok
    assert isinstance(failure, FailedJob)
    assert (failure.path, failure.plugin, failure.status) == ("bad.csv", "csv_table", "FAILED")
    assert failure.error_class == "DATA"
    assert "Expected 2 columns" in failure.message
    assert failure.document["error"]["attempts"]
    assert status["jobs"]["FAILED"] == 1


class Counting:
    """A port that counts the calls it hands on."""

    def __init__(self, port: Any) -> None:
        self._port = port
        self.calls: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found):
            return found

        def counted(*args: Any, **options: Any) -> Any:
            self.calls[name] = self.calls.get(name, 0) + 1
            return found(*args, **options)

        return counted


def test_every_port_can_be_ones_own(project: Project) -> None:
    inline(project)
    drop(project, 0, 4)
    queue, transport = open_memory(), Counting(MemoryTransport("own"))
    source, ticks = Counting(LocalFileSource()), []

    def clock() -> int:
        import time

        ticks.append(None)
        return time.time_ns() // 1000

    engine = Engine(load(project), queue=queue, transport=transport, source=source, clock=clock)
    assert dict(engine.drain().jobs) == {"COMPLETED": 4}
    engine.close()
    assert not project.database.exists()
    assert queue.reports.status()["jobs"]["COMPLETED"] == 4
    assert transport.calls["bind"] == 1
    assert source.calls["runs"] >= 1
    assert ticks


def test_an_object_that_keeps_all_ports_of_a_queue_is_one(project: Project) -> None:
    inline(project)
    drop(project, 0, 2)
    queue = MemoryQueue(wall_clock_us)
    engine = Engine(load(project), queue=queue)
    assert dict(engine.drain().jobs) == {"COMPLETED": 2}
    engine.close()
    assert not project.database.exists()
    assert queue.status()["jobs"]["COMPLETED"] == 2


def test_a_queue_alone_stands_before_the_database(project: Project) -> None:
    inline(project)
    drop(project, 0, 2)
    seen: list[str] = []

    class Watching:
        def __init__(self, queue: Any) -> None:
            self._queue = queue

        def claim(self, *arguments: Any) -> list[Claim]:
            claims: list[Claim] = self._queue.claim(*arguments)
            seen.extend(claim.plugin for claim in claims)
            return claims

        def __getattr__(self, name: str) -> Any:
            if name in ("fail", "release", "renew", "reap", "retry", "cancel", "backlog"):
                return getattr(self._queue, name)
            if name in ("next_due_us", "beat", "workers", "wait", "wake", "fail_queued", "lost"):
                return getattr(self._queue, name)
            raise AttributeError(name)

    other = Engine(load(project))
    engine = Engine(load(project), queue=Watching(other.stores.queue))
    assert dict(engine.drain().jobs) == {"COMPLETED": 2}
    engine.close()
    other.close()
    assert seen == ["csv_table"] * 2
    assert project.statuses() == {"COMPLETED": 2}


def test_an_engine_that_cannot_start_leaves_nothing_running(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away in the middle of the start."""
    project.csv_to("parquet://./output")
    drop(project, 0, 1)
    engine = Engine(load(project))

    def away(*_: object) -> None:
        raise UnavailableError("The database is away.")

    before = set(threading.enumerate())
    with monkeypatch.context() as patch:
        patch.setattr(engine.stores.queue, "beat", away)
        with pytest.raises(UnavailableError, match="is away"):
            engine.run()
    engine.close()
    assert set(threading.enumerate()) - before == set()
    again = Engine(load(project))
    assert dict(again.drain().jobs) == {"COMPLETED": 1}
    again.close()


def test_an_engine_ends_whatever_keeps_its_lease_from_being_given_up(
    project: Project, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the right to was taken from it."""
    inline(project)
    drop(project, 0, 1)
    engine = Engine(load(project))
    before = set(threading.enumerate())

    def forbidden(*_: object) -> None:
        raise ConfigurationError("The database refuses what the engine needs.")

    leases = engine.stores.scout_leases
    assert leases is not None
    monkeypatch.setattr(leases, "release", forbidden)
    running = pool.submit(engine.run)
    wait_for(lambda: project.statuses() == {"COMPLETED": 1})
    engine.stop()
    assert dict(running.result(60).jobs) == {"COMPLETED": 1}
    engine.close()
    left = {t.name for t in set(threading.enumerate()) - before if t.name.startswith("casparian-")}
    assert left == set()
