"""Columns in PostgreSQL: what is refused, how values are stored, how a table is widened."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from casparian.adapters.sink import _sql_staging as stagings
from casparian.adapters.sink.postgresql import PostgresqlSink
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.ports import Sink
from casparian.domain.publish import InstallCase, Target
from casparian.testing.sink import Job, batch
from tests.support import postgresql_sink
from tests.unit.sink_postgresql.place import PUBLISHED, Query


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"_Casparian_row": [1]}, "kept for lineage"),
        ({"": [1]}, "cannot be a column's name"),
        ({"a\0b": [1]}, "cannot be a column's name"),
        ({"ctid": [1]}, "cannot be a column's name"),
        ({"x" * 64: [1]}, "cuts names at 63"),
        ({"n": ["ab", None, "a\0b"]}, "holds a NUL character .the first in row 2"),
        ({"n": [["a\0b"]]}, "holds a NUL character"),
        ({"n": [float("inf")], "m": [[float("inf")]]}, "JSON has no word for"),
        ({"n": pa.array([1], pa.timestamp("ns"))}, "holds nanoseconds"),
        ({"n": pa.array([1], pa.time64("ns"))}, "holds nanoseconds"),
        ({"n": pa.array([1], pa.duration("ns"))}, "holds nanoseconds"),
        ({"n": pa.array([2**62], pa.duration("s"))}, "more than 64 bits of microseconds"),
        ({"n": pa.array([2**40], pa.timestamp("s"))}, "outside 0001 to 9999"),
        ({"n": pa.array([2**30], pa.date32())}, "outside 0001 to 9999"),
        ({"n": pa.array([-1], pa.time32("ms"))}, "outside of the day"),
        ({"n": pa.array([(1, 2, 3)], pa.month_day_nano_interval())}, "no stored form"),
        ({f"c{i}": [1] for i in range(1_598)}, "at most 1600"),
    ],
)
def test_what_postgresql_would_change_is_refused(
    sink: PostgresqlSink, target: Target, columns: dict[str, Any], said: str
) -> None:
    with pytest.raises(JobError, match=said) as caught:
        Job(sink, target, 1).stage(batch(columns, 1))
    assert caught.value.error_class is ErrorClass.DATA


def test_a_row_that_no_page_holds_is_refused_before_it_is_decided(
    sink: PostgresqlSink, target: Target
) -> None:
    """Fewer of the same columns fit, and so do these where they are empty."""
    wide = {f"c{i}": ["20 characters of text"] for i in range(500)}
    with pytest.raises(JobError, match="does not fit into a page of PostgreSQL") as caught:
        Job(sink, target, 1).stage(batch(wide, 1))
    assert caught.value.error_class is ErrorClass.DATA
    Job(sink, target, 2).publish(batch(wide | {f"c{i}": [""] for i in range(300)}, 2))


def test_a_row_that_is_too_long_is_refused(
    sink: PostgresqlSink, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stagings, "MOST_BYTES", 1_000)
    monkeypatch.setattr(stagings, "CHUNK_BYTES", 100)
    with pytest.raises(JobError, match="in this sink it may have") as caught:
        Job(sink, target, 1).stage(batch({"c": ["a", "b" * 2_000, "c"]}, 1))
    assert caught.value.error_class is ErrorClass.DATA


def test_a_nul_beside_the_rows_is_nobody_s(sink: PostgresqlSink, target: Target) -> None:
    """Slices share their buffers."""
    texts = pa.array(["a\0b", "fine", "a\0b"]).slice(1, 1)
    Job(sink, target, 1).publish(batch({"c": texts}, 1))


def test_names_of_every_kind_are_kept(
    postgresql_url: str, sink: PostgresqlSink, schema: str
) -> None:
    names = ['a "quoted" one', "select", "line\nbreak", "Ä", "ä", "x.y", "Name", "name", "x" * 63]
    place = Target("postgresql", schema, 'Orders "of" ' + "x" * 50)
    job = Job(sink, place, 1).publish(batch({n: [i] for i, n in enumerate(names)}, 1))
    Job(sink, place, 2, ordinal=2).publish(batch({n: [i] for i, n in enumerate(names)}, 2))
    rows = postgresql_sink.read(postgresql_url, place)
    assert rows is not None
    assert rows.schema.names[:-3] == names
    assert [rows[n].to_pylist() for n in names] == [[i] for i in range(len(names))]
    assert job.items[0].rows == 1


def test_stored_forms_are_the_documented_ones(
    sink: PostgresqlSink, target: Target, query: Query
) -> None:
    columns = {
        "small": pa.array([255, 0], pa.uint8()),
        "u": pa.array([2**64 - 1, 5], pa.uint64()),
        "b": pa.array([True, None]),
        "f": pa.array([float("nan"), -0.0], pa.float32()),
        "g": pa.array([float("-inf"), 5e-324]),
        "d": pa.array(["1.50", None]).cast(pa.decimal128(10, 2)),
        "w": pa.array(["12345", None]).cast(pa.decimal256(60, 20)),
        "x": pa.array([b"\0\xff", b""]),
        "day": pa.array([0, -719162], pa.date32()),
        "at": pa.array([1000, -1000], pa.timestamp("ns", "Europe/Berlin")),
        "local": pa.array([1500, 0], pa.timestamp("ms")),
        "time": pa.array([1, 86_399_999_999], pa.time64("us")),
        "span": pa.array([90, -1], pa.duration("s")),
        "none": pa.nulls(2),
        "nest": pa.array([{"k": [1, None], "f": -0.0}, None],
                         pa.struct([("k", pa.list_(pa.int8())), ("f", pa.float64())])),
    }  # fmt: skip
    Job(sink, target, 1).publish(batch(columns, 1))
    types = query(
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = 'orders'::regclass AND attnum > 0 ORDER BY attnum"
    )
    assert types == [
        ("small", "smallint"), ("u", "numeric(20,0)"), ("b", "boolean"), ("f", "real"),
        ("g", "double precision"), ("d", "numeric(10,2)"), ("w", "numeric(60,20)"),
        ("x", "bytea"), ("day", "date"), ("at", "timestamp with time zone"),
        ("local", "timestamp without time zone"), ("time", "time without time zone"),
        ("span", "interval"), ("none", "text"), ("nest", "jsonb"),
        *((name, "bigint") for name in ("_casparian_job_id", "_casparian_file_version_id",
                                        "_casparian_row")),
    ]  # fmt: skip
    names = ", ".join(f"{name}::text" for name in columns)
    assert query(f"SELECT {names} FROM orders ORDER BY _casparian_row") == [
        ("255", "18446744073709551615", "true", "NaN", "-Infinity", "1.50",
         "12345.00000000000000000000", "\\x00ff", "1970-01-01", "1970-01-01 00:00:00.000001+00",
         "1970-01-01 00:00:01.5", "00:00:00.000001", "00:01:30", None,
         '{"f": 0.0, "k": [1, null]}'),
        ("0", "5", None, "-0", "5e-324", None, None, "\\x", "0001-01-01",
         "1969-12-31 23:59:59.999999+00", "1970-01-01 00:00:00", "23:59:59.999999", "-00:00:01",
         None, None),
    ]  # fmt: skip


def test_widening_keeps_every_row_and_every_digest(
    postgresql_url: str, sink: PostgresqlSink, target: Target, query: Query
) -> None:
    """Columns that come, whose integers grow (also beyond bigint), or that had no type yet."""
    first = {"n": pa.array([1, None], pa.uint8()), "later": pa.nulls(2), "s": ["a", "b"]}
    second = {
        "n": pa.array([2**64 - 1], pa.uint64()),
        "later": pa.array([datetime.timedelta(1)]),
        "s": pa.nulls(1),
        "new": [1.5],
    }
    Job(sink, target, 1, location_id=1).publish(batch(first, 1))
    known = sink.schema_of(target)
    Job(sink, target, 2, location_id=2).publish(batch(second, 2), known=known)
    # Decided before it was widened, promoted after.
    Job(sink, target, 3, location_id=3).publish(batch(first, 3), known=known)
    rows = query("SELECT n::text, later::text, s, new FROM orders ORDER BY _casparian_job_id, 1")
    narrow = [("1", None, "a", None), (None, None, "b", None)]
    assert rows == [*narrow, (str(2**64 - 1), "24:00:00", None, 1.5), *narrow]
    digests = {marker.job_id: marker.digest for _, marker in sink.markers()}
    assert len(digests) == 3
    for job_id, digest in digests.items():
        assert postgresql_sink.digest_of_rows(postgresql_url, target, job_id) == digest


def test_drift_that_came_after_the_decision_fails_that_item_alone(
    sink: PostgresqlSink, target: Target, query: Query
) -> None:
    jobs = [Job(sink, target, n, location_id=n) for n in (1, 2, 3)]
    for job, column in zip(jobs, ([1], ["text"], [3]), strict=True):
        job.stage(batch({"c": column}, job.job_id))
        job.plan()
    receipts = sink.promote([item for job in jobs for item in job.to_promote()])
    assert [r.case for r in receipts] == [InstallCase.INSTALLED, None, InstallCase.INSTALLED]
    assert "do not fit" in (receipts[1].error or "")
    assert query(PUBLISHED) == [(1, 0), (3, 0)]


def test_decimals_of_every_size(sink: Sink, target: Target, query: Query) -> None:
    texts = ["0", "-0.00000001", "9999999999999999999999999999.99999999", "10000", "-123.45"]
    kind = pa.decimal128(36, 8)
    Job(sink, target, 1).publish(batch({"d": pa.array([Decimal(t) for t in texts], kind)}, 1))
    found = [Decimal(t) for (t,) in query("SELECT d::text FROM orders ORDER BY _casparian_row")]
    assert found == [Decimal(t) for t in texts]
