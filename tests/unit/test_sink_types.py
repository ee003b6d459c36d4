"""Arrays of every Arrow type survive each sink, as docs/reference/types.md says."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from casparian.adapters.sink import _sqlite_target
from casparian.adapters.sink._types import canonical_type, cast_array
from casparian.adapters.sink.memory import MemorySinkFactory, MemoryStore
from casparian.adapters.sink.mssql import MssqlSinkFactory, MssqlSinkSettings
from casparian.adapters.sink.parquet import ParquetSinkFactory
from casparian.adapters.sink.postgresql import PostgresqlSinkFactory, PostgresqlSinkSettings
from casparian.adapters.sink.sqlite import SqliteSinkFactory
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.publish import PublishedSlot, Target
from casparian.testing.sink import Job, batch
from tests.support import mssql_server, mssql_sink, postgresql_sink
from tests.support.examples import examples
from tests.support.postgres_server import VARIABLE

DAY_S = 86_400
FIRST_S, LAST_S = -62_135_596_800, 253_402_300_799
_PER_S = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def whole(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    low = -(2 ** (bits - 1)) if signed else 0
    return st.integers(low, low + 2**bits - 1)


def moments(unit: str) -> st.SearchStrategy[int]:
    if unit == "ns":
        return whole(64, signed=True)
    per = _PER_S[unit]
    return st.integers(FIRST_S * per, (LAST_S + 1) * per - 1)


def decimals(kind: pa.DataType) -> st.SearchStrategy[Any]:
    return st.decimals(
        -(10 ** (kind.precision - kind.scale)) + 1,
        10 ** (kind.precision - kind.scale) - 1,
        places=kind.scale,
        allow_nan=False,
        allow_infinity=False,
    )


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
blob = st.binary(max_size=6)
double = st.floats(allow_nan=False)
finite = st.floats(allow_nan=False, allow_infinity=False)

# Type, and the values (as pa.array takes them) that it is tried with.
FLAT: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.null(), st.none()),
    (pa.bool_(), st.booleans()),
    *((getattr(pa, f"int{bits}")(), whole(bits, signed=True)) for bits in (8, 16, 32, 64)),
    *((getattr(pa, f"uint{bits}")(), whole(bits, signed=False)) for bits in (8, 16, 32, 64)),
    (pa.float32(), st.floats(width=32, allow_nan=False, allow_infinity=False)),
    (pa.float64(), finite),
    (pa.string(), text),
    (pa.large_string(), text),
    (pa.string_view(), text),
    (pa.binary(), blob),
    (pa.large_binary(), blob),
    (pa.binary(3), st.binary(min_size=3, max_size=3)),
    (pa.date32(), st.integers(FIRST_S // DAY_S, LAST_S // DAY_S)),
    (pa.date64(), st.integers(FIRST_S // DAY_S, LAST_S // DAY_S).map(lambda d: d * DAY_S * 1000)),
    (pa.time32("s"), st.integers(0, DAY_S - 1)),
    (pa.time32("ms"), st.integers(0, DAY_S * 1_000 - 1)),
    (pa.time64("us"), st.integers(0, DAY_S * 1_000_000 - 1)),
    (pa.time64("ns"), st.integers(0, DAY_S * 1_000_000_000 - 1)),
    *((pa.timestamp(unit), moments(unit)) for unit in _PER_S),
    *((pa.timestamp(unit, "America/St_Johns"), moments(unit)) for unit in _PER_S),
    *((pa.duration(unit), whole(64, signed=True)) for unit in _PER_S),
    *((k, decimals(k)) for k in (pa.decimal32(5, 2), pa.decimal64(12, 9))),
    *((k, decimals(k)) for k in (pa.decimal128(38, 10), pa.decimal256(60, 30))),
]


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


views_of_views = st.lists(optional(st.lists(optional(st.integers(0, 9)), max_size=3)), max_size=3)

TOP: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    *FLAT,
    (pa.list_(pa.null()), st.lists(st.none(), max_size=3)),
    (pa.struct([("a", pa.null())]), st.just({"a": None})),
    (pa.float64(), double),
    (pa.float16(), st.floats(width=16, allow_nan=False)),
    (pa.dictionary(pa.int8(), pa.string()), text),
    (pa.list_view(pa.string()), st.lists(optional(text), max_size=3)),
    (pa.large_list_view(pa.list_view(pa.int8())), views_of_views),
    (pa.struct([("a", pa.list_view(pa.date64()))]), st.just({"a": [None, 86_400_000]})),
    (pa.dictionary(pa.int32(), pa.int64()), whole(64, signed=True)),
    (pa.uuid(), st.binary(min_size=16, max_size=16)),
    (pa.json_(), st.just('{"a":1}')),
]


def nested(depth: int) -> st.SearchStrategy[tuple[pa.DataType, st.SearchStrategy[Any]]]:
    # Children of type null are tried by themselves: Arrow does not compare slices of them right.
    flat = st.sampled_from(FLAT[1:])
    if depth == 0:
        return flat
    inner = flat | nested(depth - 1)
    lists = st.sampled_from([pa.list_, pa.large_list])
    return st.one_of(
        st.builds(lambda make, i: (make(i[0]), st.lists(optional(i[1]), max_size=3)), lists, inner),
        inner.map(lambda i: (pa.list_(i[0], 2), st.lists(optional(i[1]), min_size=2, max_size=2))),
        st.tuples(inner, inner).map(
            lambda p: (
                pa.struct([("a", p[0][0]), ("b", p[1][0])]),
                st.fixed_dictionaries({"a": optional(p[0][1]), "b": optional(p[1][1])}),
            )
        ),
        inner.map(
            lambda i: (
                pa.map_(pa.string(), i[0]),
                st.lists(st.tuples(text, optional(i[1])), max_size=2),
            )
        ),
    )


@st.composite
def arrays(draw: Any) -> pa.Array:
    kind, values = draw(st.sampled_from(TOP) | nested(2))
    items = draw(st.lists(optional(values), max_size=5))
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(items, kind.storage_type))
    array = pa.array(items, kind)
    # A slice has an offset, which is where mistakes with buffers show.
    return array.slice(draw(st.integers(0, min(2, len(array)))))


@contextlib.contextmanager
def parquet() -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as base:
        factory = ParquetSinkFactory()
        target = factory.parse("parquet://out", base, "plug", "orders")

        def read() -> pa.Table:
            (file,) = Path(target.location).rglob("*.parquet")
            return pq.ParquetFile(file).read()

        yield factory.open(target.location), target, read


@contextlib.contextmanager
def sqlite() -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as base:
        factory = SqliteSinkFactory()
        target = factory.parse("sqlite://out.db/orders", base, "plug", "orders")

        def read() -> pa.Table:
            with contextlib.closing(sqlite3.connect(target.location)) as db:
                ((_, marker),) = factory.open(target.location).markers()
                assert _sqlite_target.digest_of_rows(db, "orders", 1) == marker.digest
                schema = _sqlite_target.full_schema(db, "orders")
                return pa.Table.from_batches(_sqlite_target.read_rows(db, "orders"), schema=schema)

        yield factory.open(target.location), target, read


@contextlib.contextmanager
def postgresql() -> Iterator[Any]:
    url = os.environ.get(VARIABLE)
    if not url:
        pytest.skip(f"no PostgreSQL: {VARIABLE} is not set; `make test` starts one if it can")
    factory = PostgresqlSinkFactory(PostgresqlSinkSettings(url=url))
    with postgresql_sink.random_schema(url) as schema:
        target = factory.parse(f"postgresql://{schema}.orders", "/", "plug", "orders")
        sink = factory.open(target.location)

        def read() -> pa.Table | None:
            ((_, marker),) = sink.markers()
            assert postgresql_sink.digest_of_rows(url, target, 1) == marker.digest
            return postgresql_sink.read(url, target)

        yield sink, target, read


@contextlib.contextmanager
def mssql() -> Iterator[Any]:
    url = os.environ.get(mssql_server.VARIABLE)
    if not url:
        pytest.skip(f"no SQL Server: {mssql_server.VARIABLE} is not set; see `make test-mssql`")
    factory = MssqlSinkFactory(MssqlSinkSettings(url=url))
    with mssql_sink.random_schema(url) as schema:
        target = factory.parse(f"mssql://{schema}.orders", "/", "plug", "orders")
        sink = factory.open(target.location)

        def read() -> pa.Table | None:
            ((_, marker),) = sink.markers()
            assert mssql_sink.digest_of_rows(url, target, 1) == marker.digest
            return mssql_sink.read(url, target)

        yield sink, target, read


def finer_than_postgresql(value: Any, kind: pa.DataType) -> bool:
    """Whether a value, or one within it, has what PostgreSQL's types have no place for."""
    if value is None:
        return False
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, int):
        if pa.types.is_time(kind) or pa.types.is_timestamp(kind):
            return kind.unit == "ns" and value % 1_000 != 0
        if pa.types.is_duration(kind):
            fine = kind.unit == "ns" and value % 1_000 != 0
            return fine or not -(2**63) <= value * 1_000_000 // _PER_S[kind.unit] < 2**63
        return False
    if isinstance(value, dict):
        return any(finer_than_postgresql(item, pa.null()) for item in value.values())
    within = isinstance(value, list | tuple)
    return within and any(finer_than_postgresql(item, pa.null()) for item in value)


def counted(array: pa.Array) -> list[Any]:
    """The values, times as numbers."""
    kind, t = array.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return counted(array.storage)
    if t.is_time32(kind):
        array = array.cast(pa.int32())
    if t.is_time64(kind) or t.is_timestamp(kind) or t.is_duration(kind):
        array = array.cast(pa.int64())
    return list(array.to_pylist())


@contextlib.contextmanager
def memory() -> Iterator[Any]:
    store = MemoryStore()
    target = Target("memory", "out", "orders")
    yield MemorySinkFactory(store).open("out"), target, lambda: store.read(target)


@pytest.mark.parametrize("place", [parquet, sqlite, memory])
@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(array=arrays())
@example(array=pa.array([-(2**63), -(2**63) + 1, None, 2**63 - 1, -1, 0], pa.timestamp("ns")))
def test_values_and_types_survive(place: Any, array: pa.Array) -> None:
    with place() as (sink, target, read):
        sink.check()
        job = Job(sink, target, 1).publish(batch({"c": array}, 1))
        table = read()
        expected = cast_array(array, canonical_type(array.type))
        assert comes_back_alike(sink, job, expected)
    assert canonical_type(table.schema.field("c").type) == expected.type
    found = cast_array(table["c"].combine_chunks(), expected.type)
    found.validate(full=True)
    assert found.equals(expected)


@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(array=arrays())
@example(array=pa.array([2**63 - 1, -(2**63), None, -1], pa.duration("us")))
@example(array=pa.array([FIRST_S * 10**6, (LAST_S + 1) * 10**6 - 1], pa.timestamp("us", "UTC")))
def test_values_survive_in_postgresql_or_are_refused(array: pa.Array) -> None:
    expected = cast_array(array, canonical_type(array.type))
    refused = any(finer_than_postgresql(v, array.type) for v in counted(array))
    with postgresql() as (sink, target, read):
        sink.check()
        if refused:
            with pytest.raises(JobError, match=r"nanoseconds|NUL|more than 64 bits") as caught:
                Job(sink, target, 1).publish(batch({"c": array}, 1))
            assert caught.value.error_class is ErrorClass.DATA
            return
        job = Job(sink, target, 1).publish(batch({"c": array}, 1))
        table = read()
        assert comes_back_alike(sink, job, expected)
    found = cast_array(table["c"].combine_chunks(), expected.type)
    assert found.equals(expected)


def comes_back_alike(sink: Any, job: Job, expected: pa.Array) -> bool:
    """Whether what stands in the job's slot is, in the form to compare by, what was published."""
    item = job.items[0]
    with sink.reading(PublishedSlot(item.target, item.mode, item.slot)) as standing:
        assert not standing.altered()
        rows = [sink.plain(rows, "the target") for rows in standing.batches()]
    published = sink.plain(batch({"c": expected}, 1), "the target")
    return bool(
        pa.Table.from_batches(rows, schema=published.schema).equals(
            pa.Table.from_batches([published])
        )
    )


REFUSED = r"nanoseconds|NUL|no stored form|Server's float"


@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(array=arrays())
def test_values_survive_in_mssql_or_are_refused(array: pa.Array) -> None:
    expected = cast_array(array, canonical_type(array.type))
    with mssql() as (sink, target, read):
        sink.check()
        refused = ""
        try:
            job = Job(sink, target, 1).publish(batch({"c": array}, 1))
        except JobError as error:
            refused = f"{error.error_class} {error.message}"
        if refused:
            # That only this is refused is tested value by value elsewhere.
            assert re.search(REFUSED, refused), refused
            assert refused.startswith("DATA")
            return
        table = read()
        assert comes_back_alike(sink, job, expected)
    found = cast_array(table["c"].combine_chunks(), expected.type)
    assert found.equals(expected)


@pytest.mark.parametrize("place", [parquet, memory, postgresql])
def test_nan_and_the_sign_of_zero_survive_where_they_can(place: Any) -> None:
    with place() as (sink, target, read):
        sink.check()
        Job(sink, target, 1).publish(batch({"c": [float("nan"), -0.0, float("inf")]}, 1))
        assert str(read()["c"].to_pylist()) == "[nan, -0.0, inf]"
        minus, zero = sink.plain(batch({"c": [-0.0, 0.0]}, 1), "the target")["c"].to_pylist()
        assert minus != zero


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        (pa.dictionary(pa.int8(), pa.large_string()), pa.string()),
        (pa.run_end_encoded(pa.int32(), pa.string_view()), pa.string()),
        (pa.large_list(pa.string_view()), pa.list_(pa.string())),
        (pa.list_(pa.field("element", pa.date64())), pa.list_(pa.date32())),
        (pa.struct([("a", pa.list_view(pa.int8()))]), pa.struct([("a", pa.list_(pa.int8()))])),
        (pa.timestamp("s", "UTC"), pa.timestamp("ms", "UTC")),
        (pa.int64(), pa.int64()),
    ],
)
def test_types_that_differ_in_layout_only_are_one(kind: pa.DataType, form: pa.DataType) -> None:
    assert str(canonical_type(kind)) == str(form)
    assert str(canonical_type(form)) == str(form)
