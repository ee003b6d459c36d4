"""What is published arrives within the credit; heartbeats go on while `publish` waits."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest

from casparian.domain.messages import Alive, Control, Done, Failed
from casparian.domain.wire import credit_for
from tests.unit.runtime.bench import SECRET, TABLE, WINDOW, Engine, Publishes, Start


class TestCredit:
    def test_batches_are_split_below_the_window(self, engine: Engine, start: Start) -> None:
        window = 64 << 10
        table = pa.table({"n": range(50_000), "text": [f"{n:040}" for n in range(50_000)]})
        start(Publishes(table), window=window)
        engine.job(1)
        assert isinstance(engine.end(1), Done)
        assert max(engine.payloads()) <= window
        assert pa.Table.from_batches(engine.batches()).equals(table.combine_chunks())

    @pytest.mark.parametrize("kind", [pa.string_view(), pa.list_(pa.string()), pa.bool_()])
    def test_of_any_type(self, engine: Engine, start: Start, kind: pa.DataType) -> None:
        texts = [f"a text that is longer than a view holds {n:020}" for n in range(20_000)]
        column = {
            pa.string_view(): lambda: pa.array(texts, pa.string_view()),
            pa.list_(pa.string()): lambda: pa.array([[t, t] for t in texts]),
            pa.bool_(): lambda: pa.array([n % 3 == 0 for n in range(2_000_000)]),
        }[kind]()
        window = 128 << 10
        start(Publishes(pa.table({"c": column})), window=window)
        engine.job(1)
        done = engine.end(1)
        assert isinstance(done, Done), done
        assert max(engine.payloads()) <= window
        assert len(engine.payloads()) < 200
        assert pa.Table.from_batches(engine.batches())["c"].to_pylist() == column.to_pylist()

    def test_a_large_frame_of_polars(self, engine: Engine, start: Start) -> None:
        """Its texts are views: each row refers to a buffer that all share."""
        texts = [f"a text that is longer than a view holds {n:020}" for n in range(30_000)]
        frame = pl.DataFrame({"t": texts, "l": [[text] for text in texts]}, schema={
            "t": pl.String, "l": pl.List(pl.String)
        })  # fmt: skip
        assert any(pa.types.is_string_view(kind) for kind in frame.to_arrow(
            compat_level=pl.CompatLevel.newest()).schema.types)  # fmt: skip
        window = 256 << 10
        start(Publishes(frame, frame.slice(10, 3)), window=window)
        engine.job(1)
        done = engine.end(1)
        assert isinstance(done, Done), done
        assert max(engine.payloads()) <= window
        assert sum(engine.payloads()) < 2 * frame.estimated_size()
        arrived = pa.Table.from_batches(engine.batches())
        assert arrived["t"].to_pylist() == [*texts, *texts[10:13]]
        assert arrived["l"].to_pylist()[-1] == [texts[12]]

    def test_rows_of_very_different_sizes(self, engine: Engine, start: Start) -> None:
        window = 64 << 10
        texts = ["x" * 20_000 if n % 50 == 0 else "y" for n in range(1000)]
        start(Publishes(pa.table({"text": texts})), window=window)
        engine.job(1)
        assert isinstance(engine.end(1), Done)
        assert max(engine.payloads()) <= window
        assert pa.Table.from_batches(engine.batches())["text"].to_pylist() == texts

    def test_a_row_larger_than_the_window_fails_its_job_only(
        self, engine: Engine, start: Start
    ) -> None:
        start(Publishes(pa.table({"text": ["x", "x" * 100_000]})), window=64 << 10)
        for number in (1, 2):
            engine.job(number)
            failed = engine.end(number)
            assert isinstance(failed, Failed)
            assert "one row of topic 'rows' takes 100" in failed.message
            assert f"at most {(64 << 10) - credit_for(0)} can be sent" in failed.message

    def test_publish_waits_and_heartbeats_go_on(self, engine: Engine, start: Start) -> None:
        engine.returns_credit = False
        window = 64 << 10
        bench = start(Publishes(pa.table({"n": range(100_000)})), window=window)
        engine.job(1)
        engine.until(lambda: sum(engine.payloads()) > window // 2)
        beats = len(engine.of(Alive))
        engine.until(lambda: len(engine.of(Alive)) > beats + 10)
        assert sum(engine.payloads()) <= window
        assert engine.of(Alive)[-1] == Alive(SECRET, 1)
        assert not engine.of(Done)
        engine.returns_credit = True
        engine.say(Control(credit=sum(map(credit_for, engine.payloads()))))
        assert isinstance(engine.end(1), Done)
        bench.stop()
        assert bench.raised == []

    def test_publish_before_the_window_is_known_waits_for_it(
        self, engine: Engine, start: Start
    ) -> None:
        bench = start(Publishes(TABLE), window=0)
        engine.job(1)
        engine.until(lambda: Alive(SECRET, 1) in engine.of(Alive))
        engine.say(Control(credit=WINDOW))
        assert isinstance(engine.end(1), Done)
        bench.stop()
