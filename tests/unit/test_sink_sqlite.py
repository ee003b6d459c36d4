"""The SQLite sink: URIs, locks, tables of strangers, widening, and digests recomputed from rows."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from casparian.adapters.sink import _sqlite_target
from casparian.adapters.sink.sqlite import SqliteSink, SqliteSinkFactory
from casparian.domain.errors import ConfigurationError, ErrorClass, JobError, UnavailableError
from casparian.domain.publish import InstallCase, Target
from casparian.testing.sink import (
    INSTALLATION,
    OTHER_INSTALLATION,
    Job,
    batch,
    numbered,
    outcomes,
    values,
)


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return SqliteSinkFactory().parse("sqlite://./out.db/orders", str(tmp_path), "plug", "orders")


@pytest.fixture
def sink(target: Target) -> SqliteSink:
    sink = SqliteSink(target.location, busy_s=0.05)
    sink.check()
    return sink


@contextlib.contextmanager
def opened(target: Target) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(target.location, isolation_level=None)) as db:
        yield db


def query(target: Target, statement: str) -> list[Any]:
    with opened(target) as db:
        return db.execute(statement).fetchall()


def published(target: Target) -> list[Any]:
    return query(target, "SELECT _casparian_job_id, _casparian_row FROM orders ORDER BY 1, 2")


# --- URIs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "location", "name"),
    [
        ("sqlite://data.db/orders", "/base/data.db", "orders"),
        ("sqlite://./sub/data.db/orders", "/base/sub/data.db", "orders"),
        ("sqlite://../data.db/{topic}", "/data.db", "sales"),
        ("sqlite:///abs/my data.db/t_{topic}_x", "/abs/my data.db", "t_sales_x"),
    ],
)
def test_a_uri_is_a_file_and_a_table(uri: str, location: str, name: str) -> None:
    factory = SqliteSinkFactory()
    assert factory.parse(uri, "/base", "plug", "sales") == Target("sqlite", location, name)
    absolute = factory.absolute(uri, "/base")
    assert factory.parse(absolute, "/other", "plug", "sales") == Target("sqlite", location, name)


def test_rejects_have_a_table_of_their_own_whatever_the_uri_says() -> None:
    target = SqliteSinkFactory().parse("sqlite://a.db/orders", "/base", "plug", "_rejects")
    assert target.name == "plug_rejects"


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite://orders", "sqlite:///orders", "other://a/b"])
def test_a_uri_without_file_or_table_is_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="not a sink of the form sqlite://FILE/TABLE"):
        SqliteSinkFactory().parse(uri, "/base", "plug", "orders")


@pytest.mark.parametrize("table", ["sqlite_master", "_casparian_publish", "SQLite_x"])
def test_reserved_tables_are_refused(table: str) -> None:
    with pytest.raises(ConfigurationError, match="keep names"):
        SqliteSinkFactory().parse(f"sqlite://a.db/{table}", "/base", "plug", "orders")


# --- the file ---------------------------------------------------------------------------


def test_the_file_is_in_wal_mode_and_the_slots_are_indexed(
    sink: SqliteSink, target: Target
) -> None:
    Job(sink, target, 1).publish(batch(values(1), 1))
    assert query(target, "PRAGMA journal_mode") == [("wal",)]
    # The first correction of a table needs the index, and makes it.
    assert query(target, "SELECT name FROM sqlite_master WHERE type = 'index' AND sql <> ''") == []
    Job(sink, target, 2, ordinal=2).publish(batch(values(1), 2))
    plan = query(target, "EXPLAIN QUERY PLAN DELETE FROM orders WHERE _casparian_job_id = 1")
    assert "_casparian_job_orders" in str(plan)


def test_check_refuses_what_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is not a database, though it is long enough" * 100)
    with pytest.raises(ConfigurationError, match="not a database"):
        SqliteSink(str(tmp_path / "text.db")).check()
    (tmp_path / "directory.db").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        SqliteSink(str(tmp_path / "directory.db")).check()


def test_a_locked_target_is_worth_another_try(sink: SqliteSink, target: Target) -> None:
    job = Job(sink, target, 1)
    job.stage(batch(values(2), 1))
    job.plan()
    with opened(target) as other:
        other.execute("BEGIN IMMEDIATE")
        (receipt,) = job.promote()
        assert receipt.transient
        assert "locked" in (receipt.error or "")
        with pytest.raises(UnavailableError, match="held by somebody else"):
            sink.check()
    assert outcomes(job.promote()) == [InstallCase.INSTALLED]


def test_a_group_waits_for_a_locked_target_once(
    sink: SqliteSink, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [Job(sink, target, n, location_id=n) for n in range(1, 26)]
    for job in jobs:
        job.stage(batch(values(1), job.job_id))
        job.plan()
    items = [item for job in jobs for item in job.to_promote()]
    tried: list[int] = []
    together = sink._promotion.together
    monkeypatch.setattr(
        sink._promotion, "together", lambda db, some: tried.append(len(some)) or together(db, some)
    )
    with opened(target) as other:
        other.execute("BEGIN IMMEDIATE")
        receipts = sink.promote(items)
    assert len(tried) == 1
    assert len(receipts) == len(items)
    assert all(r.transient and "locked" in (r.error or "") for r in receipts)
    assert outcomes(sink.promote(items)) == [InstallCase.INSTALLED] * len(items)


def test_a_promoter_that_stops_within_the_transaction_leaves_nothing(
    sink: SqliteSink, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(BaseException):
        pass

    def stop(*_: Any) -> None:
        raise Crash

    Job(sink, target, 1).publish(batch(values(2), 1))
    job = Job(sink, target, 2, ordinal=2)
    job.stage(batch(values(3) | {"more": ["x"] * 3}, 2))
    job.plan()
    with monkeypatch.context() as patched:
        patched.setattr(_sqlite_target, "write_marker", stop)
        with pytest.raises(Crash):
            job.promote()
    assert published(target) == numbered(1, 2)
    assert [name for _, name, *_ in query(target, "PRAGMA table_info(orders)")][:2] == [
        "id",
        "name",
    ]
    job.sink = SqliteSink(target.location)
    assert outcomes(job.promote()) == [InstallCase.INSTALLED]
    assert published(target) == numbered(2, 3)


# --- strangers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made", ["CREATE TABLE orders (x)", "CREATE TABLE ORDERS (x)", "CREATE VIEW orders AS SELECT 1"]
)
def test_a_table_that_was_not_made_here_is_left_alone(
    sink: SqliteSink, target: Target, made: str
) -> None:
    early = Job(sink, target, 1)
    early.stage(batch(values(1), 1))
    early.plan()
    with opened(target) as db:
        db.execute(made)
    with pytest.raises(JobError, match="did not make") as caught:
        Job(sink, target, 2).stage(batch(values(1), 2))
    assert caught.value.error_class is ErrorClass.FOREIGN_ROWS
    (receipt,) = early.promote()
    assert "did not make" in (receipt.error or "")
    assert not receipt.transient
    assert query(target, "SELECT sql FROM sqlite_master WHERE lower(name) = 'orders'") == [(made,)]


def test_a_user_s_other_tables_stay(sink: SqliteSink, target: Target) -> None:
    with opened(target) as db:
        db.execute("CREATE TABLE mine (x)")
        db.execute("INSERT INTO mine VALUES (1)")
    Job(sink, target, 1).publish(batch(values(1), 1))
    assert query(target, "SELECT * FROM mine") == [(1,)]


def test_rows_of_another_installation_in_any_slot_are_refused(
    sink: SqliteSink, target: Target
) -> None:
    """Job ids tell slots apart within one installation only."""
    Job(sink, target, 3, location_id=9, installation=OTHER_INSTALLATION).publish(
        batch(values(2), 3)
    )
    mine = Job(sink, target, 3, installation=INSTALLATION)
    mine.stage(batch(values(1), 3))
    mine.plan()
    assert "another installation" in (mine.promote()[0].error or "")
    assert published(target) == numbered(3, 2)


# --- columns ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"Name": [1], "name": [2]}, "differ in case only"),
        ({"_Casparian_row": [1]}, "kept for lineage"),
        ({"": [1]}, "cannot be a column's name"),
        ({"a\0b": [1]}, "cannot be a column's name"),
        ({"n": [float("nan")]}, "holds NaN"),
        ({"n": [[float("inf")]]}, "JSON has no word for"),
        ({"n": pa.array([2**40], pa.timestamp("s"))}, "outside 0001 to 9999"),
        ({"n": pa.array([-1], pa.time32("ms"))}, "outside of the day"),
        ({"n": pa.array([(1, 2, 3)], pa.month_day_nano_interval())}, "no stored form"),
        ({f"c{i}": [1] for i in range(1_998)}, "at most 2000"),
    ],
)
def test_what_sqlite_would_change_is_refused(
    sink: SqliteSink, target: Target, columns: dict[str, Any], said: str
) -> None:
    with pytest.raises(JobError, match=said) as caught:
        Job(sink, target, 1).stage(batch(columns, 1))
    assert caught.value.error_class is ErrorClass.DATA


def test_names_of_every_kind_are_kept(sink: SqliteSink, target: Target) -> None:
    names = ['a "quoted" one', "select", "line\nbreak", "Ä", "ä", "x.y", "rowid", "{topic}"]
    job = Job(sink, target, 1).publish(batch({n: [i] for i, n in enumerate(names)}, 1))
    with opened(target) as db:
        (rows,) = _sqlite_target.read_rows(db, "orders")
    assert rows.schema.names[:-3] == names
    assert [rows[n].to_pylist() for n in names] == [[i] for i in range(len(names))]
    assert job.items[0].rows == 1


def test_stored_forms_are_the_documented_ones(sink: SqliteSink, target: Target) -> None:
    columns = {
        "i": pa.array([2**63 - 1, -(2**63)]),
        "u": pa.array([2**64 - 1, 5], pa.uint64()),
        "b": pa.array([True, None]),
        "f": pa.array([float("-inf"), 1.5], pa.float32()),
        "d": pa.array(["1.50", None], pa.string()).cast(pa.decimal128(10, 2)),
        "t": pa.array(["a\0b", ""]),
        "x": pa.array([b"\0\xff", b""]),
        "day": pa.array([0, -719162], pa.date32()),
        "at": pa.array([1, -1], pa.timestamp("ns", "Europe/Berlin")),
        "local": pa.array([1500, 0], pa.timestamp("ms")),
        "time": pa.array([1, 86_399_999_999], pa.time64("us")),
        "span": pa.array([90, -1], pa.duration("s")),
        "none": pa.nulls(2),
        "nest": pa.array([{"k": [1, None], "b": b"\0"}, None],
                         pa.struct([("k", pa.list_(pa.int8())), ("b", pa.binary())])),
        "map": pa.array([[("k", 1), ("k", 2)], []], pa.map_(pa.string(), pa.int32())),
    }  # fmt: skip
    Job(sink, target, 1).publish(batch(columns, 1))
    names = ", ".join(columns)
    assert query(target, f"SELECT {names} FROM orders ORDER BY _casparian_row") == [
        (2**63 - 1, "18446744073709551615", 1, float("-inf"), "1.50", "a\0b", b"\0\xff",
         "1970-01-01", "1970-01-01T00:00:00.000000001Z", "1970-01-01T00:00:01.500",
         "00:00:00.000001", 90, None, '{"k":[1,null],"b":"AA=="}', '[["k",1],["k",2]]'),
        (-(2**63), "5", None, 1.5, None, "", b"",
         "0001-01-01", "1969-12-31T23:59:59.999999999Z", "1970-01-01T00:00:00.000",
         "23:59:59.999999", -1, None, None, "[]"),
    ]  # fmt: skip


def test_widening_keeps_every_row_and_every_digest(sink: SqliteSink, target: Target) -> None:
    """Columns that come, whose integers grow (also beyond SQLite's), or that had no type yet."""
    first = {"n": pa.array([1, None], pa.uint8()), "later": pa.nulls(2), "s": ["a", "b"]}
    second = {
        "n": pa.array([2**64 - 1], pa.uint64()),
        "later": pa.array(["x"]),
        "s": pa.nulls(1),
        "new": [1.5],
    }
    Job(sink, target, 1, location_id=1).publish(batch(first, 1))
    with opened(target) as db:
        known = _sqlite_target.standing_schema(db, "orders")
    Job(sink, target, 2, location_id=2).publish(batch(second, 2), known=known)
    # Decided before it was widened, promoted after.
    Job(sink, target, 3, location_id=3).publish(batch(first, 3), known=known)
    selected = "SELECT n, later, s, new FROM orders ORDER BY _casparian_job_id, _casparian_row"
    narrow = [("1", None, "a", None), (None, None, "b", None)]
    assert query(target, selected) == [*narrow, (str(2**64 - 1), "x", None, 1.5), *narrow]
    with opened(target) as db:
        found = dict(sink.markers())
        digests = {m.job_id: m.digest for _, m in sink.markers()}
        assert len(found) == 1
        assert len(digests) == 3
        for job_id, digest in digests.items():
            assert _sqlite_target.digest_of_rows(db, "orders", job_id) == digest


def test_a_staging_may_widen_beyond_a_stored_form(sink: SqliteSink, target: Target) -> None:
    """Numbers that are text in the target, since one of them is beyond SQLite's integers."""
    batches = [
        batch({"n": pa.array([7], pa.uint8()), "z": pa.nulls(1)}, 1),
        batch({"n": pa.array([2**64 - 1], pa.uint64()), "z": ["x"]}, 1, first=1),
        batch({"n": pa.array([8], pa.uint8()), "new": [2.0]}, 1, first=2),
    ]
    Job(sink, target, 1).publish(*batches)
    assert query(target, "SELECT n, z, new FROM orders ORDER BY _casparian_row") == [
        ("7", None, None),
        (str(2**64 - 1), "x", None),
        ("8", None, 2.0),
    ]
    (marker,) = [m for _, m in sink.markers()]
    with opened(target) as db:
        assert _sqlite_target.digest_of_rows(db, "orders", 1) == marker.digest


@pytest.mark.parametrize("rows", [3, 50_000], ids=["small pages", "large pages"])
def test_records_are_copied_as_they_are(sink: SqliteSink, target: Target, rows: int) -> None:
    """SQLite makes no record anew, where the columns are alike; what was published before stays."""
    Job(sink, target, 1, location_id=1).publish(batch(values(2), 1))
    job = Job(sink, target, 2, location_id=2)
    job.stage(batch(values(rows), 2))
    job.plan()
    side = sink._promotion.side_path(job.to_promote()[0])
    with opened(target) as db:
        db.execute("ATTACH ? AS side0", (side,))
        steps = db.execute("EXPLAIN INSERT INTO main.orders SELECT * FROM side0.rows").fetchall()
        assert "MakeRecord" not in {step[1] for step in steps}
    assert outcomes(job.promote()) == [InstallCase.INSTALLED]
    assert published(target) == [*numbered(1, 2), *numbered(2, rows)]


def test_the_digest_follows_from_the_rows_alone(sink: SqliteSink, target: Target) -> None:
    whole = batch(values(5) | {"f": [0.5, -0.0, None, 1.0, 2.0]}, 1)
    one = Job(sink, target, 1).stage(whole)
    other = Job(sink, target, 1).stage(whole.slice(0, 2), whole.slice(2))
    assert one.digest == other.digest
    changed = Job(sink, target, 1).stage(batch(values(5) | {"f": [0.5, -0.0, 0.0, 1.0, 2.0]}, 1))
    assert changed.digest != one.digest


def test_several_plugins_feed_one_table(sink: SqliteSink, target: Target) -> None:
    for number, topic in ((1, "orders"), (2, "sales")):
        Job(sink, target, number, topic=topic).publish(batch(values(2), number))
    Job(sink, target, 3, topic="sales", ordinal=2).publish(batch(values(1), 3))
    assert published(target) == [*numbered(1, 2), (3, 0)]


def test_drift_that_came_after_the_decision_fails_that_item_alone(
    sink: SqliteSink, target: Target
) -> None:
    jobs = [Job(sink, target, n, location_id=n) for n in (1, 2, 3)]
    for job, column in zip(jobs, ([1], ["text"], [3]), strict=True):
        job.stage(batch({"c": column}, job.job_id))
        job.plan()
    receipts = sink.promote([item for job in jobs for item in job.to_promote()])
    assert [r.case for r in receipts] == [InstallCase.INSTALLED, None, InstallCase.INSTALLED]
    assert "do not fit" in (receipts[1].error or "")
    assert published(target) == [(1, 0), (3, 0)]
