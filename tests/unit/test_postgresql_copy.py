"""The binary form of COPY: both twins write the same bytes, and the server reads them."""

from __future__ import annotations

import datetime as dt
import os
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian.adapters.sink import _postgresql_copy as form
from tests.support import postgresql_sink


def pure_is_asked_for() -> bool:
    return os.environ.get("CASPARIAN_PURE", "") not in {"", "0"}


def compiled() -> Any:
    return pytest.importorskip(
        "casparian.adapters.sink._copy_rows", reason="COPY's rows are not compiled"
    ).encode_rows


def test_the_compiled_twin_runs_where_it_is_expected() -> None:
    asked = os.environ.get("CASPARIAN_EXPECT_FASTPATH")
    if asked is not None:
        assert (form.encode_rows is form.encode_in_python) == (asked == "pure")
    if pure_is_asked_for():
        assert form.encode_rows is form.encode_in_python


MOMENT = dt.datetime(2024, 2, 29, 23, 59, 59, 999_999)
SAMPLES: list[tuple[str, pa.DataType, list[Any]]] = [
    ("boolean", pa.bool_(), [True, False, None, True, True, False, None, False, True]),
    ("smallint", pa.int16(), [-(2**15), 2**15 - 1, None, 0]),
    ("integer", pa.int32(), [-(2**31), 2**31 - 1, None, 0]),
    ("bigint", pa.int64(), [-(2**63), 2**63 - 1, None, 0]),
    ("real", pa.float32(), [1.5, -0.0, float("inf"), None]),
    ("double precision", pa.float64(), [1e300, float("-inf"), None]),
    ("text", pa.string(), ["", "äöü € 𝄞", None, "x" * 100_000]),
    ("bytea", pa.binary(), [b"", b"\0\xff", None]),
    ("date", pa.date32(), [dt.date(1, 1, 1), dt.date(2000, 1, 1), None, dt.date(9999, 12, 31)]),
    ("timestamp", pa.timestamp("us"), [MOMENT, dt.datetime(1, 1, 1), None]),
    ("time", pa.time64("us"), [dt.time(0), dt.time(23, 59, 59, 999_999), None]),
    ("interval", pa.duration("us"), [dt.timedelta(microseconds=-1), dt.timedelta(days=9), None]),
    ("numeric(20,0)", pa.decimal128(20, 0), [Decimal(2**64 - 1), Decimal(0), None, Decimal(-1)]),
    (
        "numeric(38,38)",
        pa.decimal128(38, 38),
        [Decimal("0." + "9" * 38), Decimal("-0." + "0" * 37 + "1"), None],
    ),
    (
        "numeric(12,5)",
        pa.decimal128(12, 5),
        [Decimal(t) for t in ("1234567.89012", "-0.00001", "10000.00000", "0.12340", "0")],
    ),
    ("numeric", pa.decimal128(5, -3), [Decimal("12345E+3"), Decimal(0), None]),
    (
        "numeric(50,7)",
        pa.decimal256(50, 7),
        [Decimal("9" * 43 + ".1234567"), Decimal("-1.5"), None],
    ),
]
KINDS = [pytest.param(*sample, id=sample[0]) for sample in SAMPLES]


def columns_of(kind: pa.DataType, values: list[Any]) -> list[pa.Array]:
    """Alone, and as a part of a longer array."""
    array = pa.array(values, kind)
    longer = pa.concat_arrays([array.slice(1), array, array.slice(0, 1)])
    return [array, longer.slice(len(array) - 1, len(array))]


@pytest.mark.parametrize(("_declared", "kind", "values"), KINDS)
def test_the_twins_write_the_same(_declared: str, kind: pa.DataType, values: list[Any]) -> None:
    columns = [form._without_wide_decimals(column) for column in columns_of(kind, values)]
    assert compiled()(columns) == form.encode_in_python(columns)


@given(st.lists(st.decimals(places=7, min_value=-(10**30), max_value=10**30), min_size=1))
def test_the_twins_write_the_same_decimals(values: list[Decimal]) -> None:
    columns = [pa.array(values, pa.decimal128(38, 7))]
    assert compiled()(columns) == form.encode_in_python(columns)


def test_what_has_no_form_is_refused_by_both() -> None:
    for encode in (form.encode_in_python, compiled()):
        with pytest.raises(TypeError, match="has no binary form"):
            encode([pa.array([1], pa.uint8())])
    for encode in (form.encode_in_python, compiled()):
        with pytest.raises(ValueError, match=r"length|longer|shorter"):
            encode([pa.array([1]), pa.array([1, 2])])


@pytest.mark.parametrize("encode", [form.encode_in_python, None], ids=["python", "compiled"])
def test_the_server_reads_what_was_written(
    postgresql_url: str, encode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compared by the server with the same values as text."""
    monkeypatch.setattr(form, "encode_rows", encode or compiled())
    with postgresql_sink.connected(postgresql_url) as session:
        for declared, kind, values in SAMPLES:
            array = pa.array(values, kind)
            session.run(f"CREATE TEMPORARY TABLE found (n bigint, v {declared})")
            numbers = pa.array(range(len(values)), pa.int64())
            batch = pa.RecordBatch.from_arrays([numbers, array], ["n", "v"])
            assert session.load("pg_temp.found", ["n", "v"], [batch]) == len(values)
            given = "$2::bytea" if declared == "bytea" else f"$2::text::{declared}"
            for number, value in enumerate(values):
                text = value if value is None or declared == "bytea" else str(value)
                same = session.rows(
                    f"SELECT v IS NOT DISTINCT FROM {given} FROM found WHERE n = $1", number, text
                )
                assert same == [(True,)], (declared, value)
            session.run("DROP TABLE found")
        session.rollback()
