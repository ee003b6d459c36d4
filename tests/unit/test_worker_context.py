"""Frames of a job become its stagings; what a plugin rejects is counted on this side."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pyarrow as pa
import pytest

from casparian.adapters.sink.memory import (
    MemorySink,
    MemorySinkFactory,
    MemoryStaging,
    MemoryStore,
)
from casparian.app.payloads import GarbledPayload
from casparian.app.targets import Targets
from casparian.app.worker_context import WorkerContext
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.messages import TopicTotals
from casparian.domain.plugins import REJECTS_TOPIC, TopicConfig
from casparian.domain.wire import Flag
from casparian.sdk.rejects import REJECTS_SCHEMA, reject_batch
from tests.support.router import claim, live

ROWS = pa.record_batch({"n": [1, 2, 3]})
Make = Callable[..., WorkerContext]


@pytest.fixture
def make() -> Make:
    targets = Targets({"memory": MemorySinkFactory(MemoryStore())})

    def make(max_rejects: float = 0.5, topics: tuple[str, ...] = ("rows",)) -> WorkerContext:
        tables = tuple(TopicConfig(topic, "memory://out") for topic in topics)
        plugin = live(topics=tables, max_rejects=max_rejects)
        return WorkerContext(claim(1), plugin, "f" * 32, targets, lambda target: None)

    return make


def send(context: WorkerContext, topic: str, batch: pa.RecordBatch) -> None:
    context.frame(topic, Flag.SCHEMA, batch.schema.serialize())
    context.frame(topic, Flag(0), batch.serialize())


def rejects(*lines: int) -> pa.RecordBatch:
    return reject_batch([("rows", n, None, b"raw", f"reason {n}") for n in lines])


def totals(rows: int = 0, rejected: int = 0) -> dict[str, TopicTotals]:
    given = {"rows": rows, REJECTS_TOPIC: rejected}
    return {topic: TopicTotals(1, count, 1) for topic, count in given.items() if count}


@pytest.mark.parametrize("topics", [("rows",), ("rows", "more"), ("*",), ("_rejects", "rows")])
def test_rejects_are_published_beside_the_rows(make: Make, topics: tuple[str, ...]) -> None:
    context = make(topics=topics)
    send(context, "rows", ROWS)
    send(context, REJECTS_TOPIC, rejects(5, 9))
    manifest = context.finish(totals(3, 2))
    assert {(i.slot.topic, i.target.name, i.rows) for i in manifest.items} == {
        ("rows", "rows", 3),
        (REJECTS_TOPIC, "lines_rejects", 2),
    }


def test_what_cannot_be_removed_keeps_nothing_else(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []

    def broken(staging: MemoryStaging) -> None:
        removed.append("topic")
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    context = make(topics=("rows", "more"))
    send(context, "rows", ROWS)
    send(context, "more", ROWS)
    monkeypatch.setattr(MemoryStaging, "discard", broken)
    monkeypatch.setattr(MemorySink, "discard", lambda sink, key: removed.append("sink"))
    with pytest.raises(OSError, match="Input/output error"):
        context.discard()
    assert removed == ["topic", "topic", "sink"]
    context.discard()
    assert len(removed) == 3


@pytest.mark.parametrize("claimed", [totals(3, 1), totals(3, 3), totals(2, 2)])
def test_what_the_plugin_vouches_for_is_held_against_what_came(
    make: Make, claimed: dict[str, TopicTotals]
) -> None:
    context = make()
    send(context, "rows", ROWS)
    send(context, REJECTS_TOPIC, rejects(5, 9))
    with pytest.raises(GarbledPayload, match="the plugin vouched for"):
        context.finish(claimed)


def test_a_count_is_passed_with_the_frame_that_passes_it(make: Make) -> None:
    context = make(max_rejects=2)
    send(context, REJECTS_TOPIC, rejects(5, 9))
    with pytest.raises(JobError, match=r"3 rows were rejected so far.*line 5: reason 5; line 9"):
        context.frame(REJECTS_TOPIC, Flag(0), rejects(11).serialize())


def test_a_share_is_passed_at_the_end(make: Make) -> None:
    context = make(max_rejects=0.3)
    send(context, REJECTS_TOPIC, rejects(5, 9))
    send(context, "rows", ROWS)
    with pytest.raises(JobError, match=r"2 of 5 rows were rejected, 40\.00%") as caught:
        context.finish(totals(3, 2))
    assert caught.value.error_class is ErrorClass.DATA


@pytest.mark.parametrize("schema", [ROWS.schema, REJECTS_SCHEMA.remove(4), pa.schema([])])
def test_rejects_of_other_columns_are_nonsense(make: Make, schema: pa.Schema) -> None:
    context = make()
    with pytest.raises(GarbledPayload, match="other columns"):
        context.frame(REJECTS_TOPIC, Flag.SCHEMA, schema.serialize())
    send(context, REJECTS_TOPIC, rejects(1))
    with pytest.raises(GarbledPayload, match="other columns"):
        context.frame(REJECTS_TOPIC, Flag.SCHEMA, schema.serialize())


def test_nulls_where_a_reject_has_none_end_nothing(make: Make) -> None:
    context = make(max_rejects=0)
    nothing = pa.record_batch([pa.nulls(1, f.type) for f in REJECTS_SCHEMA], schema=REJECTS_SCHEMA)
    with pytest.raises(JobError, match="a row: no reason"):
        send(context, REJECTS_TOPIC, nothing)
