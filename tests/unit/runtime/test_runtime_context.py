"""What a plugin sees of its job while it runs; its name and its threads are its own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from casparian.domain.messages import Data, Done
from casparian.sdk.plugin import BasePlugin
from tests.unit.runtime.bench import TABLE, Engine, Start


class TestContext:
    def test_shows_the_current_job_only_while_it_runs(self, engine: Engine, start: Start) -> None:
        seen: list[Any] = []

        class Looks(BasePlugin):
            def configure(self, ctx: Any, config: Mapping[str, Any]) -> None:
                super().configure(ctx, config)
                seen.append(dict(config))
                with pytest.raises(RuntimeError, match="no current job"):
                    _ = ctx.job
                with pytest.raises(RuntimeError, match="only inside execute"):
                    ctx.publish("rows", TABLE)

            def execute(self, file_path: str) -> None:
                ctx = self.ctx
                assert ctx.job.job_id == ctx.job_id
                seen.append((ctx.job_id, ctx.attempt, ctx.file_version_id, ctx.path, file_path))

        bench = start(Looks())
        engine.job(7, "/in/a.csv")
        engine.job(8, "/in/b.csv")
        assert isinstance(engine.end(8), Done)
        bench.stop()
        assert seen == [
            {"a": 1},
            (7, 1, 107, "in/a.csv", "/in/a.csv"),
            (8, 1, 108, "in/b.csv", "/in/b.csv"),
        ]

    def test_log_lines_name_the_job(
        self, engine: Engine, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Speaks(BasePlugin):
            def execute(self, file_path: str) -> None:
                self.ctx.logger.warning("%s rows", 3)

        start(Speaks())
        engine.job(7)
        engine.end(7)
        assert "[job=7 attempt=1 version=107 path='in/f.csv'] 3 rows" in caplog.text

    def test_other_threads_of_the_plugin_may_publish(self, engine: Engine, start: Start) -> None:
        class Threads(BasePlugin):
            def execute(self, file_path: str) -> None:
                threads = [
                    threading.Thread(target=self.publish, args=(f"t{n}", TABLE)) for n in range(4)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()

        start(Threads())
        engine.job(1)
        done = engine.end(1)
        assert isinstance(done, Done)
        assert {name: total.rows for name, total in done.topics.items()} == {
            f"t{n}": 3 for n in range(4)
        }
        assert [m.sequence for m in engine.of(Data)] == list(range(4))


def test_a_plugin_may_have_the_name_of_a_standard_module() -> None:
    import json

    from casparian.sdk.loader import load_handler

    code = (
        b"class Handler:\n def configure(self, ctx, config): ...\n def execute(self, path): ...\n"
    )
    assert type(load_handler("json", code)).__module__ == "casparian_plugin_json"
    assert sys.modules["json"] is json
