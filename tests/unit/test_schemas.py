"""The rules for a target's schema, and how Arrow schemas are carried through them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from casparian.adapters.sink._schema import LINEAGE, Shaper, check_columns, to_arrow, to_domain
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.schemas import Column, Fit, TargetSchema, fit, reconcile
from casparian.testing.sink import batch


def columns(**types: str) -> TargetSchema:
    """`int64!` is a column that may not be NULL."""
    return TargetSchema(
        tuple(Column(n, t.rstrip("!"), nullable=not t.endswith("!")) for n, t in types.items())
    )


INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


def span(kind: str) -> tuple[int, int]:
    bits = int(kind.lstrip("uint"))
    return (0, 2**bits - 1) if kind[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@pytest.mark.parametrize("target", INTEGERS)
@pytest.mark.parametrize("incoming", INTEGERS)
def test_integers_fit_where_every_value_does(target: str, incoming: str) -> None:
    (low, high), (least, most) = span(target), span(incoming)
    if target == incoming:
        expected = Fit.SAME
    elif low <= least and most <= high:
        expected = Fit.CAST
    elif least <= low and high <= most:
        expected = Fit.WIDENS
    else:
        expected = Fit.DRIFT
    assert fit(Column("c", target), Column("c", incoming)) is expected


@pytest.mark.parametrize(
    ("target", "incoming", "expected"),
    [
        ("string", "null", Fit.CAST),
        ("null", "string", Fit.WIDENS),
        ("null", "null", Fit.SAME),
        ("double", "int64", Fit.DRIFT),
        ("int64", "double", Fit.DRIFT),
        ("float", "double", Fit.DRIFT),
        ("timestamp[us]", "timestamp[ns]", Fit.DRIFT),
        ("string", "int64", Fit.DRIFT),
    ],
)
def test_all_else_is_drift(target: str, incoming: str, expected: Fit) -> None:
    assert fit(Column("c", target), Column("c", incoming)) is expected


def test_null_does_not_fit_what_may_not_be_null() -> None:
    assert fit(Column("c", "string", nullable=False), Column("c", "null")) is Fit.DRIFT


@pytest.mark.parametrize(
    ("standing", "incoming", "after"),
    [
        (columns(a="int64"), columns(a="int64", b="string"), columns(a="int64", b="string")),
        (columns(a="int64"), columns(a="int64", b="string!"), columns(a="int64", b="string")),
        (columns(a="int64", b="string"), columns(b="string"), columns(a="int64", b="string")),
        (columns(a="int64!"), columns(a="int64"), columns(a="int64")),
        (columns(a="int64"), columns(a="int64!"), columns(a="int64")),
        (columns(a="int8", b="null"), columns(b="date32[day]", a="int16"),
         columns(a="int16", b="date32[day]")),
    ],
)  # fmt: skip
def test_the_schema_after_a_publication(
    standing: TargetSchema, incoming: TargetSchema, after: TargetSchema
) -> None:
    found = reconcile(standing, incoming, "t")
    assert found.schema == after
    assert found.changed == (after != standing)
    again = reconcile(found.schema, incoming, "t")
    assert not again.changed


def test_drift_names_every_problem_and_both_schemas() -> None:
    with pytest.raises(JobError) as caught:
        reconcile(columns(a="int64", b="string!", c="date32[day]"), columns(a="string", c="x"), "t")
    assert caught.value.error_class is ErrorClass.SCHEMA_DRIFT
    for part in (
        "'a' is string, the target has int64",
        "'b' is missing",
        "'c' is x",
        "(a: int64, b: string not null, c: date32[day])",
        "(a: string, c: x)",
    ):
        assert part in str(caught.value)


def test_arrow_schemas_survive_the_domain_s_form() -> None:
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            pa.field("when", pa.timestamp("us", "Europe/Berlin"), metadata={"unit": "s"}),
            pa.field("who", pa.uuid()),
            pa.field("deep", pa.list_(pa.struct([pa.field("a", pa.decimal128(9, 2))]))),
            pa.field("", pa.null()),
        ]
    )
    carried = TargetSchema.from_json(to_domain(schema).to_json())
    assert to_arrow(carried).equals(schema, check_metadata=True)


def test_parquet_s_field_ids_are_not_carried() -> None:
    field = pa.field("a", pa.int64(), metadata={"PARQUET:field_id": "7", "unit": "m"})
    shaper = Shaper(None, "t")
    rows = batch({"a": [1]}, 1)
    shaper.shape(pa.RecordBatch.from_arrays(rows.columns, schema=pa.schema([field, *LINEAGE])))
    assert shaper.arrow.field("a").metadata == {b"unit": b"m"}


def test_rows_are_cast_to_the_columns_and_order_of_the_target() -> None:
    known = to_domain(pa.schema([("a", pa.int64()), ("b", pa.string()), ("c", pa.float64())]))
    shaper = Shaper(known, "t")
    shaped = shaper.shape(batch({"c": pa.nulls(1), "a": pa.array([1], pa.uint32())}, 7))
    assert shaped.schema == pa.schema([*to_arrow(known), *LINEAGE])
    assert [c.to_pylist() for c in shaped.columns] == [[1], [None], [None], [7], [1], [0]]
    assert shaper.columns == known


def test_null_in_a_column_that_may_not_be_is_refused() -> None:
    fields = [pa.field("a", pa.int64(), nullable=False), *LINEAGE]
    rows = batch({"a": pa.array([None, 1])}, 1)
    wrong = pa.RecordBatch.from_arrays(rows.columns, schema=pa.schema(fields))
    with pytest.raises(JobError, match="never NULL, but 1 rows"):
        Shaper(None, "t").shape(wrong)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"a": pa.array([86_400_001], pa.int64()).view(pa.date64())}, "cannot be held as date32"),
        ({"a": pa.array([[[None]]], pa.list_(pa.list_(pa.null(), 1)))}, "need items of a type"),
        (
            {"a": pa.array([], pa.list_(pa.struct([("x", pa.null())]), 1))},
            "need items of a type",
        ),
        ({"a": pa.array([2**62], pa.timestamp("s"))}, "cannot be held as timestamp"),
    ],
)
def test_values_that_a_form_would_change_are_refused(rows: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError, match=said) as caught:
        Shaper(None, "t").shape(batch(rows, 1))
    assert caught.value.error_class is ErrorClass.DATA


def test_too_many_columns_are_refused() -> None:
    check_columns([f"c{i}" for i in range(10_000)], "t")
    with pytest.raises(JobError, match="10001 columns"):
        check_columns([f"c{i}" for i in range(10_001)], "t")


def test_a_batch_without_lineage_is_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="lacks the lineage columns"):
        Shaper(None, "t").shape(pa.record_batch({"a": [1]}))
