"""Sinks against the bare writers they use, in the same run; and many small outputs at once.

Compare the groups' medians: absolute figures say as much of the machine as of the code.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from adbc_driver_sqlite import dbapi

from casparian.adapters.sink import _durable
from casparian.adapters.sink._sqlite_staging import SLICE_ROWS
from casparian.adapters.sink.parquet import ParquetSink
from casparian.adapters.sink.sqlite import SqliteSink
from casparian.domain.ports import Sink
from casparian.domain.publish import InstallCase, Target
from casparian.testing.sink import Job, batch

ROWS = 512 * 1024
BATCH_ROWS = 64 * 1024
GROUP = 100
SMALL_ROWS = 300


def columns(rows: int) -> dict[str, Any]:
    """Ten mixed columns: 85 bytes or so a row."""
    numbers = pa.array(range(rows))
    return {
        "id": numbers,
        "amount": pa.array([i * 0.37 for i in range(rows)]),
        "count": pa.array([i % 100 for i in range(rows)], pa.int32()),
        "flag": pa.array([i % 3 == 0 for i in range(rows)]),
        "when": pa.array(
            [1_700_000_000_000_000 + i * 977 for i in range(rows)], pa.timestamp("us")
        ),
        "name": pa.array([f"customer {i * 7919 % 100_003}" for i in range(rows)]),
        "city": pa.array([f"city {i % 50}" for i in range(rows)]),
        "code": pa.array([f"{i:08x}" for i in range(rows)]),
        "ratio": pa.array([1 / (i + 1) for i in range(rows)]),
        "maybe": pa.array([i if i % 5 else None for i in range(rows)]),
    }


@pytest.fixture(scope="module")
def large() -> pa.Table:
    return pa.Table.from_batches([batch(columns(ROWS), 1)])


@pytest.fixture(scope="module")
def small() -> pa.RecordBatch:
    return batch(columns(SMALL_ROWS), 1)


def parquet(base: Path) -> tuple[Sink, Target]:
    sink = ParquetSink(str(base / "out"))
    sink.check()
    return sink, Target("parquet", sink.location, "orders")


def sqlite(base: Path) -> tuple[Sink, Target]:
    sink = SqliteSink(str(base / "out.db"))
    sink.check()
    return sink, Target("sqlite", sink.location, "orders")


SINKS = pytest.mark.parametrize("opened", [parquet, sqlite], ids=["parquet", "sqlite"])
numbers = itertools.count(1)


# --- one large output -------------------------------------------------------------------


@pytest.mark.benchmark(group="512k rows to Parquet")
def test_bare_pyarrow(benchmark: Any, large: pa.Table, tmp_path: Path) -> None:
    def write() -> None:
        path = tmp_path / "bare.parquet"
        pq.write_table(large, path, compression="zstd", compression_level=1)
        with open(path, "rb") as file:
            os.fsync(file.fileno())

    benchmark.pedantic(write, rounds=5)


@pytest.mark.benchmark(group="512k rows to Parquet")
def test_parquet_sink(benchmark: Any, large: pa.Table, tmp_path: Path) -> None:
    publish_large(benchmark, large, *parquet(tmp_path))


@pytest.mark.benchmark(group="512k rows to SQLite")
def test_bare_adbc(benchmark: Any, large: pa.Table, tmp_path: Path) -> None:
    """Straight into the target, timestamps as text: what a user would do by hand."""
    at = large.schema.get_field_index("when")
    table = large.set_column(at, "when", large["when"].cast(pa.string()))

    def load() -> None:
        path = str(tmp_path / f"bare{next(numbers)}.db")
        with dbapi.connect(path) as connection, connection.cursor() as cursor:
            cursor.adbc_ingest("orders", table, mode="create")
            connection.commit()

    benchmark.pedantic(load, rounds=3)


@pytest.mark.benchmark(group="512k rows to SQLite")
def test_sqlite_sink(benchmark: Any, large: pa.Table, tmp_path: Path) -> None:
    publish_large(benchmark, large, *sqlite(tmp_path), rounds=3)


def publish_large(
    benchmark: Any, table: pa.Table, sink: Sink, target: Target, rounds: int = 5
) -> None:
    assert BATCH_ROWS <= SLICE_ROWS

    def publish() -> None:
        number = next(numbers)
        Job(sink, target, number, location_id=number).publish(
            *table.to_batches(max_chunksize=BATCH_ROWS)
        )

    benchmark.pedantic(publish, rounds=rounds)


# --- many small outputs -----------------------------------------------------------------


@SINKS
@pytest.mark.benchmark(group=f"{GROUP} outputs of {SMALL_ROWS} rows: staged")
def test_small_outputs_staged(
    benchmark: Any, small: pa.RecordBatch, tmp_path: Path, opened: Callable[..., Any]
) -> None:
    sink, target = opened(tmp_path)
    benchmark.pedantic(lambda: staged_group(sink, target, small), rounds=5)


@SINKS
@pytest.mark.parametrize("replacing", [False, True], ids=["new", "replacing"])
@pytest.mark.benchmark(group=f"{GROUP} outputs of {SMALL_ROWS} rows: marked, synced, promoted")
def test_small_outputs_promoted(
    benchmark: Any,
    small: pa.RecordBatch,
    tmp_path: Path,
    opened: Callable[..., Any],
    replacing: bool,
) -> None:
    sink, target = opened(tmp_path)

    def group() -> tuple[tuple[list[Job]], dict[str, Any]]:
        return (staged_group(sink, target, small, replacing=replacing),), {}

    def promote(jobs: list[Job]) -> None:
        for job in jobs:
            for item in job.items:
                sink.stage_marker(job.manifest, item, job.key)
        sink.sync([job.key for job in jobs])
        receipts = sink.promote([item for job in jobs for item in job.to_promote()])
        for job in jobs:
            sink.discard(job.key)
        assert {receipt.case for receipt in receipts} == {InstallCase.INSTALLED}

    benchmark.pedantic(promote, setup=group, rounds=10)


def staged_group(
    sink: Sink, target: Target, rows: pa.RecordBatch, *, replacing: bool = False
) -> list[Job]:
    jobs = []
    for n in range(GROUP):
        number = next(numbers)
        place = n if replacing else number
        job = Job(sink, target, number, location_id=place + 1, ordinal=number)
        job.stage(with_job(rows, number))
        jobs.append(job)
    return jobs


def with_job(rows: pa.RecordBatch, number: int) -> pa.RecordBatch:
    at = rows.schema.get_field_index("_casparian_job_id")
    ids = pa.array([number] * rows.num_rows, pa.int64())
    return rows.set_column(at, rows.schema.field(at), ids)


# --- fsync or syncfs --------------------------------------------------------------------


@pytest.fixture
def dirty(tmp_path: Path) -> Callable[[int], list[str]]:
    """Makes n files of 20 KB, each in a directory of its own, and names all of these."""

    def make(n: int) -> list[str]:
        paths = []
        for _ in range(n):
            directory = tmp_path / str(next(numbers))
            directory.mkdir()
            (directory / "file").write_bytes(b"x" * 20_000)
            paths += [str(directory), str(directory / "file")]
        return paths

    return make


@pytest.mark.parametrize("files", [1, 2, 4, 8, 16, 64])
@pytest.mark.parametrize("how", ["fsync", "syncfs"])
@pytest.mark.benchmark(group="durability of n small files")
def test_durability(
    benchmark: Any, dirty: Callable[[int], list[str]], tmp_path: Path, how: str, files: int
) -> None:
    syncer = _durable.Syncer(str(tmp_path), syncfs_from=0 if how == "syncfs" else 1 << 30)
    began = syncer.epoch()
    benchmark.pedantic(
        lambda paths: syncer.sync(paths, began), setup=lambda: ((dirty(files),), {}), rounds=20
    )
