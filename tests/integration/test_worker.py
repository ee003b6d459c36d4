"""A worker among what goes wrong: plugins that fail, sinks that refuse, files that change."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from casparian import DrainResult, Engine, Settings
from casparian.adapters.sink.memory import MemorySink, MemorySinkFactory, MemoryStore
from casparian.app.publisher import Publisher
from casparian.app.verify import ContentCheck
from casparian.domain.errors import ConfigurationError, ErrorClass, JobError, UnavailableError
from casparian.domain.jobs import Claim
from casparian.domain.ports import PromoteItem, Sink, Staging
from casparian.domain.publish import Receipt
from tests.support.project import Project, wait_for

PLUGIN = """
import os, pathlib, time
import pyarrow as pa
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        name = os.path.basename(file_path).split(".")[0]
        text = pathlib.Path(file_path).read_text()
        if name == "fail":
            raise ValueError(f"no number in {text!r}")
        if name == "text":
            self.publish("rows", pa.table({"n": [text]}))
        elif name == "writes":
            self.publish("rows", pa.table({"n": [1]}))
            with open(file_path, "a") as file:
                file.write("more")
        elif name == "waits":
            pathlib.Path(self.config["started"]).touch()
            while not os.path.exists(self.config["go"]):
                time.sleep(0.01)
            self.publish("rows", pa.table({"n": [1]}))
        else:
            self.publish("rows", pa.table({"n": [len(text)]}))
"""


class Bench:
    """A project with one plugin, run in this process: threads for sidecars."""

    def __init__(self, project: Project) -> None:
        self.project = project
        project.plugin("tested", PLUGIN)
        self.started, self.go = project.directory / "started", project.directory / "go"
        self.configure()

    def configure(self, verify: str = "stat", plugin: str = "tested", sink: str = "") -> None:
        table = f"""
        [plugin.{plugin}]
        tags = ["any"]
        settings = {{ started = "{self.started}", go = "{self.go}" }}
        [plugin.{plugin}.topics.rows]
        sink = "{sink or "parquet://./output"}"
        """
        self.project.configure(
            f"""
            [scout]
            settle_s = 0
            interval_s = 0.1
            [worker]
            backoff_s = 0.01
            max_attempts = 3
            verify = "{verify}"
            [plugin_host]
            adapter = "inline"
            [transport]
            adapter = "memory"
            [[source_root]]
            path = "inbox"
            [[rule]]
            pattern = "**"
            tag = "any"
            """
            + (table if plugin else "")
        )

    def engine(self, *roles: str, **overrides: Any) -> Engine:
        settings = Settings.load(self.project.directory / "casparian.toml")
        return Engine(settings, roles or ("scout", "worker"), **overrides)

    def drain(self, *roles: str, **overrides: Any) -> DrainResult:
        engine = self.engine(*roles, **overrides)
        try:
            return engine.drain()
        finally:
            engine.close()

    def scan(self) -> None:
        engine = self.engine("scout")
        engine.apply()
        engine.scan()
        engine.close()

    def rows(self) -> list[int]:
        table = self.project.parquet("rows")
        return sorted(table["n"].to_pylist()) if table.num_rows else []

    def jobs(self) -> list[tuple[str, str, int, str]]:
        """(status, error class, tries, error message) of each job."""
        return self.project.query(
            "select status, coalesce(error_class, ''), tries, coalesce(error_message, '') "
            "from processing_job order by id"
        )


@pytest.fixture
def bench(project: Project) -> Bench:
    return Bench(project)


class TestPlugins:
    def test_a_failure_is_marked_and_the_others_go_on(self, bench: Bench) -> None:
        bench.project.drop("fail.txt", "x")
        for number in range(5):
            bench.project.drop(f"good{number}.txt", "y" * number)
        result = bench.drain()
        assert not result.ok
        assert dict(result.jobs) == {"COMPLETED": 5, "FAILED": 1}
        (failure,) = result.failures
        assert failure.error_class == "DATA"
        assert failure.message == "ValueError: no number in 'x'"
        assert bench.rows() == list(range(5))
        details = bench.project.query("select detail from job_event where event = 'FAILED'")
        assert "tested.py" in str(details)

    def test_one_that_cannot_be_loaded_fails_its_jobs_with_the_reason(self, bench: Bench) -> None:
        bench.project.plugin("tested", "import there_is_no_such_module")
        bench.project.drop("a.txt", "x")
        assert not bench.drain().ok
        ((status, kind, tries, message),) = bench.jobs()
        assert (status, kind, tries) == ("FAILED", "PLUGIN", 1)
        assert "No module named 'there_is_no_such_module'" in message

    def test_one_without_its_file_is_the_configurations_fault(self, bench: Bench) -> None:
        bench.configure(plugin="nowhere")
        with pytest.raises(ConfigurationError, match="nowhere"):
            bench.drain()

    def test_one_that_leaves_the_configuration_finishes_its_running_job(self, bench: Bench) -> None:
        """With the configuration that it had when it began."""
        bench.project.drop("waits.txt", "x")
        bench.scan()
        worker = bench.engine("worker")
        results = _in_background(worker.drain)
        wait_for(bench.started.exists)
        bench.configure(plugin="")
        other = bench.engine("scout")
        other.apply()
        other.close()
        # The worker looks twice a second; the router knows when the lane is gone.
        router = worker.container.worker().router
        wait_for(lambda: not router.pool.lanes)
        bench.go.touch()
        results()
        worker.close()
        assert [job[:3] for job in bench.jobs()] == [("COMPLETED", "", 0)]
        assert bench.rows() == [1]
        assert bench.project.stagings() == []


def _in_background(work: Callable[[], Any]) -> Callable[[], Any]:
    """Start it in a thread; the answer waits for its result."""
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)

    def result() -> Any:
        try:
            return future.result(60)
        finally:
            pool.shutdown()

    return result


class Faulty(MemorySinkFactory):
    """A sink that fails by the test's wish: `stagings` and `promotes` are errors to come,
    `unusable` what is wrong with a location."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.store = self._store
        self.stagings: list[Exception] = []
        self.promotes: list[Receipt | Exception | str] = []
        self.unusable: dict[str, Exception] = {}

    def open(self, location: str) -> Sink:
        return _FaultySink(self, location)

    def rows(self) -> list[int]:
        tables = [slot.rows for slot in self.store.slots.values() if slot.rows is not None]
        return sorted(n for table in tables for n in table["n"].to_pylist())


class _FaultySink(MemorySink):
    def __init__(self, faults: Faulty, location: str) -> None:
        super().__init__(faults.store, location)
        self._faults = faults

    def check(self) -> None:
        if self.location in self._faults.unusable:
            raise self._faults.unusable[self.location]
        super().check()

    def stage(self, *arguments: Any) -> Staging:
        if self._faults.stagings:
            raise self._faults.stagings.pop(0)
        return super().stage(*arguments)

    def promote(self, items: Sequence[PromoteItem]) -> list[Receipt]:
        if not self._faults.promotes:
            return super().promote(items)
        fault = self._faults.promotes.pop(0)
        if isinstance(fault, Exception):
            raise fault
        return [Receipt(job.item, None, str(fault)) for job in items]


class TestSinks:
    @pytest.fixture
    def faulty(self, bench: Bench) -> Faulty:
        bench.configure(sink="memory://here")
        bench.project.drop("a.txt", "xyz")
        return Faulty()

    def test_rows_that_do_not_fit_are_refused_with_both_schemas(self, bench: Bench) -> None:
        bench.project.drop("a.txt", "xyz")
        assert bench.drain().ok
        bench.project.drop("text.txt", "not a number")
        (failure,) = bench.drain().failures
        assert failure.error_class == "SCHEMA_DRIFT"
        assert "n: int64" in failure.message
        assert "n: string" in failure.message
        assert bench.rows() == [3]
        assert bench.project.stagings() == []

    def test_one_that_cannot_be_used_when_its_plugin_comes_is_looked_at_again(
        self, bench: Bench, faulty: Faulty, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever is said of it, and nobody else waits for it."""
        monkeypatch.setattr("casparian.app.live_plugins.REFUSED_AGE_S", 0.05)
        bench.configure()  # A worker looks at its sinks when it starts, and would not.
        engine = bench.engine(sinks={"memory": faulty})
        result = _in_background(engine.run)
        wait_for(lambda: bench.project.statuses() == {"COMPLETED": 1})
        late = faulty.unusable
        for name, error in (
            ("away", UnavailableError("the server does not answer")),
            ("full", ConfigurationError("it needs room to write")),
        ):
            late[name] = error
            bench.project.plugin(name, PLUGIN)
            config = bench.project.directory / "casparian.toml"
            config.write_text(
                config.read_text()
                + f"""
                [plugin.{name}]
                tags = ["any"]
                [plugin.{name}.topics.rows]
                sink = "memory://{name}"
                """
            )
        other = bench.engine("scout", sinks={"memory": faulty})
        other.apply()
        other.close()
        worker, reasons = engine.container.worker(), {n: str(error) for n, error in late.items()}
        wait_for(lambda: dict(worker.refused_plugins()) == reasons)
        bench.project.drop("b.txt", "vwxyz")
        wait_for(lambda: bench.rows() == [3, 5])
        assert bench.project.statuses() == {"COMPLETED": 2, "QUEUED": 4}
        late.clear()
        wait_for(lambda: bench.project.statuses() == {"COMPLETED": 6})
        engine.stop()
        result()
        engine.close()

    def test_a_full_disk_is_waited_for_and_costs_no_try(self, bench: Bench, faulty: Faulty) -> None:
        full = OSError(errno.ENOSPC, "No space left on device")
        faulty.stagings = [full] * 5
        assert bench.drain(sinks={"memory": faulty}).ok
        assert [job[:3] for job in bench.jobs()] == [("COMPLETED", "", 0)]
        assert faulty.rows() == [3]
        assert faulty.store.staged == {}

    def test_what_a_sink_refuses_is_final(self, bench: Bench, faulty: Faulty) -> None:
        faulty.stagings = [JobError(ErrorClass.FOREIGN_ROWS, "rows of somebody else")]
        (failure,) = bench.drain(sinks={"memory": faulty}).failures
        assert failure.error_class == "FOREIGN_ROWS"
        assert faulty.rows() == []

    def test_a_decided_job_is_promoted_until_it_works(
        self, bench: Bench, faulty: Faulty, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("casparian.app.promoter.FIRST_WAIT_S", 0.001)
        monkeypatch.setattr("casparian.app.promoter.LONGEST_WAIT_S", 0.002)
        faulty.promotes = [OSError(errno.EIO, "I/O error")] * 15 + ["not yet"] * 9
        assert bench.drain(sinks={"memory": faulty}).ok
        assert faulty.rows() == [3]

    def test_want_of_memory_while_it_is_promoted_is_waited_for(
        self, bench: Bench, faulty: Faulty, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("casparian.app.promoter.FIRST_WAIT_S", 0.001)
        monkeypatch.setattr("casparian.app.promoter.LONGEST_WAIT_S", 0.002)
        faulty.promotes = [MemoryError("64 GB")] * 15
        assert bench.drain(sinks={"memory": faulty}).ok
        assert faulty.rows() == [3]

    def test_want_of_memory_while_it_is_decided_is_waited_for(
        self, bench: Bench, faulty: Faulty, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("casparian.app.publisher.RETRY_WAIT_S", 0.001)
        failing = iter([MemoryError("64 GB")] * 3)

        def sync(sink: MemorySink, keys: object) -> None:
            for error in failing:
                raise error

        monkeypatch.setattr(MemorySink, "sync", sync)
        assert bench.drain(sinks={"memory": faulty}).ok
        assert [job[:3] for job in bench.jobs()] == [("COMPLETED", "", 0)]
        assert faulty.rows() == [3]

    def test_one_that_never_can_be_is_blocked_and_said_so(
        self, bench: Bench, faulty: Faulty, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("casparian.app.promoter.FIRST_WAIT_S", 0.001)
        faulty.promotes = ["the target has rows of somebody else"] * 10
        result = bench.drain(sinks={"memory": faulty})
        assert dict(result.jobs) == {"BLOCKED": 1}
        (failure,) = result.failures
        assert failure.status == "BLOCKED"
        assert "rows of somebody else" in failure.message
        # What it staged is kept for the operator's retry.
        assert len(faulty.store.staged) == 1


MODES = ["stat", "hash", "snapshot"]


class TestSources:
    @pytest.mark.parametrize("verify", MODES)
    def test_what_is_unchanged_is_published(self, bench: Bench, verify: str) -> None:
        bench.configure(verify)
        bench.project.drop("a b/caf\u00e9.txt", "xyz")
        assert bench.drain().ok
        assert bench.rows() == [3]
        assert list(bench.project.directory.glob("run/snapshots/*/*/*")) == []

    @pytest.mark.parametrize("verify", MODES)
    def test_what_changed_since_the_scan_is_superseded_by_what_it_is_now(
        self, bench: Bench, verify: str
    ) -> None:
        bench.configure(verify)
        file = bench.project.drop("a.txt", "xyz")
        bench.scan()
        file.write_text("wxyz")
        assert bench.drain().ok
        assert [job[0] for job in bench.jobs()] == ["SUPERSEDED", "COMPLETED"]
        assert bench.rows() == [4]

    @pytest.mark.parametrize("verify", MODES)
    def test_where_nobody_scans_it_fails_after_its_tries(self, bench: Bench, verify: str) -> None:
        bench.configure(verify)
        file = bench.project.drop("a.txt", "xyz")
        bench.scan()
        file.write_text("wxyz")
        assert not bench.drain("worker").ok
        ((status, kind, tries, message),) = bench.jobs()
        assert (status, kind, tries) == ("FAILED", "SOURCE_CHANGED", 3)
        assert "the next scan records what it is now" in message
        assert bench.rows() == []

    @pytest.mark.parametrize("verify", MODES)
    def test_what_is_gone_fails_at_once(self, bench: Bench, verify: str) -> None:
        bench.configure(verify)
        file = bench.project.drop("a.txt", "xyz")
        bench.scan()
        file.unlink()
        assert not bench.drain("worker").ok
        ((status, kind, tries, message),) = bench.jobs()
        assert (status, kind, tries) == ("FAILED", "SOURCE_GONE", 1)
        assert "put it back" in message

    @pytest.mark.parametrize("verify", ["stat", "hash"])
    def test_what_changes_while_it_is_read_is_not_published(
        self, bench: Bench, verify: str
    ) -> None:
        """Whoever writes, here the plugin itself: nobody knows what was read."""
        bench.configure(verify)
        bench.project.drop("writes.txt", "x")
        bench.scan()
        assert not bench.drain("worker").ok
        assert [job[:2] for job in bench.jobs()] == [("FAILED", "SOURCE_CHANGED")]
        assert bench.rows() == []
        assert bench.project.stagings() == []

    @pytest.mark.parametrize(
        ("error", "kind", "tries"),
        [
            (MemoryError("64 GB"), ErrorClass.INFRASTRUCTURE, 0),
            (ValueError("odd"), ErrorClass.ENGINE, 1),
        ],
    )
    def test_whatever_keeps_a_file_from_being_prepared_the_job_is_let_go(
        self,
        bench: Bench,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
        kind: ErrorClass,
        tries: int,
    ) -> None:
        failing, prepare = iter([error]), ContentCheck.prepare

        def prepared(check: ContentCheck, *arguments: Any) -> Claim:
            for error in failing:
                raise error
            return prepare(check, *arguments)

        monkeypatch.setattr(ContentCheck, "prepare", prepared)
        bench.project.drop("a.txt", "xyz")
        bench.project.drop("b.txt", "vwxyz")
        assert bench.drain().ok
        assert [job[:3] for job in bench.jobs()] == [
            ("COMPLETED", "", tries),
            ("COMPLETED", "", 0),
        ]
        (failed,) = bench.project.query(
            "select error_class from job_event where event = 'REQUEUED'"
        )
        assert failed == (kind,)
        assert bench.rows() == [3, 5]

    def test_a_snapshot_is_the_plugins_to_write_to(self, bench: Bench) -> None:
        bench.configure("snapshot")
        file = bench.project.drop("writes.txt", "x")
        assert bench.drain().ok
        assert bench.rows() == [1]
        assert file.read_text() == "x"


class TestStop:
    def test_stop_finishes_what_is_held(self, bench: Bench) -> None:
        bench.project.drop("waits.txt", "x")
        engine = bench.engine()
        result = _in_background(engine.run)
        wait_for(bench.started.exists)
        engine.stop()
        bench.go.touch()
        result()
        engine.close()
        assert [job[0] for job in bench.jobs()] == ["COMPLETED"]
        assert bench.rows() == [1]

    def test_a_second_stop_does_not_wait_for_it(self, bench: Bench) -> None:
        bench.project.drop("waits.txt", "x")
        engine = bench.engine()
        result = _in_background(engine.run)
        wait_for(bench.started.exists)
        engine.stop()
        engine.stop()
        result()
        engine.close()
        bench.go.touch()
        assert [job[0] for job in bench.jobs()] == ["RUNNING"]
        # The next worker takes it over: this one said that it has stopped.
        assert bench.drain().ok
        assert bench.rows() == [1]


def test_a_right_that_is_taken_away_for_a_moment_costs_no_try(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casparian.app.publisher.RETRY_WAIT_S", 0.001)
    bench.project.drop("a.txt", "xyz")
    engine = bench.engine()
    ledger = engine.stores.ledger
    decide, failing = ledger.decide, iter(range(3))

    def decided(*arguments: Any) -> Any:
        for _ in failing:
            raise ConfigurationError("the database refuses what the engine needs")
        return decide(*arguments)

    monkeypatch.setattr(ledger, "decide", decided)
    assert engine.drain().ok
    engine.close()
    assert [job[:3] for job in bench.jobs()] == [("COMPLETED", "", 0)]
    events = bench.project.query("select event from job_event where event = 'REAPED'")
    assert (bench.rows(), events) == ([3], [])


def test_what_goes_wrong_in_the_publisher_again_and_again_is_paused_between(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would fill the log, and leave a core for nothing else."""
    paused: list[int] = []
    failing = iter(range(3))
    monkeypatch.setattr(Publisher, "_pause", lambda publisher: paused.append(1))
    bench.project.drop("a.txt", "xyz")
    engine = bench.engine()
    fail = engine.stores.queue.fail

    def failed(*arguments: Any) -> Any:
        for _ in failing:
            raise ValueError("odd")
        return fail(*arguments)

    monkeypatch.setattr(engine.stores.queue, "fail", failed)
    bench.project.drop("fail.txt", "xyz")
    assert not engine.drain().ok
    engine.close()
    assert len(paused) == 3
    assert bench.rows() == [3]


def test_a_transport_that_cannot_be_bound_is_said(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from casparian.adapters.transport.memory import MemoryTransport

    monkeypatch.setenv("CASPARIAN_TRANSPORT__ENDPOINT", "taken")
    taken = MemoryTransport("taken")
    taken.bind()
    try:
        with pytest.raises(ConfigurationError, match="is taken"):
            bench.drain()
    finally:
        taken.close()


def test_work_begins_without_waiting_for_a_tick(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The router sleeps until somebody wakes it: whoever has news does."""
    monkeypatch.setattr("casparian.domain.pool.Pool.next_timer", lambda pool, now: 3600.0)
    for number in range(10):
        bench.project.drop(f"good{number}.txt", "y" * number)
    engine = bench.engine()
    result = _in_background(engine.drain)
    assert result().ok
    engine.close()
    assert bench.rows() == list(range(10))
