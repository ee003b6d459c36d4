"""The PostgreSQL sink: URIs, strangers, widening, digests recomputed, a server that is away."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import Any

import pyarrow as pa
import pytest

from casparian import Settings
from casparian.adapters.sink import _postgresql_promotion as promotion
from casparian.adapters.sink import _sql_staging as stagings
from casparian.adapters.sink._postgresql_session import (
    SETTINGS,
    PostgresqlSession,
    connect,
    driver_uri,
)
from casparian.adapters.sink._sql_errors import PassingError
from casparian.adapters.sink.postgresql import (
    PostgresqlSink,
    PostgresqlSinkFactory,
    PostgresqlSinkSettings,
)
from casparian.app.registry import Registry
from casparian.domain.errors import (
    ConfigurationError,
    ErrorClass,
    JobError,
    UnavailableError,
)
from casparian.domain.ports import Sink
from casparian.domain.publish import InstallCase, Target
from casparian.testing.sink import (
    INSTALLATION,
    OTHER_INSTALLATION,
    Job,
    batch,
    numbered,
    outcomes,
    rows_of,
    values,
)
from casparian.testing.sink_jobs import replace_key
from tests.support import postgresql_sink

SECRET = "s3cret"


def factory(url: str = "") -> PostgresqlSinkFactory:
    return PostgresqlSinkFactory(PostgresqlSinkSettings(url=url))


@pytest.fixture
def schema(postgresql_url: str) -> Iterator[str]:
    with postgresql_sink.random_schema(postgresql_url) as name:
        yield name


@pytest.fixture
def target(schema: str) -> Target:
    return factory().parse(f"postgresql://{schema}.orders", "/", "plug", "orders")


@pytest.fixture
def sink(postgresql_url: str, schema: str) -> PostgresqlSink:
    return opened(postgresql_url, schema)


def opened(url: str, schema: str) -> PostgresqlSink:
    sink = PostgresqlSink(schema, partial(connect, driver_uri(url)))
    sink.check()
    return sink


Query = Callable[[str], list[Any]]


@pytest.fixture
def query(postgresql_url: str, schema: str) -> Query:
    """Runs in a transaction of its own, with the schema as search path."""

    def run(statement: str) -> list[Any]:
        with postgresql_sink.connected(postgresql_url) as session:
            session.run(f"SET search_path = {schema}")
            rows = session.rows(statement) if statement.startswith("SELECT") else []
            if not rows and not statement.startswith("SELECT"):
                session.run(statement)
            session.commit()
            return rows

    return run


PUBLISHED = "SELECT _casparian_job_id, _casparian_row FROM orders ORDER BY 1, 2"


# --- URIs and settings ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "location", "name"),
    [
        ("postgresql://public.orders", "public", "orders"),
        ("postgresql://Sales Data.Orders", "Sales Data", "Orders"),
        ("postgresql://s.t_{topic}_x", "s", "t_sales_x"),
    ],
)
def test_a_uri_is_a_schema_and_a_table(uri: str, location: str, name: str) -> None:
    made = factory()
    assert made.parse(uri, "/base", "plug", "sales") == Target("postgresql", location, name)
    assert made.absolute(uri, "/base") == uri


@pytest.mark.parametrize(
    "uri", ["postgresql://", "postgresql://orders", "postgresql://a.b.c", "postgresql://.b"]
)
def test_a_uri_without_schema_or_table_is_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match=r"not a sink of the form postgresql://SCHEMA\."):
        factory().parse(uri, "/", "plug", "orders")


def test_an_address_in_the_uri_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigurationError, match=r"belongs into \[sinks.postgresql\]") as caught:
        factory().parse(f"postgresql://me:{SECRET}@host/db", "/", "plug", "orders")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 64, "ä" * 32, "_casparian_publish"])
def test_names_that_the_server_would_cut_or_that_are_kept_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"at most 63 bytes|to itself"):
        factory().parse(f"postgresql://public.{name}", "/", "plug", "orders")


def test_the_server_is_that_of_the_queue_where_no_other_is_named(tmp_path: Any) -> None:
    """And no word of its password is shown."""
    registry = Registry.default()
    queue = {"database": {"url": f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/db"}}
    sink = registry.sink_factories(Settings.of(queue, tmp_path))["postgresql"].open("s")
    with pytest.raises(UnavailableError, match="cannot be reached") as caught:
        sink.check()
    assert SECRET not in str(caught.value)
    nowhere = registry.sink_factories(Settings.of({}, tmp_path))["postgresql"]
    with pytest.raises(ConfigurationError, match=r"set \[sinks.postgresql\] url"):
        nowhere.open("s")
    own = {"sinks": {"postgresql": {"url": "nonsense"}}, **queue}
    with pytest.raises(ConfigurationError, match="cannot be read") as caught_too:
        registry.sink_factories(Settings.of(own, tmp_path))["postgresql"].open("s")
    assert "nonsense" not in str(caught_too.value)
    assert SECRET not in repr(PostgresqlSinkSettings(url=SECRET))


def test_a_session_has_its_timeouts(sink: PostgresqlSink) -> None:
    with sink._pool.session() as session:
        found = {n: session.rows("SELECT current_setting($1)", n)[0][0] for n in SETTINGS}
        session.commit()
    as_shown = {"statement_timeout": "1min", "tcp_user_timeout": "10000"}
    assert found == {**SETTINGS, **as_shown}


# --- the database -----------------------------------------------------------------------


def test_a_role_without_rights_is_told_which(
    postgresql_url: str, sink: PostgresqlSink, schema: str, query: Query
) -> None:
    role = f"{schema}_role"
    query(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")
    try:
        login = postgresql_url.replace("postgres@", f"{role}:{SECRET}@")
        with pytest.raises(ConfigurationError, match="GRANT USAGE, CREATE ON SCHEMA") as caught:
            opened(login, f"{schema}_other")
        assert SECRET not in str(caught.value)
    finally:
        query(f"DROP ROLE {role}")


def test_a_server_that_is_away_consumes_no_attempt(
    sink: PostgresqlSink, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step says so in the class of its error, and works again by itself."""
    job = Job(sink, target, 1)
    job.stage(batch(values(2), 1))
    job.plan()

    def away() -> PostgresqlSession:
        raise PassingError("connection refused")

    with monkeypatch.context() as patched:
        patched.setattr(sink._pool, "_connect", away)
        patched.setattr(sink._pool, "_idle", [])
        for step in (sink.check, sink.stagings, lambda: list(sink.markers())):
            with pytest.raises(UnavailableError, match="connection refused"):
                step()
        for other in (sink.rekey, sink.discard):
            with pytest.raises(UnavailableError):
                other(job.key)
        with pytest.raises(JobError) as caught:
            Job(sink, target._replace(name="new"), 2).stage(batch(values(1), 2))
        assert caught.value.error_class is ErrorClass.INFRASTRUCTURE
        (receipt,) = job.promote()
        assert (receipt.case, receipt.transient) == (None, True)
    assert outcomes(job.promote()) == [InstallCase.INSTALLED]


@pytest.mark.parametrize(
    ("name", "installed"),
    [
        ("mark", False),
        ("staged_rows", False),
        ("fit", False),
        ("delete", False),
        ("insert", False),
        ("commit", False),
        ("commit", True),
    ],
)
def test_a_connection_lost_at_any_step_is_cleared_up_by_the_marker(
    postgresql_url: str,
    sink: PostgresqlSink,
    target: Target,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    installed: bool,
) -> None:
    """The backend is ended before the step, or (`installed`) after a commit whose answer is
    lost: rows are published once, and no error reaches the promoter."""
    Job(sink, target, 1).publish(batch(values(2), 1))
    job = Job(sink, target, 2, ordinal=2)
    job.stage(batch(values(3) | {"more": ["x"] * 3}, 2))
    job.plan()
    step = getattr(promotion.PostgresqlPromotion, name)
    ended: list[int] = []

    def end(session: PostgresqlSession) -> None:
        ((pid,),) = session.rows("SELECT pg_backend_pid()")
        ended.append(pid)
        with postgresql_sink.connected(postgresql_url) as other:
            other.rows(f"SELECT pg_terminate_backend({pid}, 10000)")

    def interrupted(self: Any, *arguments: Any) -> Any:
        if ended:
            return step(self, *arguments)
        if installed:
            step(self, *arguments)
            end(self._session)
            raise PassingError("the server closed the connection")
        end(self._session)
        return step(self, *arguments)

    monkeypatch.setattr(promotion.PostgresqlPromotion, name, interrupted)
    (receipt,) = job.promote()
    assert ended
    assert receipt.case is (InstallCase.ALREADY if installed else InstallCase.INSTALLED)
    assert rows_of(postgresql_sink.read(postgresql_url, target)) == numbered(2, 3)


def test_a_stale_transaction_that_was_held_up_brings_nothing_back(
    postgresql_url: str,
    sink: PostgresqlSink,
    target: Target,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A promoter stops after its marker was written; a newer one waits for its end, and wins."""
    older, newer = Job(sink, target, 1), Job(sink, target, 2, ordinal=2)
    for job in (older, newer):
        job.stage(batch(values(job.job_id), job.job_id))
        job.plan()
    newer.sink = opened(postgresql_url, target.location)
    at_commit, go_on = threading.Event(), threading.Event()
    commit = promotion.PostgresqlPromotion.commit

    def held_up(self: Any) -> None:
        if not at_commit.is_set():
            at_commit.set()
            assert go_on.wait(30)
        commit(self)

    monkeypatch.setattr(promotion.PostgresqlPromotion, "commit", held_up)
    done: list[Any] = []
    threads = [
        threading.Thread(target=lambda j=job: done.append(j.promote())) for job in (older, newer)
    ]
    threads[0].start()
    assert at_commit.wait(30)
    threads[1].start()
    wait_until_blocked(postgresql_url)
    go_on.set()
    for thread in threads:
        thread.join()
    assert [outcomes(receipts) for receipts in done] == [[InstallCase.INSTALLED]] * 2
    assert rows_of(postgresql_sink.read(postgresql_url, target)) == numbered(2, 2)
    assert outcomes(older.promote()) == [InstallCase.OLDER]


def test_who_takes_over_waits_for_a_promoter_that_goes_on(
    postgresql_url: str, sink: PostgresqlSink, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = Job(sink, target, 1)
    stale.stage(batch(values(3), 1))
    stale.plan()
    holder = replace_key(stale, opened(postgresql_url, target.location))
    taking: list[threading.Thread] = []
    commit = promotion.PostgresqlPromotion.commit

    def held_up(self: Any) -> None:
        if not taking:
            taking.append(threading.Thread(target=holder.sink.rekey, args=[holder.key]))
            taking[0].start()
            wait_until_blocked(postgresql_url)
        commit(self)

    monkeypatch.setattr(promotion.PostgresqlPromotion, "commit", held_up)
    assert outcomes(stale.promote()) == [InstallCase.INSTALLED]
    taking[0].join()
    assert outcomes(holder.promote()) == [InstallCase.ALREADY]
    assert rows_of(postgresql_sink.read(postgresql_url, target)) == numbered(1, 3)


def wait_until_blocked(url: str) -> None:
    """Until some backend waits for another's lock."""
    with postgresql_sink.connected(url) as session:
        for _ in range(30_000):
            found = session.rows(
                "SELECT 1 FROM pg_stat_activity WHERE application_name = 'casparian sink' "
                "AND cardinality(pg_blocking_pids(pid)) > 0"
            )
            session.commit()
            if found:
                return
    raise AssertionError("nobody waits")


def test_many_engines_publish_and_correct_at_the_same_time(
    postgresql_url: str, schema: str, target: Target
) -> None:
    """One table, made, widened and corrected by four sinks at once: no error, no lost row."""
    wrong: list[Any] = []

    def work(number: int) -> None:
        sink = opened(postgresql_url, schema)
        for turn in (1, 2, 3):
            jobs = []
            for place in range(6):
                location = number * 100 + place
                job = Job(sink, target, turn * 10_000 + location, location, ordinal=turn)
                job.stage(batch(values(3) | {f"c{turn}": [number] * 3}, job.job_id))
                job.plan()
                jobs.append(job)
            receipts = sink.promote([item for job in jobs for item in job.to_promote()])
            wrong.extend(r.error for r in receipts if r.case is not InstallCase.INSTALLED)

    threads = [threading.Thread(target=work, args=[n]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    expected = [(30_000 + n * 100 + p, row) for n in range(4) for p in range(6) for row in range(3)]
    assert rows_of(postgresql_sink.read(postgresql_url, target)) == sorted(expected)


def test_a_later_commit_makes_the_chunks_before_it_durable(
    sink: PostgresqlSink, target: Target, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A staging of several chunks comes back in their order, with what a later one widened."""
    monkeypatch.setattr(stagings, "CHUNK_BYTES", 2_000)
    job = Job(sink, target, 1)
    job.stage(batch(values(500), 1), batch(values(300) | {"w": [1.5] * 300}, 1, first=500))
    ((chunks,),) = query("SELECT count(*) FROM _casparian_staging")
    assert chunks > 3
    job.plan()
    monkeypatch.setattr(stagings, "READ_BYTES", 3_000)
    assert outcomes(job.promote()) == [InstallCase.INSTALLED]
    assert query("SELECT count(*), count(w), min(id), max(_casparian_row) FROM orders") == [
        (800, 300, 0, 799)
    ]


# --- strangers --------------------------------------------------------------------------


@pytest.mark.parametrize("made", ["CREATE TABLE orders (x int)", "CREATE VIEW orders AS SELECT 1"])
def test_a_table_that_was_not_made_here_is_left_alone(
    sink: PostgresqlSink, target: Target, query: Query, made: str
) -> None:
    early = Job(sink, target, 1)
    early.stage(batch(values(1), 1))
    early.plan()
    query(made)
    with pytest.raises(JobError, match="did not make") as caught:
        Job(sink, target, 2).stage(batch(values(1), 2))
    assert caught.value.error_class is ErrorClass.FOREIGN_ROWS
    (receipt,) = early.promote()
    assert "did not make" in (receipt.error or "")
    assert not receipt.transient
    ((columns,),) = query(
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0"
    )
    assert columns == 1


def test_rows_of_another_installation_in_any_slot_are_refused(
    sink: PostgresqlSink, target: Target, query: Query
) -> None:
    Job(sink, target, 3, location_id=9, installation=OTHER_INSTALLATION).publish(
        batch(values(2), 3)
    )
    mine = Job(sink, target, 3, installation=INSTALLATION)
    mine.stage(batch(values(1), 3))
    mine.plan()
    assert "another installation" in (mine.promote()[0].error or "")
    assert query(PUBLISHED) == numbered(3, 2)


def test_two_installations_that_come_first_at_once(
    postgresql_url: str, sink: PostgresqlSink, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is one's: who waited for it to be made sees whose it is."""
    one = Job(sink, target, 1)
    other = Job(opened(postgresql_url, target.location), target, 2, 9, 1, 1)
    other.installation = OTHER_INSTALLATION
    other.key = other.key._replace(installation=OTHER_INSTALLATION)
    for job in (one, other):
        job.stage(batch(values(2), job.job_id))
        job.plan()
    second: list[Any] = []
    waiting: list[threading.Thread] = []
    commit = promotion.PostgresqlPromotion.commit

    def held_up(self: Any) -> None:
        if not waiting:
            waiting.append(threading.Thread(target=lambda: second.extend(other.promote())))
            waiting[0].start()
            wait_until_blocked(postgresql_url)
        commit(self)

    monkeypatch.setattr(promotion.PostgresqlPromotion, "commit", held_up)
    assert outcomes(one.promote()) == [InstallCase.INSTALLED]
    waiting[0].join()
    assert INSTALLATION in (second[0].error or "")
    assert rows_of(postgresql_sink.read(postgresql_url, target)) == numbered(1, 2)


# --- audit ------------------------------------------------------------------------------


def test_an_audit_counts_and_digests_what_the_tables_hold(
    sink: PostgresqlSink, target: Target, query: Query
) -> None:
    jobs = [Job(sink, target, n, location_id=n).publish(batch(values(4), n)) for n in (1, 2, 3)]
    Job(sink, target._replace(name="gone"), 9).publish(batch(values(1), 9))
    query("DELETE FROM orders WHERE _casparian_job_id = 2 AND _casparian_row = 1")
    query("INSERT INTO orders SELECT * FROM orders WHERE _casparian_job_id = 2 AND id = 3")
    query("UPDATE orders SET name = 'x' WHERE _casparian_job_id = 3 AND id = 0")
    query("DROP TABLE gone")
    gone, orders = sink.holdings()
    assert "The table is gone" in gone.faults[0]
    assert [marker.job_id for marker in orders.markers] == [1, 2, 3]
    digests = [job.items[0].digest for job in jobs]
    sound, torn, changed = (orders.rows[n] for n in (1, 2, 3))
    assert (sound.rows, sound.digest, sound.version_ids) == (4, digests[0], (1,))
    assert (torn.rows, torn.digest, torn.doubled, torn.missing) == (4, None, (3,), (1,))
    assert changed.digest not in (None, digests[2])


# --- columns ----------------------------------------------------------------------------


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


def test_the_index_of_jobs_is_made_by_the_first_correction(
    sink: PostgresqlSink, target: Target, query: Query
) -> None:
    indexes = "SELECT count(*) FROM pg_index WHERE indrelid = 'orders'::regclass"
    for location in (1, 2):
        Job(sink, target, location, location).publish(batch(values(2), location))
    assert query(indexes) == [(0,)]
    for job_id in (3, 4):
        Job(sink, target, job_id, 1, ordinal=job_id).publish(batch(values(1), job_id))
    assert query(indexes) == [(1,)]
    assert query(PUBLISHED) == [(2, 0), (2, 1), (4, 0)]


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


def test_a_table_that_somebody_changed_blocks_its_jobs_alone(
    sink: PostgresqlSink, schema: str, target: Target, query: Query
) -> None:
    """A group goes on without those whose table does not take them."""
    other = target._replace(name="sound")
    jobs = []
    for number, place in ((1, target), (2, other)):
        Job(sink, place, number, location_id=number).publish(batch(values(1), number))
        job = Job(sink, place, number + 10, location_id=number + 10)
        job.stage(batch(values(2), number + 10))
        job.plan()
        jobs.append(job)
    query("ALTER TABLE orders DROP COLUMN name")
    receipts = sink.promote([item for job in jobs for item in job.to_promote()])
    assert [r.case for r in receipts] == [None, InstallCase.INSTALLED]
    assert '"name"' in (receipts[0].error or "")
    assert not receipts[0].transient


def test_decimals_of_every_size(sink: Sink, target: Target, query: Query) -> None:
    texts = ["0", "-0.00000001", "9999999999999999999999999999.99999999", "10000", "-123.45"]
    kind = pa.decimal128(36, 8)
    Job(sink, target, 1).publish(batch({"d": pa.array([Decimal(t) for t in texts], kind)}, 1))
    found = [Decimal(t) for (t,) in query("SELECT d::text FROM orders ORDER BY _casparian_row")]
    assert found == [Decimal(t) for t in texts]
