"""How a job ends, and who goes on: given up, stopped, failed, the engine gone."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pytest

from casparian.domain.errors import ErrorClass
from casparian.domain.messages import Alive, Control, Done, Failed, Register
from casparian.sdk.plugin import BasePlugin
from tests.unit.runtime.bench import PATIENCE_S, TABLE, Bench, Engine, Publishes, Start


class Waits(BasePlugin):
    """Publishes once, waits until it is let go on, publishes again."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.again = True

    def execute(self, file_path: str) -> None:
        self.publish("rows", TABLE)
        assert self.go_on.wait(PATIENCE_S)
        if self.again:
            try:
                self.publish("rows", TABLE)
            except Exception as error:
                # A careless plugin: giving a job up must get past it.
                raise AssertionError("swallowed") from error


class TestEnds:
    def test_a_job_given_up_ends_at_the_next_publish_and_the_sidecar_lives(
        self, engine: Engine, start: Start
    ) -> None:
        plugin = Waits()
        bench = start(plugin)
        engine.job(1)
        engine.until(engine.batches)
        engine.say(Control(abandon=1))
        engine.until(lambda: bench.runtime.session.abandoned)
        plugin.go_on.set()
        failed = engine.end(1)
        assert isinstance(failed, Failed)
        assert failed.message == "the engine gave the job up"
        # It idles for a while, as there is no next job yet.
        beats = len(engine.of(Alive))
        engine.until(lambda: len(engine.of(Alive)) > beats + 3)
        assert bench.thread.is_alive()
        engine.job(2)
        assert isinstance(engine.end(2), Done)

    def test_giving_up_wakes_who_waits_for_credit(self, engine: Engine, start: Start) -> None:
        engine.returns_credit = False
        start(Publishes(pa.table({"n": range(100_000)})), window=64 << 10)
        engine.job(1)
        engine.until(engine.batches)
        engine.say(Control(abandon=1))
        assert isinstance(engine.end(1), Failed)

    def test_given_up_too_late_the_job_is_done(self, engine: Engine, start: Start) -> None:
        plugin = Waits()
        plugin.again = False
        bench = start(plugin)
        engine.job(1)
        engine.until(engine.batches)
        engine.say(Control(abandon=1))
        engine.until(lambda: bench.runtime.session.abandoned)
        plugin.go_on.set()
        assert isinstance(engine.end(1), Done)
        engine.job(2)
        assert isinstance(engine.end(2), Done)

    def test_stop_in_mid_job_lets_it_and_those_it_holds_finish(
        self, engine: Engine, start: Start
    ) -> None:
        plugin = Waits()
        bench = start(plugin)
        engine.job(1)
        engine.job(2)
        engine.until(engine.batches)
        engine.say(Control(stop=True))
        plugin.go_on.set()
        assert isinstance(engine.end(1), Done)
        assert isinstance(engine.end(2), Done)
        bench.ended()
        assert bench.raised == []
        assert bench.begun == [1, 2]

    @pytest.mark.parametrize("where", ["idle", "waiting for credit"])
    def test_an_engine_that_is_gone_ends_it(self, engine: Engine, start: Start, where: str) -> None:
        engine.returns_credit = False
        bench = start(Publishes(pa.table({"n": range(100_000)})), window=64 << 10)
        if where != "idle":
            engine.job(1)
            engine.until(engine.batches)
        engine.transport.close()
        bench.thread.join(PATIENCE_S)
        assert not bench.thread.is_alive()
        assert ["closed the connection" in str(error) for error in bench.raised] == [True]

    @pytest.mark.parametrize(
        ("error", "error_class", "text"),
        [
            (ValueError("line 3"), ErrorClass.DATA, "ValueError: line 3"),
            (ValueError(), ErrorClass.DATA, "ValueError: (no message)"),
            (SystemExit(3), ErrorClass.DATA, "the plugin called sys.exit(3)"),
            (KeyboardInterrupt(), ErrorClass.DATA, "KeyboardInterrupt"),
            (MemoryError("64 GB"), ErrorClass.OOM, "MemoryError: 64 GB"),
            (pa.ArrowMemoryError("malloc"), ErrorClass.OOM, "malloc"),
            (RuntimeError("can't start new thread"), ErrorClass.OOM, "new thread"),
            (ValueError("\U0001f600" * 100_000), ErrorClass.DATA, "characters left out"),
        ],
    )
    def test_what_a_plugin_raises_ends_its_job_only(
        self,
        engine: Engine,
        start: Start,
        error: BaseException,
        error_class: ErrorClass,
        text: str,
    ) -> None:
        class Raises(BasePlugin):
            def execute(self, file_path: str) -> None:
                raise type(error)(*error.args)

        start(Raises())
        for number in (1, 2):
            engine.job(number)
            failed = engine.end(number)
            assert isinstance(failed, Failed)
            assert failed.error_class is error_class
            assert text in failed.message
            # From the plugin's own first frame on.
            assert "sdk/runtime.py" not in failed.detail

    def test_a_generator_that_raises_is_told_without_the_way_through_here(
        self, engine: Engine, start: Start
    ) -> None:
        class Yields(BasePlugin):
            def execute(self, file_path: str) -> None:
                self.publish("rows", self.rows())

            def rows(self) -> Iterator[dict[str, int]]:
                yield {"n": 1}
                try:
                    yield {"n": int("x")}
                except ValueError as error:
                    raise KeyError("n") from error

        start(Yields())
        engine.job(1)
        failed = engine.end(1)
        assert isinstance(failed, Failed)
        assert "casparian/sdk/" not in failed.detail
        assert "in execute" in failed.detail
        assert failed.detail.count("in rows") == 2
        assert "invalid literal" in failed.detail

    def test_a_plugin_that_cannot_be_configured_says_so(self, engine: Engine) -> None:
        class Picky(BasePlugin):
            def configure(self, ctx: Any, config: Mapping[str, Any]) -> None:
                raise KeyError("delimiter")

        bench = Bench(engine, Picky())
        bench.ended()
        (register,) = engine.of(Register)
        assert "configure() of plugin tested failed: KeyError: 'delimiter'" in register.failure
        assert "Traceback" in register.failure
