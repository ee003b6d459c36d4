"""The contract of a sink whose rows can be read back: the port `ReadableSink`, beside
`SinkContract`.

An adapter's test module derives a class from both.
"""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest

from casparian.domain import lineage
from casparian.domain.errors import JobError, UnavailableError
from casparian.domain.plugins import Mode
from casparian.domain.ports import Sink
from casparian.domain.publish import PublishedSlot, SlotKey, Target
from casparian.domain.readback import ReadableSink
from casparian.testing.sink_jobs import PLUGIN, Job, batch, numbered, rows_of, values

_PLAIN = (pa.int64(), pa.uint64(), pa.string(), pa.binary(), pa.null())


def slot_of(job: Job) -> PublishedSlot:
    item = job.items[0]
    return PublishedSlot(item.target, item.mode, item.slot, item.bundle)


def readable(sink: Sink) -> ReadableSink:
    assert isinstance(sink, ReadableSink)
    return sink


def rows_in(sink: Sink, place: PublishedSlot) -> list[tuple[int, int]] | None:
    with readable(sink).reading(place) as standing:
        if standing is None:
            return None
        batches = list(standing.batches())
        assert [b.num_rows for b in standing.batches()] == [b.num_rows for b in batches]
    return rows_of(pa.Table.from_batches(batches)) if batches else []


class ReadableSinkContract:
    """Subclass together with `SinkContract`, whose fixtures are used."""

    def test_a_slot_is_read_back_by_itself(self, sink: Sink, target: Target) -> None:
        """Promise 1: its own rows, with its marker, and nobody else's."""
        jobs = [
            Job(sink, target, n, location_id=n, version_id=n).publish(batch(values(n), n))
            for n in (1, 2)
        ]
        for job in jobs:
            place = slot_of(job)
            assert rows_in(sink, place) == [(job.job_id, row) for row in range(job.job_id)]
            with readable(sink).reading(place) as standing:
                assert standing is not None
                assert (standing.marker.job_id, standing.altered()) == (job.job_id, False)
        nobody = PublishedSlot(target, Mode.REPLACE, SlotKey(PLUGIN, "orders", 99))
        assert rows_in(sink, nobody) is None

    def test_an_emptied_slot_has_no_rows(self, sink: Sink, target: Target) -> None:
        first = Job(sink, target, 1).publish(batch(values(3), 1))
        newer = Job(sink, target, 2, ordinal=2)
        newer.empty(first)
        newer.plan()
        newer.promote()
        sink.discard(newer.key)
        assert rows_in(sink, slot_of(first)) == []

    def test_a_slot_is_of_one_moment(self, sink: Sink, target: Target) -> None:
        """Promise 2: what is published meanwhile is not seen, or ends the reading."""
        first = Job(sink, target, 1).publish(batch(values(3), 1))
        newer = Job(sink, target, 2, ordinal=2)
        try:
            with readable(sink).reading(slot_of(first)) as standing:
                assert standing is not None
                newer.publish(batch(values(1), 2))
                seen = rows_of(pa.Table.from_batches(list(standing.batches())))
                assert not standing.altered()
            assert seen == numbered(1, 3)
        except UnavailableError:
            # The sink cannot keep what was there, and says so.
            pass
        assert rows_in(sink, slot_of(newer)) == [(2, 0)]

    def test_rows_come_back_with_their_types(self, sink: Sink, target: Target) -> None:
        columns = {
            "at": pa.array([1, None], pa.timestamp("us", "UTC")),
            "yes": pa.array([True, None]),
            "price": pa.array(["1.10", "2.00"]).cast(pa.decimal128(9, 2)),
            "tags": pa.array([["a", None], []], pa.list_(pa.string())),
        }
        job = Job(sink, target, 1).publish(batch(columns, 1))
        with readable(sink).reading(slot_of(job)) as standing:
            assert standing is not None
            (rows,) = standing.batches()
        for name, array in columns.items():
            assert rows[name].equals(array), name
        assert set(lineage.COLUMNS) <= set(rows.schema.names)

    def test_plain_rows_are_equal_where_the_target_keeps_the_same(
        self, sink: Sink, target: Target
    ) -> None:
        """Promise 3: what was published and what is read back are one; other values are not."""
        columns = {
            "n": pa.array([1, 2, None], pa.int32()),
            "x": pa.array([0.5, -0.0, None]),
            "text": pa.array(["", None, "NULL"]),
            "day": pa.array([0, 1, None], pa.date32()),
            "pair": pa.array([{"a": 1, "b": [0.5]}, None, {"a": None, "b": []}]),
        }
        published = batch(columns, 1)
        job = Job(sink, target, 1).publish(published)
        with readable(sink).reading(slot_of(job)) as standing:
            assert standing is not None
            (rows,) = standing.batches()
        plain = self._plain(sink, rows)
        assert plain.equals(self._plain(sink, published.select(rows.schema.names)))
        assert all(field.type in _PLAIN for field in plain.schema)
        texts = plain["text"].to_pylist()
        assert len(set(texts)) == 3

    @pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
    def test_a_nan_is_one_value_or_refused(
        self, sink: Sink, target: Target, kind: pa.DataType
    ) -> None:
        """Promise 3: as `stage` has it."""
        rows = batch({"x": pa.array([math.nan, math.nan], kind)}, 1)
        job = Job(sink, target, 1)
        try:
            job.stage(rows)
        except JobError:
            with pytest.raises(JobError, match=r"NaN|nan"):
                self._plain(sink, rows)
            return
        sink.discard(job.key)
        one, other = self._plain(sink, rows)["x"].to_pylist()
        assert one == other

    def _plain(self, sink: Sink, rows: Any) -> Any:
        return readable(sink).plain(rows, "the target")
