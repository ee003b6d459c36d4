"""The part of the sink contract on what a later publication may do to a schema."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pytest

from casparian.domain import lineage
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.ports import Sink
from casparian.domain.publish import (
    Target,
)
from casparian.domain.schemas import TargetSchema
from casparian.testing.sink_jobs import (
    Job,
    SinkFixtures,
    SinkPlace,
    batch,
    numbered,
    rows_of,
    values,
)


class SchemaPromises(SinkFixtures):
    """Part of `SinkContract`."""

    # --- 10: schemas --------------------------------------------------------------------

    def test_the_first_rows_set_the_schema_and_narrower_ones_are_cast(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        first = Job(sink, target, 1, location_id=1)
        known = first.stage(batch(values(2), 1)).schema
        first.plan()
        first.promote()
        narrow = {"id": pa.array([7], pa.int8()), "name": pa.nulls(1)}
        staged = Job(sink, target, 2, location_id=2).publish(batch(narrow, 2), known=known).items[0]
        assert TargetSchema.from_json(staged.schema_json) == known
        assert sorted(place.read(target)["id"].to_pylist()) == [0, 1, 7]  # type: ignore[index]

    def test_a_new_column_widens_the_target(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        known = Job(sink, target, 1, location_id=1).publish(batch(values(2), 1)).items[0]
        wider = values(1, start=5) | {"extra": pa.array([2.5])}
        schema = TargetSchema.from_json(known.schema_json)
        Job(sink, target, 2, location_id=2).publish(batch(wider, 2), known=schema)
        table = place.read(target)
        assert table is not None
        assert sorted(zip(table["id"].to_pylist(), table["extra"].to_pylist(), strict=True)) == [
            (0, None),
            (1, None),
            (5, 2.5),
        ]

    def test_what_a_later_batch_widens_is_right_for_all_rows(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        job = Job(sink, target, 1)
        staged = job.stage(
            batch({"a": pa.array([1, 2], pa.int8()), "b": pa.nulls(2)}, 1),
            batch({"a": pa.array([2**40]), "b": ["x"], "c": [1.5]}, 1, first=2),
            batch({"b": ["y"]}, 1, first=3),
        )
        assert [(c.name, c.type) for c in staged.schema.columns] == [
            ("a", "int64"), ("b", "string"), ("c", "double"),
        ]  # fmt: skip
        job.plan()
        job.promote()
        table = place.read(target)
        assert table is not None
        table = table.sort_by(lineage.ROW)
        assert table["a"].to_pylist() == [1, 2, 2**40, None]
        assert table["b"].to_pylist() == [None, None, "x", "y"]
        assert table["c"].to_pylist() == [None, None, 1.5, None]

    @pytest.mark.parametrize("known", [True, False])
    def test_drift_fails_with_both_schemas(self, sink: Sink, target: Target, known: bool) -> None:
        job = Job(sink, target, 1)
        schema = job.stage(batch(values(1), 1)).schema
        wrong = batch({"id": ["text"], "name": ["n"]}, 1, first=1)
        before = [] if known else [batch(values(1), 1)]
        with pytest.raises(JobError, match=r"id: int64.*id: string") as caught:
            job.stage(*before, wrong, known=schema if known else None)
        assert caught.value.error_class is ErrorClass.SCHEMA_DRIFT

    @pytest.mark.parametrize(
        ("names", "said"),
        [(["a", "a"], "several columns named 'a'"), (["_casparian_x"], "kept for lineage")],
    )
    def test_names_that_cannot_be_kept_are_refused(
        self, sink: Sink, target: Target, names: Sequence[str], said: str
    ) -> None:
        plain = batch(values(1), 1)
        arrays = [pa.array([1])] * len(names) + plain.columns[-3:]
        rows = pa.RecordBatch.from_arrays(arrays, names=[*names, *lineage.COLUMNS])
        with pytest.raises(JobError, match=said) as caught:
            Job(sink, target, 1).stage(rows)
        assert caught.value.error_class is ErrorClass.DATA

    def test_no_rows_still_tell_their_schema(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        Job(sink, target, 1).publish(batch({"a": pa.array([], pa.int32())}, 1))
        table = place.read(target)
        assert table is not None
        assert table.num_rows == 0
        assert table.schema.names == ["a", *lineage.COLUMNS]

    def test_a_topic_without_columns_keeps_its_lineage(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        rows = batch(values(3), 1).select(list(lineage.COLUMNS))
        Job(sink, target, 1).publish(rows)
        assert rows_of(place.read(target)) == numbered(1, 3)
