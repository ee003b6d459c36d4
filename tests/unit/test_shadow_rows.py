"""Rows held against each other as their target keeps them, and what is shown of a difference."""

from __future__ import annotations

import decimal
import hashlib
import math
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from casparian.adapters.sink import _unlike
from casparian.adapters.sink._schema import to_domain
from casparian.adapters.sink.comparing import PORTION, Comparison, nothing
from casparian.adapters.sink.parquet import ParquetSinkFactory
from casparian.adapters.sink.sqlite import SqliteSinkFactory
from casparian.domain.errors import JobError
from casparian.domain.readback import ReadableSink
from casparian.domain.shadow import RowChange, RowsCompared, SampleRow, ValueChange, pair
from casparian.testing.sink import batch


def sink_of(scheme: str, directory: Path) -> ReadableSink:
    factory = {"parquet": ParquetSinkFactory, "sqlite": SqliteSinkFactory}[scheme]()
    sink = factory.open(str(directory / "out"))
    assert isinstance(sink, ReadableSink)
    return sink


def compared(
    scheme: str, directory: Path, before: dict[str, Any], now: dict[str, Any], *apart: str
) -> RowsCompared:
    """The columns of `now`, which may be wider."""
    old, new = batch(before, 1), batch(now, 7, 9)
    columns = to_domain(new.drop_columns(new.schema.names[-3:]).schema)
    comparison = Comparison(sink_of(scheme, directory), columns, "the target", apart)
    return comparison.compare(lambda: iter([old]), lambda: iter([new]))


def counts(found: RowsCompared) -> tuple[int, int, int, int]:
    return found.rows_before, found.rows_now, found.only_before, found.only_now


@pytest.mark.parametrize("scheme", ["parquet", "sqlite"])
@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, None, 3], pa.int32()),
        pa.array([True, False, None]),
        pa.array(["", None, "NULL"]),
        pa.array([b"", None, b"\x00\xff"]),
        pa.array(["1.10", "-2.00", None]).cast(pa.decimal128(20, 2)),
        pa.array([0, -1, None], pa.timestamp("ns", "UTC")),
        pa.array([0, 1, None], pa.date32()),
        pa.array([0, 1, None], pa.time64("us")),
        pa.array([0, 1, None], pa.duration("ns")),
        pa.array([2**64 - 1, 0, None], pa.uint64()),
        pa.array([{"a": [1.5], "b": ""}, {"a": [], "b": None}, None]),
    ],
    ids=lambda values: str(values.type),
)
def test_a_type_is_equal_to_itself_and_each_value_to_no_other(
    tmp_path: Path, scheme: str, values: pa.Array
) -> None:
    same = compared(scheme, tmp_path, {"v": values}, {"v": values})
    assert counts(same) == (3, 3, 0, 0)
    turned = values.take(pa.array([2, 0, 1]))
    assert counts(compared(scheme, tmp_path, {"v": values}, {"v": turned})) == (3, 3, 0, 0)
    for at in range(3):
        other = values.take(pa.array([(at + 1) % 3 if i == at else i for i in range(3)]))
        found = compared(scheme, tmp_path, {"v": values}, {"v": other})
        assert counts(found) == (3, 3, 1, 1)
        assert len(pair(found.gone, found.new)) == 1


def test_floats_are_compared_as_the_target_keeps_them(tmp_path: Path) -> None:
    """Parquet tells 0.0 from -0.0, a database does not; a NaN is one to Parquet, and to SQLite
    none at all."""
    zeros = {"x": pa.array([0.0])}, {"x": pa.array([-0.0])}
    assert counts(compared("parquet", tmp_path, *zeros)) == (1, 1, 1, 1)
    assert counts(compared("sqlite", tmp_path, *zeros)) == (1, 1, 0, 0)
    nan = {"x": pa.array([math.nan, 1.0])}
    assert counts(compared("parquet", tmp_path, nan, nan)) == (2, 2, 0, 0)
    null = {"x": pa.array([None, 1.0])}
    assert counts(compared("parquet", tmp_path, nan, null)) == (2, 2, 1, 1)
    with pytest.raises(JobError, match="NaN"):
        compared("sqlite", tmp_path, nan, nan)
    nested = {"x": pa.array([[math.nan], [-0.0], [0.0]])}
    assert counts(compared("parquet", tmp_path, nested, nested)) == (3, 3, 0, 0)


@pytest.mark.parametrize("scheme", ["parquet", "sqlite"])
def test_duplicates_count_and_columns_may_have_widened_since(tmp_path: Path, scheme: str) -> None:
    before = {"n": pa.array([1, 1, 2], pa.int8())}
    now = {"n": pa.array([1, 2, 2], pa.int64()), "new": pa.array(["a", None, None])}
    found = compared(scheme, tmp_path, before, now)
    assert counts(found) == (3, 3, 2, 2)
    assert counts(compared(scheme, tmp_path, before, now, "new")) == (3, 3, 1, 1)
    assert found.valued >= {"n"}
    assert "new" not in found.valued


def test_many_rows_are_compared_in_any_order_and_batches(tmp_path: Path) -> None:
    """One row is gone, one is changed, one came in front, so that all others have moved."""
    rows = 3 * PORTION + 17
    texts = [f"row {n}" for n in range(rows)]
    new_texts = ["first", *texts]
    del new_texts[rows // 2]
    new_texts[rows - 5] = "changed"
    old = batch({"t": texts}, 1)
    for shuffled in (False, True):
        if shuffled:
            random.Random(5).shuffle(new_texts)
        new = batch({"t": new_texts}, 2)

        def pieces(of: Any = new) -> Iterator[Any]:
            for start in range(0, of.num_rows, 1_000):
                yield of.slice(start, 1_000)

        comparison = Comparison(
            sink_of("parquet", tmp_path), to_domain(old.select(["t"]).schema), "the target"
        )
        found = comparison.compare(lambda: iter([old]), pieces)
        assert counts(found) == (rows, rows, 2, 2)
        assert sorted(row.shown["t"] for row in found.new) == ["'changed'", "'first'"]
        assert [row.number for row in found.gone] == [rows // 2 - 1, rows - 5]


def test_digests_are_matched_whether_they_lie_in_memory_or_in_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = random.Random(7)
    sides = [[chance.randrange(5_000) for _ in range(20_000)] for _ in range(2)]
    digests = [hashlib.blake2b(b"%d" % n, digest_size=16).digest() for n in range(5_000)]
    counts = [Counter(side) for side in sides]
    expected = [(counts[0] - counts[1]).total(), (counts[1] - counts[0]).total()]
    found = []
    for part_bytes in (1 << 20, 100):
        monkeypatch.setattr(_unlike, "PART_BYTES", part_bytes)
        with _unlike.Unlike() as unlike:
            for side, numbers in enumerate(sides):
                for start in range(0, len(numbers), 700):
                    places = range(start, min(start + 700, len(numbers)))
                    unlike.add(side, ((place, digests[numbers[place]]) for place in places))
            found.append(unlike.surplus(5))
    assert found[0] == found[1]
    assert [side.rows for side in found[0]] == expected
    for side, surplus in enumerate(found[0]):
        assert len(surplus.first) == 5
        assert surplus.first == sorted(surplus.first)
        shown = {sides[side][place] for place in surplus.first}
        assert all(counts[side][n] > counts[1 - side][n] for n in shown)


def test_one_side_alone_and_rows_of_strange_columns(tmp_path: Path) -> None:
    rows = batch({"n": [1, 2]}, 1)
    columns = to_domain(rows.select(["n"]).schema)
    comparison = Comparison(sink_of("parquet", tmp_path), columns, "the target")
    assert counts(comparison.compare(nothing, lambda: iter([rows]))) == (0, 2, 0, 2)
    assert counts(comparison.compare(lambda: iter([rows]), nothing)) == (2, 0, 2, 0)
    strange = batch({"n": [1], "mine": ["x"]}, 1)
    with pytest.raises(JobError, match=r"the columns \['mine'\] that were not published"):
        comparison.compare(lambda: iter([strange]), nothing)
    with pytest.raises(JobError, match="not the columns"):
        comparison.compare(lambda: iter([rows.select(["n"])]), nothing)


# --- which row is which -----------------------------------------------------------------


def row(number: int, **values: Any) -> SampleRow:
    held = {name: value for name, value in values.items() if value is not None}
    return SampleRow(number, held, {name: repr(value) for name, value in held.items()})


def test_rows_find_the_likest_and_those_without_any_are_told_whole() -> None:
    gone = [row(0, a=1, b=2, c=3), row(1, a=7, b=8, c=9), row(5, a=70, b=80)]
    new = [row(0, a=7, b=8, c=10), row(9, a=-1, b=-2)]
    changes = pair(gone, new)
    assert changes == [
        RowChange(1, 0, (ValueChange("c", "9", "10"),)),
        RowChange(
            0, None, tuple(ValueChange(n, v, None) for n, v in zip("abc", "123", strict=True))
        ),
        RowChange(5, None, (ValueChange("a", "70", None), ValueChange("b", "80", None))),
        RowChange(None, 9, (ValueChange("a", None, "-1"), ValueChange("b", None, "-2"))),
    ]
    # Without anything in common the same number makes them one.
    assert pair([row(3, a=1)], [row(3, a=2)]) == [RowChange(3, 3, (ValueChange("a", "1", "2"),))]
    # NULL is no value, and no empty text.
    (change,) = pair([row(3, a="", b=1)], [row(3, a=None, b=1)])
    assert change.values == (ValueChange("a", "''", None),)


def test_long_values_are_cut_around_what_differs() -> None:
    old, now = "x" * 5_000 + "1" + "y" * 5_000, "x" * 5_000 + "2" + "y" * 5_000
    (change,) = pair([row(0, t=old)], [row(0, t=now)])
    ((_, before, after),) = change.values
    assert before is not None
    assert after is not None
    assert len(before) < 100
    assert before.replace("1", "2") == after
    assert "1" in before
    assert before.startswith("…")
    assert before.endswith("…")


def test_a_decimal_is_shown_as_its_digits(tmp_path: Path) -> None:
    price = pa.array([decimal.Decimal("1.10")], pa.decimal128(9, 2))
    at = pa.array([1], pa.timestamp("ns"))
    found = compared("parquet", tmp_path, {"p": price, "at": at}, {"p": price, "at": at}, "p")
    assert not found.gone
    comparison = Comparison(
        sink_of("parquet", tmp_path),
        to_domain(batch({"p": price, "at": at}, 1).select(["p", "at"]).schema),
        "the target",
    )
    found = comparison.compare(nothing, lambda: iter([batch({"p": price, "at": at}, 1)]))
    assert dict(found.new[0].shown) == {"p": "1.10", "at": "1970-01-01 00:00:00.000000001"}


def test_nested_values_are_shown_as_values(tmp_path: Path) -> None:
    nested = pa.array(
        [{"x": [0.5, None], "at": 1}],
        pa.struct([("x", pa.list_(pa.float64())), ("at", pa.timestamp("us"))]),
    )
    columns = to_domain(pa.schema([("v", nested.type)]))
    comparison = Comparison(sink_of("parquet", tmp_path), columns, "the target")
    found = comparison.compare(nothing, lambda: iter([batch({"v": nested}, 1)]))
    shown = "{'x': [0.5, None], 'at': '1970-01-01 00:00:00.000001'}"
    assert dict(found.new[0].shown) == {"v": shown}
