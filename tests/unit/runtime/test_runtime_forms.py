"""What a plugin may publish, and how it travels: all forms arrive as the same rows, in order."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from casparian.domain.errors import ErrorClass
from casparian.domain.messages import Data, Done, Failed
from casparian.domain.wire import Flag
from casparian.sdk import gather as sdk_gather
from casparian.sdk.plugin import BasePlugin
from tests.unit.runtime.bench import TABLE, Engine, Publishes, Start


class TestForms:
    @pytest.mark.parametrize(
        "data",
        [
            TABLE,
            TABLE.to_batches()[0],
            lambda: pa.RecordBatchReader.from_batches(TABLE.schema, TABLE.to_batches()),
            pd.DataFrame({"n": [1, 2, 3], "text": ["a", None, "c"]}),
            pl.DataFrame({"n": [1, 2, 3], "text": ["a", None, "c"]}),
            [{"n": 1, "text": "a"}, {"n": 2}, {"n": 3, "text": "c"}],
            lambda: ({"n": n, "text": t} for n, t in ((1, "a"), (2, None), (3, "c"))),
        ],
        ids=["Table", "RecordBatch", "reader", "pandas", "polars", "dicts", "generator"],
    )
    def test_all_arrive_as_the_same_rows(self, engine: Engine, start: Start, data: Any) -> None:
        plugin = Publishes(data() if callable(data) else data)
        start(plugin)
        engine.job(1)
        done = engine.end(1)
        assert isinstance(done, Done), done
        assert pa.Table.from_batches(engine.batches()).to_pylist() == TABLE.to_pylist()
        assert plugin.rows == [3]
        assert done.topics["rows"].rows == 3
        assert done.topics["rows"].batches == 1
        assert done.topics["rows"].bytes == sum(engine.payloads())

    def test_a_schema_is_sent_once_and_again_when_it_changes(
        self, engine: Engine, start: Start
    ) -> None:
        start(Publishes(TABLE, TABLE, TABLE.select(["n"]), TABLE))
        engine.job(1)
        engine.job(2)
        engine.end(2)
        schemas = [m.flags for m in engine.of(Data) if m.job_id == 1]
        assert schemas == [Flag.STREAM, 0, Flag.STREAM, Flag.STREAM]
        # Each job tells its own.
        assert [m.flags for m in engine.of(Data) if m.job_id == 2] == schemas
        assert [m.sequence for m in engine.of(Data)] == [*range(4), *range(4)]

    def test_large_batches_come_after_their_schema(self, engine: Engine, start: Start) -> None:
        large = pa.table({"n": range(20_000)})
        start(Publishes(large, large))
        engine.job(1)
        engine.end(1)
        assert [m.flags for m in engine.of(Data)] == [Flag.SCHEMA, 0, 0]
        assert sum(batch.num_rows for batch in engine.batches()) == 40_000

    def test_small_batches_go_together_in_their_order(self, engine: Engine, start: Start) -> None:
        """What a batch refers to may be another's as soon as `publish` has returned."""
        numbers = np.zeros(1, dtype=np.int64)

        class Counts(BasePlugin):
            def execute(self, file_path: str) -> None:
                for n in range(5000):
                    numbers[0] = n
                    self.publish("rows", pa.record_batch({"n": pa.array(numbers)}))
                    self.publish("more", pa.record_batch({"n": [-n]}))
                    if n % 2000 == 1000:
                        self.publish("rows", pa.record_batch({"n": range(n, n + 50_000)}))

        start(Counts())
        engine.job(1)
        done = engine.end(1)
        assert isinstance(done, Done), done
        expected = list(range(1001)) + list(range(1000, 51_000)) + list(range(1001, 3001))
        expected += list(range(3000, 53_000)) + list(range(3001, 5000))
        assert pa.Table.from_batches(engine.batches())["n"].to_pylist() == expected
        assert pa.Table.from_batches(engine.batches("more"))["n"].to_pylist() == [
            -n for n in range(5000)
        ]
        assert (done.topics["rows"].rows, done.topics["more"].rows) == (len(expected), 5000)
        sent = engine.of(Data)
        assert len(sent) < 10_000 / 50
        counted = Counter(m.topic for m in sent if not m.flags & Flag.SCHEMA)
        assert {name: t.batches for name, t in done.topics.items()} == counted

    def test_small_batches_of_other_columns_come_after_those_before(
        self, engine: Engine, start: Start
    ) -> None:
        parts = [TABLE, TABLE, TABLE.select(["n"]), TABLE.select(["n"]), TABLE, TABLE, TABLE]
        start(Publishes(*parts))
        engine.job(1)
        engine.end(1)
        rows = [row for batch in engine.batches() for row in batch.to_pylist()]
        assert rows == [row for part in parts for row in part.to_pylist()]

    def test_small_batches_do_not_wait_long(
        self, engine: Engine, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A plugin that publishes now and then is heard of while it works."""
        monkeypatch.setattr(sdk_gather, "LONGEST_WAIT_S", 0.0)
        start(Publishes(TABLE, TABLE, TABLE))
        engine.job(1)
        engine.end(1)
        assert [m.flags for m in engine.of(Data)] == [Flag.STREAM, 0, 0]

    def test_what_waits_of_a_job_that_fails_is_not_the_next_ones(
        self, engine: Engine, start: Start
    ) -> None:
        class FailsFirst(BasePlugin):
            def execute(self, file_path: str) -> None:
                for _ in range(3):
                    self.publish("rows", TABLE)
                if self.ctx.job.job_id == 1:
                    raise ValueError("no more")

        start(FailsFirst())
        engine.job(1)
        assert isinstance(engine.end(1), Failed)
        engine.job(2)
        done = engine.end(2)
        assert isinstance(done, Done)
        assert done.topics["rows"].rows == 9

    def test_a_key_that_appears_late_is_a_column(self, engine: Engine, start: Start) -> None:
        rows: list[dict[str, Any]] = [{"n": n} for n in range(20_000)]
        rows[3]["early"] = "e"
        rows[15_000]["late"] = 2.5
        start(Publishes(rows))
        engine.job(1)
        assert isinstance(engine.end(1), Done)
        first, second = engine.batches()
        assert first.schema.names == ["n", "early"]
        assert second.schema.names == ["n", "late"]
        arrived = [*first.to_pylist(), *second.to_pylist()]
        assert [{k: v for k, v in row.items() if v is not None} for row in arrived] == rows

    @pytest.mark.parametrize("empty", [TABLE.slice(0, 0), TABLE.schema.empty_table(), []])
    def test_nothing_to_publish(self, engine: Engine, start: Start, empty: Any) -> None:
        start(Publishes(empty))
        engine.job(1)
        done = engine.end(1)
        assert isinstance(done, Done)
        if isinstance(empty, list):
            # Without a row nobody knows the columns.
            assert done.topics == {}
        else:
            assert done.topics["rows"].rows == 0
            assert engine.payloads()

    def test_dictionaries_travel_with_their_batches(self, engine: Engine, start: Start) -> None:
        column = pa.array(["a", "b", "a", None]).dictionary_encode()
        nested = pa.StructArray.from_arrays([column], ["inner"])
        table = pa.table({"d": column, "s": nested})
        start(Publishes(table, table.slice(0, 0), table.slice(2)))
        engine.job(1)
        assert isinstance(engine.end(1), Done)
        arrived = pa.Table.from_batches(engine.batches())
        assert arrived.schema.equals(table.schema)
        assert arrived.to_pylist() == [*table.to_pylist(), *table.slice(2).to_pylist()]

    def test_an_empty_table_with_dictionaries_has_its_schema(
        self, engine: Engine, start: Start
    ) -> None:
        schema = pa.schema([("d", pa.dictionary(pa.int32(), pa.string()))])
        start(Publishes(schema.empty_table()))
        engine.job(1)
        assert isinstance(engine.end(1), Done)
        assert Flag.SCHEMA in [message.flags for message in engine.of(Data)]

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (7, "cannot take a int"),
            ("text", "cannot take a str"),
            ({"a": [1]}, "cannot take a dict"),
            ([1, 2], "row 0 is a int"),
            ([{"a": 1}, {2: 3}], "row 1 has the key 2"),
            ([{"a": 1}, {"a": "x"}], "column 'a' of rows 0 to 1 has no one type"),
        ],
    )
    def test_what_cannot_be_published_fails_the_job(
        self, engine: Engine, start: Start, data: Any, text: str
    ) -> None:
        start(Publishes(data))
        engine.job(1)
        failed = engine.end(1)
        assert isinstance(failed, Failed)
        assert failed.error_class is ErrorClass.DATA
        assert failed.message.startswith("TypeError: ")
        assert text in failed.message

    @pytest.mark.parametrize("topic", ["", "_x", "a/b", 7])
    def test_topics_have_names(self, engine: Engine, start: Start, topic: Any) -> None:
        class Named(BasePlugin):
            def execute(self, file_path: str) -> None:
                self.publish(topic, TABLE)

        start(Named())
        engine.job(1)
        failed = engine.end(1)
        assert isinstance(failed, Failed)
        assert "topic" in failed.message
