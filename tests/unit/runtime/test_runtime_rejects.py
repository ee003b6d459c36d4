"""Rejected rows on their way: together, within the credit, with the job that they are of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pytest

from casparian.domain.messages import Alive, Control, Data, Done, Failed, Register
from casparian.domain.plugins import REJECTS_TOPIC
from casparian.domain.wire import Flag, credit_for
from casparian.sdk import rejects as sdk_rejects
from casparian.sdk.plugin import BasePlugin
from casparian.sdk.rejects import MOST_BYTES, MOST_ROWS, REJECTS_SCHEMA
from tests.unit.runtime.bench import TABLE, WINDOW, Engine, Start


class Rejecting(BasePlugin):
    """Does with itself what it was made with."""

    def __init__(self, what: Callable[[BasePlugin], None]) -> None:
        self.what = what

    def execute(self, file_path: str) -> None:
        self.what(self)


class TestRejects:
    def test_they_arrive_together_at_the_end(self, engine: Engine, start: Start) -> None:
        def rejects(plugin: BasePlugin) -> None:
            for n in range(10):
                plugin.reject(b"raw %d" % n, f"reason {n}", line=n + 1, offset=10 * n, topic="rows")
                plugin.publish("rows", TABLE)
            plugin.reject("tëxt\udcff", "no place")

        start(Rejecting(rejects))
        engine.job(1)
        done = engine.end(1)
        assert isinstance(done, Done), done
        assert done.topics[REJECTS_TOPIC].rows == 11
        assert done.topics["rows"].rows == 30
        (batch,) = engine.batches(REJECTS_TOPIC)
        assert batch.schema == REJECTS_SCHEMA
        rows = batch.to_pylist()
        assert rows[3] == {
            "topic": "rows",
            "line": 4,
            "offset": 30,
            "raw": b"raw 3",
            "reason": "reason 3",
        }
        assert rows[10] == {
            "topic": None,
            "line": None,
            "offset": None,
            "raw": "tëxt".encode() + b"\xff",
            "reason": "no place",
        }
        assert [m.sequence for m in engine.of(Data)] == list(range(len(engine.of(Data))))

    def test_memory_is_bounded_by_rows_and_by_bytes(self, engine: Engine, start: Start) -> None:
        def rejects(plugin: BasePlugin) -> None:
            for _ in range(2 * MOST_ROWS + 1):
                plugin.reject(b"x", "many")
            for _ in range(5):
                plugin.reject(bytes(MOST_BYTES // 2), "large")

        start(Rejecting(rejects), window=4 * MOST_BYTES)
        engine.job(1)
        assert isinstance(engine.end(1), Done)
        batches = engine.batches(REJECTS_TOPIC)
        assert [b.num_rows for b in batches] == [MOST_ROWS, MOST_ROWS, 3, 2, 1]

    def test_old_ones_go_with_what_is_published(
        self, engine: Engine, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def rejects(plugin: BasePlugin) -> None:
            monkeypatch.setattr(sdk_rejects, "LONGEST_WAIT_S", 3600.0)
            plugin.reject(b"1", "first")
            monkeypatch.setattr(sdk_rejects, "LONGEST_WAIT_S", 0.0)
            plugin.publish("rows", TABLE)
            plugin.publish("rows", TABLE)

        start(Rejecting(rejects))
        engine.job(1)
        assert isinstance(engine.end(1), Done)
        sent = [(m.topic == REJECTS_TOPIC, m.flags) for m in engine.of(Data)]
        assert sent == [
            (False, Flag.STREAM),
            (True, Flag.STREAM),
            (False, Flag(0)),
        ]

    def test_they_wait_for_credit(self, engine: Engine, start: Start) -> None:
        engine.returns_credit = False
        window = 64 << 10

        def rejects(plugin: BasePlugin) -> None:
            for n in range(5000):
                plugin.reject(b"%05d" % n + bytes(45), "more than the window", line=n + 1)

        start(Rejecting(rejects), window=window)
        engine.job(1)
        engine.until(lambda: sum(engine.payloads()) > window // 2)
        beats = len(engine.of(Alive))
        engine.until(lambda: len(engine.of(Alive)) > beats + 10)
        assert sum(engine.payloads()) <= window
        engine.returns_credit = True
        engine.say(Control(credit=sum(map(credit_for, engine.payloads()))))
        assert isinstance(engine.end(1), Done)
        rows = pa.Table.from_batches(engine.batches(REJECTS_TOPIC))
        assert rows["line"].to_pylist() == list(range(1, 5001))

    def test_while_an_iterable_is_published(self, engine: Engine, start: Start) -> None:
        def rejects(plugin: BasePlugin) -> None:
            def rows() -> Iterator[dict[str, int]]:
                for n in range(3 * MOST_ROWS):
                    if n % 2:
                        yield {"n": n}
                    else:
                        plugin.reject(str(n), "even")

            plugin.publish("rows", rows())

        start(Rejecting(rejects))
        engine.job(1)
        done = engine.end(1)
        assert isinstance(done, Done), done
        assert {name: t.rows for name, t in done.topics.items()} == {
            "rows": 3 * MOST_ROWS // 2,
            REJECTS_TOPIC: 3 * MOST_ROWS // 2,
        }

    def test_those_of_a_job_that_fails_are_no_other_jobs(
        self, engine: Engine, start: Start
    ) -> None:
        def rejects(plugin: BasePlugin) -> None:
            plugin.reject(b"x", "mine")
            if plugin.ctx.job_id == 1:
                raise ValueError("no")

        start(Rejecting(rejects))
        engine.job(1)
        engine.job(2)
        assert isinstance(engine.end(1), Failed)
        done = engine.end(2)
        assert isinstance(done, Done)
        assert done.topics[REJECTS_TOPIC].rows == 1
        assert {m.job_id for m in engine.of(Data)} == {2}

    def test_a_job_that_is_given_up_stops_in_reject(self, engine: Engine, start: Start) -> None:
        def rejects(plugin: BasePlugin) -> None:
            while True:
                plugin.reject(b"x", "for ever")

        start(Rejecting(rejects))
        engine.job(1)
        engine.until(lambda: engine.of(Data))
        engine.say(Control(abandon=1))
        failed = engine.end(1)
        assert isinstance(failed, Failed)
        assert "gave the job up" in failed.message

    @pytest.mark.parametrize(
        ("arguments", "more", "text"),
        [
            ((7, "reason"), {}, "as bytes or text, not as int"),
            ((b"x", ""), {}, "a reject's reason is a text"),
            ((b"x", 7), {}, "a reject's reason is a text"),
            ((b"x", "r"), {"line": 0}, "a reject's line is 0, it counts from 1"),
            ((b"x", "r"), {"offset": -1}, "a reject's offset is -1, it counts from 0"),
            ((b"x", "r"), {"line": "3"}, "TypeError"),
            ((b"x", "r"), {"topic": "a/b"}, "The topic name 'a/b'"),
            ((bytes(2 * WINDOW), "r"), {}, "one row of topic '_rejects' takes 2"),
        ],
    )
    def test_what_cannot_be_rejected_fails_the_job(
        self, engine: Engine, start: Start, arguments: Any, more: dict[str, Any], text: str
    ) -> None:
        start(Rejecting(lambda plugin: plugin.reject(*arguments, **more)))
        engine.job(1)
        failed = engine.end(1)
        assert isinstance(failed, Failed)
        assert text in failed.message

    def test_only_within_execute(self, engine: Engine, start: Start) -> None:
        class Early(BasePlugin):
            def configure(self, ctx: Any, config: Mapping[str, Any]) -> None:
                ctx.reject(b"x", "too early")

        start(Early())
        (register,) = engine.of(Register)
        assert "reject() works only inside execute()" in register.failure

    def test_a_long_reason_is_cut_with_a_mark(self, engine: Engine, start: Start) -> None:
        start(Rejecting(lambda plugin: plugin.reject(b"x", "y" * 100_000)))
        engine.job(1)
        assert isinstance(engine.end(1), Done)
        (row,) = engine.batches(REJECTS_TOPIC)[0].to_pylist()
        assert len(row["reason"]) < 10_000
        assert "characters left out" in row["reason"]
