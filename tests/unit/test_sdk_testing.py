"""`run_plugin`: what plugin authors test with behaves as the engine would."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from casparian.domain.errors import ErrorClass, JobError
from casparian.sdk import BasePlugin
from casparian.sdk.loader import PluginLoadError
from casparian.sdk.testing import run_plugin


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    file = tmp_path / "north" / "readings.csv"
    file.parent.mkdir()
    file.write_bytes(b"station,value\na,1\n")
    return file


def publishing(*published: tuple[Any, Any]) -> type[BasePlugin]:
    class Handler(BasePlugin):
        def execute(self, file_path: str) -> None:
            for topic, data in published:
                self.publish(topic, data)

    return Handler


def test_rows_of_several_publishes_are_one_table_per_topic(drop: Path) -> None:
    result = run_plugin(
        publishing(
            ("a", [{"x": 1}]), ("b", pa.table({"y": ["z"]})), ("a", iter([{"x": 2}, {"x": 3}]))
        ),
        drop,
    )
    assert result.tables["a"].to_pydict() == {"x": [1, 2, 3]}
    assert result.tables["b"].to_pydict() == {"y": ["z"]}
    assert result.rows == 4


def test_publish_returns_its_number_of_rows(drop: Path) -> None:
    counts = []

    class Handler(BasePlugin):
        def execute(self, file_path: str) -> None:
            counts.append(self.publish("a", pa.table({"x": [1, 2]})))
            counts.append(self.publish("a", pa.table({"x": pa.array([], pa.int64())})))

    run_plugin(Handler, drop)
    assert counts == [2, 0]


def test_a_topic_without_rows_has_its_columns(drop: Path) -> None:
    empty = pa.table({"x": pa.array([], pa.int64())})
    assert run_plugin(publishing(("a", empty)), drop).tables["a"].schema == empty.schema


def test_later_batches_may_widen_but_not_drift(drop: Path) -> None:
    widening = publishing(
        ("a", pa.table({"x": pa.array([1], pa.int8())})),
        ("a", pa.table({"x": pa.array([300], pa.int32()), "new": ["n"]})),
    )
    table = run_plugin(widening, drop).tables["a"]
    assert table.schema.field("x").type == pa.int32()
    assert table.to_pylist() == [{"x": 1, "new": None}, {"x": 300, "new": "n"}]

    drifting = publishing(("a", pa.table({"x": [1]})), ("a", pa.table({"x": ["one"]})))
    with pytest.raises(JobError, match="column 'x' is string, the target has int64") as caught:
        run_plugin(drifting, drop)
    assert caught.value.error_class is ErrorClass.SCHEMA_DRIFT


@pytest.mark.parametrize("topic", ["", "_hidden", ".x", "a/b", "k=v", " a", "é" * 76])
def test_topic_names_are_checked_as_in_the_engine(drop: Path, topic: str) -> None:
    with pytest.raises(ValueError, match="topic name"):
        run_plugin(publishing((topic, [{"x": 1}])), drop)


def test_a_topic_name_is_text(drop: Path) -> None:
    with pytest.raises(TypeError, match="text, not a int"):
        run_plugin(publishing((7, [{"x": 1}])), drop)


def test_what_has_no_arrow_form_is_refused(drop: Path) -> None:
    with pytest.raises(TypeError, match="publish"):
        run_plugin(publishing(("a", 42)), drop)


def test_the_context_shows_the_file_and_the_settings(drop: Path) -> None:
    seen: dict[str, Any] = {}

    class Handler(BasePlugin):
        def configure(self, ctx: Any, config: Any) -> None:
            super().configure(ctx, config)
            with pytest.raises(RuntimeError, match="no current job"):
                _ = ctx.path

        def execute(self, file_path: str) -> None:
            job = self.ctx.job
            seen.update(path=job.path, hash=job.content_hash, file=file_path, **self.config)
            self.ctx.logger.info("seen")

    run_plugin(Handler, drop, {"a": 1}, root=drop.parent.parent)
    assert seen == {
        "path": "north/readings.csv",
        "hash": hashlib.sha256(drop.read_bytes()).hexdigest(),
        "file": str(drop),
        "a": 1,
    }


def test_publishing_from_configure_is_refused(drop: Path) -> None:
    class Handler(BasePlugin):
        def configure(self, ctx: Any, config: Any) -> None:
            ctx.publish("a", [{"x": 1}])

    with pytest.raises(RuntimeError, match="inside execute"):
        run_plugin(Handler, drop)


def test_the_plugins_own_error_comes_through(drop: Path) -> None:
    class Handler(BasePlugin):
        def execute(self, file_path: str) -> None:
            raise KeyError("no such column")

    with pytest.raises(KeyError, match="no such column"):
        run_plugin(Handler, drop)


def test_a_class_that_is_no_plugin_is_refused(drop: Path) -> None:
    class Handler:
        pass

    with pytest.raises(PluginLoadError, match="configure"):
        run_plugin(Handler, drop)  # type: ignore[arg-type]


def test_rejects_come_by_the_topic_they_name(drop: Path) -> None:
    class Handler(BasePlugin):
        def execute(self, file_path: str) -> None:
            self.publish("a", [{"x": 1}])
            self.reject(b"raw", "wrong", line=2, offset=14, topic="a")
            self.reject("more", "wrong too", topic="a")
            self.reject(b"any", "somewhere")

    result = run_plugin(Handler, drop)
    assert (result.rows, result.rejected) == (1, 3)
    assert set(result.rejects) == {"a", None}
    assert result.rejects["a"].to_pylist() == [
        {"topic": "a", "line": 2, "offset": 14, "raw": b"raw", "reason": "wrong"},
        {"topic": "a", "line": None, "offset": None, "raw": b"more", "reason": "wrong too"},
    ]
    assert result.rejects[None]["raw"].to_pylist() == [b"any"]
    assert run_plugin(publishing(("a", [{"x": 1}])), drop).rejects == {}


def test_what_cannot_be_a_reject_is_refused_as_in_the_engine(drop: Path) -> None:
    class Handler(BasePlugin):
        def execute(self, file_path: str) -> None:
            self.reject(b"x", "r", line=0)

    with pytest.raises(ValueError, match="line is 0, it counts from 1"):
        run_plugin(Handler, drop)
