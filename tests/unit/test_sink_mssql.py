"""The SQL Server sink: what it refuses, its URL; against a server, what the contract has not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from casparian.adapters.sink import _mssql_audit, _mssql_session, _mssql_values
from casparian.adapters.sink import _mssql_promotion as promotion
from casparian.adapters.sink import _mssql_statements as sql
from casparian.adapters.sink import _mssql_tables as tables
from casparian.adapters.sink import _sql_staging as stagings
from casparian.adapters.sink._mssql_session import connect, connection_string
from casparian.adapters.sink._schema import with_lineage
from casparian.adapters.sink._sql_errors import PassingError
from casparian.adapters.sink.memory import MemorySinkFactory, MemoryStore
from casparian.adapters.sink.mssql import MssqlSink, MssqlSinkFactory, MssqlSinkSettings
from casparian.domain.errors import ConfigurationError, ErrorClass, JobError, UnavailableError
from casparian.domain.plugins import Mode
from casparian.domain.publish import InstallCase, Marker, PublishedSlot, Target
from casparian.testing.sink import (
    OTHER_INSTALLATION,
    Job,
    batch,
    numbered,
    outcomes,
    rows_of,
    values,
)
from tests.support import mssql_sink

SECRET = "s3cret"
STATEMENTS = Path(__file__).parents[1] / "golden" / "mssql_sink.sql"

# --- without a server -------------------------------------------------------------------


def statements() -> list[str]:
    """Every statement of the sink, for a table whose names need quoting."""
    names = ["id", "odd ] name", *(f"_casparian_{n}" for n in ("job_id", "file_version_id", "row"))]
    columns = [("id", "bigint"), ("odd ] name", "nvarchar(max)")]
    place = sql.place("sales", "or]ders")
    cast = [sql.cast_parameter("datetime2(6)"), "?", "?", "?", "?"]
    return [
        *sql.SESSION,
        sql.lock_timeout(_mssql_session.LOCK_MS),
        sql.create_schema("sales"),
        *sql.create_own_tables("sales"),
        sql.kind_of_table(),
        sql.take_lock("sales"),
        sql.raise_marker("sales"),
        sql.first_marker("sales"),
        sql.standing_marker("sales"),
        sql.delete_marker("sales"),
        sql.all_markers("sales"),
        sql.owner("sales"),
        sql.forget_owner("sales"),
        sql.insert_owner("sales"),
        sql.installations("sales"),
        sql.insert_chunk("sales"),
        sql.delete_chunks("sales"),
        sql.delete_chunks_of_target("sales"),
        sql.hold_chunks("sales"),
        sql.list_chunks("sales"),
        sql.read_chunk("sales"),
        sql.take_over("sales"),
        sql.all_keys("sales"),
        sql.standing_columns("sales"),
        sql.forget_columns("sales"),
        sql.describe_column("sales"),
        *sql.create_table(place, columns),
        sql.index_target("sales", "or]ders"),
        sql.add_column(place, "new", "date"),
        sql.widen_column("sales", "or]ders", "id", "decimal(20,0)"),
        sql.drop_column("sales", "or]ders", "odd ] name"),
        *sql.create_table(sql.loaded(0), columns),
        sql.load_row(0, names, cast),
        sql.delete_rows("sales", "or]ders"),
        sql.insert_rows("sales", "or]ders", 0, names),
        sql.drop_loaded(0),
        sql.made_here("sales"),
        sql.markers_of_target("sales"),
        sql.count_rows("sales", "or]ders"),
        sql.versions_of_rows("sales", "or]ders"),
        sql.row_numbers("sales", "or]ders"),
        sql.next_row("sales", "or]ders"),
        sql.read_rows("sales", "or]ders", [*columns, ("paid", "decimal(9,2)"), ("at", "time(6)")]),
    ]


def test_the_statements_are_those_that_were_reviewed() -> None:
    """Write the file anew (`print("\\n".join(statements()))`) only after a review of each against
    the rules at the top of `_mssql_statements`."""
    assert "\n".join(statements()) + "\n" == STATEMENTS.read_text(encoding="utf-8")


def test_no_statement_of_the_sink_is_missing_in_the_review() -> None:
    """Every function of the module that returns text or texts is among them."""
    source = Path(sql.__file__).read_text(encoding="utf-8")
    made = {line[4:].partition("(")[0] for line in source.splitlines() if line.startswith("def ")}
    used = Path(__file__).read_text(encoding="utf-8")
    helpers = {"quote", "_names", "_marks", "_equal", "_read"}
    assert {name for name in made - helpers if f"sql.{name}(" not in used} == set()


def test_the_statements_keep_to_what_every_engine_takes() -> None:
    many = [(f"column {n} " + "x" * 100, "datetimeoffset(6)") for n in range(1_000)]
    for statement in [*statements(), *sql.create_table("[a].[b]", many)]:
        assert len(statement) < 4_000
        words = statement.upper()
        for word in ("MERGE", "WAITFOR", "CREATE OR ALTER", "NOLOCK", " HOLDLOCK", "SP_RENAME"):
            assert word not in words
        assert not ("ALTER COLUMN" in words and words.endswith("NULL"))


class Published(_mssql_audit.MssqlTables):
    """A table of one row a job, to which another job is published after each of the first looks."""

    def __init__(self, markers: list[Marker], looks: int) -> None:
        self.marked, self.looks = markers, looks
        self.shown = 1

    def markers_of(self, table: str) -> tuple[Marker, ...]:
        return tuple(self.marked[: self.shown])

    def exists(self, table: str) -> bool:
        return True

    def counted(self, table: str) -> list[tuple[int, int, int, int]]:
        if self.looks > 0:
            self.looks -= 1
            self.shown += 1
        return [(marker.job_id, 1, 1, 0) for marker in self.marked[: self.shown]]

    def versions(self, table: str) -> list[tuple[int, int]]:
        return [(marker.job_id, 1) for marker in self.marked[: self.shown]]

    def numbers(self, table: str, job_id: int) -> list[int]:
        return [0]

    def digest(self, table: str, job_id: int) -> str:
        return "d"


def test_a_table_that_is_published_to_while_it_is_counted_is_counted_again(
    markers: list[Marker],
) -> None:
    target = Target("mssql", "sales", "orders")
    found = _mssql_audit._at_one_moment(Published(markers, 3), target)
    assert sorted(found.rows) == [1, 2, 3, 4]
    assert [m.job_id for m in found.markers] == [1, 2, 3, 4]
    with pytest.raises(UnavailableError, match="without a pause"):
        _mssql_audit._at_one_moment(Published(markers, 100), target)


@pytest.mark.parametrize("asked", ["batches", "altered"])
def test_rows_that_went_while_they_were_read_are_not_taken_for_none(
    markers: list[Marker], monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    before, after = markers[0], markers[1]
    place = PublishedSlot(Target("mssql", "sales", "orders"), Mode.REPLACE, before.slot)
    first = iter([before])
    monkeypatch.setattr(
        tables, "standing_markers", lambda *_: {("orders", before.slot): next(first, after)}
    )
    monkeypatch.setattr(_mssql_audit, "read_rows", lambda *_: iter(()))
    session: Any = SimpleNamespace(limit=lambda _: None)
    rows = _mssql_audit.reading(session, place).__enter__()
    assert rows is not None
    asking: dict[str, Callable[[], object]]
    asking = {"batches": lambda: list(rows.batches()), "altered": rows.altered}
    with pytest.raises(UnavailableError, match="published to while its rows were read"):
        asking[asked]()


@pytest.fixture
def markers(tmp_path: Path) -> list[Marker]:
    factory = MemorySinkFactory(MemoryStore())
    target = factory.parse("memory://out", str(tmp_path), "plug", "orders")
    sink = factory.open(target.location)
    for n in range(1, 10):
        Job(sink, target, n, location_id=n).publish(batch(values(1), n))
    return sorted((marker for _, marker in sink.markers()), key=lambda marker: marker.job_id)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"Name": [1], "name": [2]}, "differ in case only"),
        ({" ": [1]}, "cannot be a column's name"),
        ({"a ": [1]}, "cannot be a column's name"),
        ({"a\0b": [1]}, "cannot be a column's name"),
        ({"x" * 129: [1]}, "more than 128 characters"),
        ({f"c{i}": [1] for i in range(1_022)}, "at most 1024"),
        ({f"c{i}": [1] for i in range(1_010)}, "take 8230 bytes, and SQL Server has room for 8060"),
        ({f"c{i}": pa.array([1], pa.decimal128(29, 0)) for i in range(475)}, "take 8158 bytes"),
        ({"n": pa.array([1], pa.decimal256(60, 2))}, "no stored form"),
        ({"n": pa.array([(1, 2, 3)], pa.month_day_nano_interval())}, "no stored form"),
        ({"n": [1.0, float("nan")]}, "holds nan .the first such in row 1"),
        ({"n": [None, float("-inf")]}, "holds -inf"),
        ({"n": [5e-324]}, "holds 5e-324"),
        ({"n": pa.array([1e-40], pa.float32())}, "Server's float cannot"),
        ({"n": ["a\0b"]}, "holds a NUL character"),
        ({"n": pa.array([1], pa.timestamp("ns"))}, "holds nanoseconds"),
        ({"n": pa.array([1], pa.time64("ns"))}, "holds nanoseconds"),
        ({"n": pa.array([2**40], pa.timestamp("s"))}, "outside 0001 to 9999"),
        ({"n": [[float("inf")]]}, "JSON has no word for"),
    ],
)
def test_what_sql_server_would_change_is_refused(columns: dict[str, Any], said: str) -> None:
    rows = batch(columns, 1)

    def accept() -> None:
        _mssql_values.refuse_unsupported(rows.schema, "there")
        for name, array in zip(rows.schema.names, rows.columns, strict=True):
            _mssql_values.encode(array, name, "there")

    with pytest.raises(JobError, match=said) as caught:
        accept()
    assert caught.value.error_class is ErrorClass.DATA


def test_decimals_go_in_digits_alone() -> None:
    """SQL Server takes 0E-10, which Arrow writes for a zero of ten places, for no number."""
    texts = ["0.0000000000", "0.0000001000", "-1.5000000000", None]
    array = pa.array(texts, pa.string()).cast(pa.decimal128(38, 10))
    assert "E" in array.cast(pa.string())[0].as_py()
    assert _mssql_values.encode(array, "d", "there").to_pylist() == texts
    assert _mssql_audit._decoded(texts, array.type) == array
    nothing = pa.array([None], array.type)
    assert _mssql_values.encode(nothing, "d", "there").to_pylist() == [None]


def test_times_of_one_zone_are_read_however_a_server_writes_it() -> None:
    kind = pa.timestamp("us", "Europe/Berlin")
    written = ["2020-01-01T10:00:00Z", "2020-01-01T10:00:00.000000+00:00", None]
    first, second, none = _mssql_audit._decoded(written, kind)
    assert first == second
    assert none.as_py() is None


def test_a_url_becomes_a_connection_and_is_not_shown_where_it_is_wrong() -> None:
    text = connection_string(f"mssql+pyodbc://me:{SECRET}@db:1433/warehouse?driver=FreeTDS")
    assert "Server=db,1433;Database=warehouse" in text
    for wrong in (
        f"nonsense {SECRET}",
        f"postgresql://me:{SECRET}@db/x",
        f"mssql://me:{SECRET}@db",
    ):
        with pytest.raises(ConfigurationError, match=r"\[sinks.mssql\] url") as caught:
            connection_string(wrong)
        assert SECRET not in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"set \[sinks.mssql\] url"):
        MssqlSinkFactory(MssqlSinkSettings()).open("dbo")
    assert SECRET not in repr(MssqlSinkSettings(url=SECRET))


def test_a_uri_is_a_schema_and_a_table() -> None:
    factory = MssqlSinkFactory(MssqlSinkSettings())
    target = factory.parse("mssql://dbo.t_{topic}", "/", "plug", "sales")
    assert target == Target("mssql", "dbo", "t_sales")
    for uri in ("mssql://", "mssql://orders", "mssql://a.b.c"):
        with pytest.raises(ConfigurationError, match="not a sink of the form mssql://SCHEMA"):
            factory.parse(uri, "/", "plug", "orders")


# --- with one ---------------------------------------------------------------------------


@pytest.fixture
def target(mssql_url: str) -> Iterator[Target]:
    with mssql_sink.random_schema(mssql_url) as schema:
        yield Target("mssql", schema, "orders")


@pytest.fixture
def sink(mssql_url: str, target: Target) -> MssqlSink:
    return opened(mssql_url, target)


def opened(url: str, target: Target) -> MssqlSink:
    sink = MssqlSink(target.location, partial(connect, connection_string(url)))
    sink.check()
    return sink


@pytest.mark.parametrize("name", ["mark", "staged_rows", "fit", "delete", "insert", "commit"])
@pytest.mark.parametrize("installed", [False, True])
def test_a_connection_lost_at_any_step_is_cleared_up_by_the_marker(
    mssql_url: str,
    sink: MssqlSink,
    target: Target,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    installed: bool,
) -> None:
    """The connection is closed before the step, or (`installed`) after it."""
    Job(sink, target, 1).publish(batch(values(2), 1))
    job = Job(sink, target, 2, ordinal=2)
    job.stage(batch(values(3) | {"more": ["x"] * 3}, 2))
    job.plan()
    step = getattr(promotion.MssqlPromotion, name)
    lost: list[int] = []

    def interrupted(self: Any, *arguments: Any) -> Any:
        if lost:
            return step(self, *arguments)
        lost.append(1)
        if installed:
            step(self, *arguments)
        self._session.close()
        raise PassingError("communication link failure")

    monkeypatch.setattr(promotion.MssqlPromotion, name, interrupted)
    (receipt,) = job.promote()
    done = installed and name == "commit"
    assert receipt.case is (InstallCase.ALREADY if done else InstallCase.INSTALLED)
    assert rows_of(mssql_sink.read(mssql_url, target)) == numbered(2, 3)


def test_a_stale_transaction_that_was_held_up_brings_nothing_back(
    mssql_url: str, sink: MssqlSink, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = Job(sink, target, 1), Job(sink, target, 2, ordinal=2)
    for job in (older, newer):
        job.stage(batch(values(job.job_id), job.job_id))
        job.plan()
    newer.sink = opened(mssql_url, target)
    began: list[threading.Thread] = []
    done: list[Any] = []
    commit = promotion.MssqlPromotion.commit

    def held_up(self: Any) -> None:
        if not began:
            began.append(threading.Thread(target=lambda: done.extend(newer.promote())))
            began[0].start()
            # Whether or not it has come to wait by now: it may not go first.
            began[0].join(0.5)
        commit(self)

    monkeypatch.setattr(promotion.MssqlPromotion, "commit", held_up)
    assert outcomes(older.promote()) == [InstallCase.INSTALLED]
    began[0].join()
    assert outcomes(done) == [InstallCase.INSTALLED]
    assert rows_of(mssql_sink.read(mssql_url, target)) == numbered(2, 2)
    assert outcomes(older.promote()) == [InstallCase.OLDER]


def test_many_engines_publish_and_correct_at_the_same_time(mssql_url: str, target: Target) -> None:
    """Whoever is told that others are in the way comes to the end when it tries again."""
    wrong: list[Any] = []

    def work(number: int) -> None:
        sink = opened(mssql_url, target)
        for turn in (1, 2, 3):
            jobs = []
            for place in range(4):
                location = number * 100 + place
                job = Job(sink, target, turn * 10_000 + location, location, ordinal=turn)
                job.stage(batch(values(3) | {f"c{turn}": [number] * 3}, job.job_id))
                job.plan()
                jobs.append(job)
            items = [item for job in jobs for item in job.to_promote()]
            for _ in range(10):
                receipts = sink.promote(items)
                if all(receipt.error is None for receipt in receipts):
                    break
                wrong.extend(r.error for r in receipts if r.error and not r.transient)

    threads = [threading.Thread(target=work, args=[n]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    expected = [(30_000 + n * 100 + p, row) for n in range(4) for p in range(4) for row in range(3)]
    assert rows_of(mssql_sink.read(mssql_url, target)) == sorted(expected)


@pytest.mark.parametrize("made", ["CREATE TABLE {} (x int)", "CREATE VIEW {} AS SELECT 1 AS x"])
def test_a_table_that_was_not_made_here_is_left_alone(
    mssql_url: str, sink: MssqlSink, target: Target, made: str
) -> None:
    early = Job(sink, target, 1)
    early.stage(batch(values(1), 1))
    early.plan()
    with mssql_sink.connected(mssql_url) as session:
        session.run(made.format(sql.place(target.location, "orders")))
        session.commit()
    with pytest.raises(JobError, match="did not make") as caught:
        Job(sink, target, 2).stage(batch(values(1), 2))
    assert caught.value.error_class is ErrorClass.FOREIGN_ROWS
    (receipt,) = early.promote()
    assert "did not make" in (receipt.error or "")
    assert not receipt.transient


def test_rows_of_another_installation_in_any_slot_are_refused(
    mssql_url: str, sink: MssqlSink, target: Target
) -> None:
    Job(sink, target, 3, location_id=9, installation=OTHER_INSTALLATION).publish(
        batch(values(2), 3)
    )
    mine = Job(sink, target, 3)
    mine.stage(batch(values(1), 3))
    mine.plan()
    assert "another installation" in (mine.promote()[0].error or "")
    assert rows_of(mssql_sink.read(mssql_url, target)) == numbered(3, 2)


def test_widening_keeps_every_row_and_every_digest(
    mssql_url: str, sink: MssqlSink, target: Target
) -> None:
    first = {"n": pa.array([1, None], pa.uint8()), "later": pa.nulls(2), "s": ["a", "b"]}
    second = {
        "n": pa.array([2**64 - 1], pa.uint64()),
        "later": pa.array([b"\0\xff"]),
        "s": pa.nulls(1),
        "new": [1.5],
    }
    Job(sink, target, 1, location_id=1).publish(batch(first, 1))
    known = sink.schema_of(target)
    Job(sink, target, 2, location_id=2).publish(batch(second, 2), known=known)
    # Decided before it was widened, promoted after.
    Job(sink, target, 3, location_id=3).publish(batch(first, 3), known=known)
    table = mssql_sink.read(mssql_url, target)
    assert table is not None
    assert table["n"].to_pylist() == [1, None, 2**64 - 1, 1, None]
    assert table["later"].to_pylist() == [None, None, b"\0\xff", None, None]
    digests = {marker.job_id: marker.digest for _, marker in sink.markers()}
    assert len(digests) == 3
    for job_id, digest in digests.items():
        assert mssql_sink.digest_of_rows(mssql_url, target, job_id) == digest


def test_names_and_values_of_every_kind_are_kept(
    mssql_url: str, sink: MssqlSink, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quoted names, long and empty values, every type, in several chunks and a wide table."""
    monkeypatch.setattr(stagings, "CHUNK_BYTES", 20_000)
    long = "ä☃😀" * 3_000
    columns: dict[str, Any] = {
        'a "quoted" ] one': [1, 2],
        "select": ["", long],
        "Ä": [b"", b"\0\xff" * 9_000],
        "b": [True, None],
        "f": pa.array([1.5, -0.0], pa.float32()),
        "g": [2.0**-1022, -1.7976931348623157e308],
        "d": pa.array(["1.50", None]).cast(pa.decimal128(38, 2)),
        "e": pa.array(["0.0000000000", "-0.0000001000"]).cast(pa.decimal128(38, 10)),
        "day": pa.array([0, -719162], pa.date32()),
        "at": pa.array([1000, -1000], pa.timestamp("ns", "Europe/Berlin")),
        "local": pa.array([1500, 0], pa.timestamp("ms")),
        "time": pa.array([1, 86_399_999_999], pa.time64("us")),
        "span": pa.array([90, -1], pa.duration("s")),
        "nest": [{"k": [1, None]}, None],
        **{f"c{n}": [n, None] for n in range(30)},
    }
    Job(sink, target, 1).publish(batch(columns, 1))
    table = mssql_sink.read(mssql_url, target)
    assert table is not None
    for name, expected in batch(columns, 1).to_pydict().items():
        assert table[name].to_pylist() == expected, name
    assert table.schema == with_lineage(sink.schema_of(target))
    ((_, marker),) = sink.markers()
    assert mssql_sink.digest_of_rows(mssql_url, target, 1) == marker.digest
