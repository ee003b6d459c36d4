"""The runtime of a sidecar: what is published arrives whole, within the credit, and heartbeats
go on whatever the plugin does."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from casparian.adapters.transport import connection_for
from casparian.adapters.transport.memory import MemoryTransport
from casparian.domain.errors import ErrorClass
from casparian.domain.messages import (
    Alive,
    Control,
    Data,
    Done,
    Execute,
    Failed,
    FromRouter,
    FromSidecar,
    Register,
    decode_from_sidecar,
    encode,
)
from casparian.domain.plugins import REJECTS_TOPIC
from casparian.domain.wire import Flag, credit_for
from casparian.sdk import gather as sdk_gather
from casparian.sdk import rejects as sdk_rejects
from casparian.sdk.plugin import BasePlugin, CaspPlugin
from casparian.sdk.rejects import MOST_BYTES, MOST_ROWS, REJECTS_SCHEMA
from casparian.sdk.runtime import Runtime

PATIENCE_S = 30.0
WINDOW = 1 << 20
SECRET = "the secret"
KIND = TypeVar("KIND")


class Engine:
    """The other side, by hand: hears all, says what the test says. Credit comes back only
    when `credit` is told to give it."""

    def __init__(self, name: str) -> None:
        self.transport = MemoryTransport(name)
        self.endpoint = self.transport.bind()
        self.peer = b""
        self.heard: list[tuple[FromSidecar, bytes]] = []
        self.returns_credit = True

    def say(self, message: FromRouter) -> None:
        self.transport.send(self.peer, encode(message))

    def job(self, number: int, path: str = "/in/f.csv") -> None:
        self.say(Execute(number, 1, path, path.lstrip("/"), 100 + number, "c" * 64))

    def listen(self) -> None:
        self.transport.poll(0.02)
        for peer, head, payload in self.transport.receive():
            self.peer = peer
            message = decode_from_sidecar(head, len(payload))
            self.heard.append((message, bytes(payload)))
            if isinstance(message, Data) and self.returns_credit:
                self.say(Control(credit=credit_for(len(payload))))

    def until(self, what: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not what():
            assert time.monotonic() < deadline, [message for message, _ in self.heard][-10:]
            self.listen()

    def of(self, kind: type[KIND]) -> list[KIND]:
        return [message for message, _ in self.heard if isinstance(message, kind)]

    def end(self, number: int) -> Done | Failed:
        """The end of a job, waited for."""

        def ends() -> list[Done | Failed]:
            found = [*self.of(Done), *self.of(Failed)]
            return [message for message in found if message.job_id == number]

        self.until(ends)
        (message,) = ends()
        return message

    def batches(self, topic: str = "rows") -> list[pa.RecordBatch]:
        """What arrived of a topic, each batch with the schema before it."""
        schema, found = None, []
        for message, payload in self.heard:
            if not isinstance(message, Data) or message.topic != topic:
                continue
            if message.flags & Flag.SCHEMA:
                schema = pa.ipc.read_schema(pa.py_buffer(payload))
            elif message.flags & Flag.STREAM:
                with pa.ipc.open_stream(pa.py_buffer(payload)) as reader:
                    schema = reader.schema
                    found += list(reader)
            else:
                found.append(pa.ipc.read_record_batch(pa.py_buffer(payload), schema))
        return found

    def payloads(self) -> list[int]:
        return [len(payload) for message, payload in self.heard if isinstance(message, Data)]


class Bench:
    """A runtime in a thread, registered, with its window granted."""

    def __init__(self, engine: Engine, handler: CaspPlugin, window: int = WINDOW) -> None:
        self.engine = engine
        self.begun: list[int] = []
        self.runtime = Runtime(connection_for(engine.endpoint), SECRET, 0.01, self.begun.append)
        self.raised: list[BaseException] = []
        self.thread = threading.Thread(target=self._run, args=(handler,))
        self.thread.start()
        engine.until(lambda: engine.of(Register))
        engine.say(Control(credit=window))

    def _run(self, handler: CaspPlugin) -> None:
        try:
            self.runtime.run("tested", "hash", 7, lambda: handler, {"a": 1})
        except BaseException as error:
            self.raised.append(error)

    def stop(self) -> None:
        self.engine.say(Control(stop=True))
        self.ended()

    def ended(self) -> None:
        self.engine.until(lambda: not self.thread.is_alive())


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(str(tmp_path))
    yield engine
    engine.transport.close()


@pytest.fixture
def start(engine: Engine) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def start(handler: CaspPlugin, window: int = WINDOW) -> Bench:
        made.append(Bench(engine, handler, window))
        return made[-1]

    yield start
    for bench in made:
        engine.transport.close()
        bench.thread.join(PATIENCE_S)
        assert not bench.thread.is_alive()


Start = Callable[..., Bench]


class Publishes(BasePlugin):
    """Publishes what it was made with."""

    def __init__(self, *data: Any) -> None:
        self.data = data
        self.rows: list[int] = []

    def execute(self, file_path: str) -> None:
        for data in self.data:
            self.rows.append(self.publish("rows", data))


TABLE = pa.table({"n": [1, 2, 3], "text": ["a", None, "c"]})


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
