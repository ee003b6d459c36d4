"""The whole pipeline: files to rows by the real `casparian-engine run --drain`, as a process.

Each round measures the bare work first and the engine after it, on the same files, so that what
the machine does meanwhile meets both. The ratio of their medians is printed and kept in the extra
info of each result; `--benchmark-json` writes it down. The engine's time is that of its process
from start to end; what an empty inbox takes is told beside it.

CASPARIAN_BENCH_LARGE_FILES, CASPARIAN_BENCH_SMALL_FILES and CASPARIAN_BENCH_ROUNDS set the size.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
from adbc_driver_sqlite import dbapi

from tests.support.project import Project

pytestmark = pytest.mark.timeout(3600)

ROUNDS = int(os.environ.get("CASPARIAN_BENCH_ROUNDS", "3"))
LARGE_FILES = int(os.environ.get("CASPARIAN_BENCH_LARGE_FILES", "20"))
SMALL_FILES = int(os.environ.get("CASPARIAN_BENCH_SMALL_FILES", "500"))
LARGE_ROWS = 44_000
"""A file of 5 MB."""
SMALL_ROWS = 170
"""A file of 20 KB."""
THREADS = 2
SECOND_US = 1_000_000


# --- the files ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Drop:
    """A directory of CSV files."""

    directory: Path
    files: int
    rows: int
    size: int

    @property
    def paths(self) -> list[str]:
        return [str(self.directory / f"{n:05}.csv") for n in range(self.files)]


def ten_columns(rows: int) -> pa.Table:
    """Mixed columns: 115 bytes or so a line."""
    chance = random.Random(7)
    start = 1_700_000_000 * SECOND_US
    return pa.table(
        {
            "id": pa.array(range(rows)),
            "at": pa.array([start + n * 977_351 for n in range(rows)], pa.timestamp("us")),
            "amount": pa.array([round(chance.random() * 1000, 2) for _ in range(rows)]),
            "count": pa.array([chance.randrange(10_000) for _ in range(rows)]),
            "ratio": pa.array([round(chance.random(), 12) for _ in range(rows)]),
            "city": pa.array([f"city-{chance.randrange(5)}" for _ in range(rows)]),
            "code": pa.array([f"{chance.randrange(1 << 32):08x}" for _ in range(rows)]),
            "flag": pa.array([chance.random() < 0.5 for _ in range(rows)]),
            "score": pa.array([chance.gauss(0, 1) for _ in range(rows)]),
            "state": pa.array([f"state {chance.randrange(4)}" for _ in range(rows)]),
        }
    )


def fill(directory: Path, files: int, rows: int) -> Drop:
    """Files that differ in their ids, so that no two have the same content."""
    directory.mkdir()
    table = ten_columns(rows)
    for n in range(files):
        ids = pc.add(table["id"], n * rows)
        pcsv.write_csv(table.set_column(0, "id", ids), directory / f"{n:05}.csv")
    size = sum(path.stat().st_size for path in directory.iterdir())
    return Drop(directory, files, rows, size)


@pytest.fixture(scope="session")
def drops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Drop]]:
    base = tmp_path_factory.mktemp("drops")
    yield {
        "large": fill(base / "large", LARGE_FILES, LARGE_ROWS),
        "small": fill(base / "small", SMALL_FILES, SMALL_ROWS),
    }
    shutil.rmtree(base)


# --- the bare work ------------------------------------------------------------------------


def read(path: str) -> pa.Table:
    return pcsv.read_csv(path, read_options=pcsv.ReadOptions(use_threads=False))


def bare_parquet(drop: Drop, place: Path) -> None:
    """One Parquet file for each file, in two threads; nothing is synced, nothing is renamed."""

    def work(path: str) -> None:
        out = place / f"{Path(path).stem}.parquet"
        pq.write_table(read(path), out, compression="zstd", compression_level=1)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, drop.paths))


def bare_sqlite(drop: Drop, place: Path) -> None:
    """One connection, one transaction; timestamps as text."""
    with dbapi.connect(str(place / "out.db")) as connection, connection.cursor() as cursor:
        for path in drop.paths:
            table = read(path)
            table = table.set_column(1, "at", table["at"].cast(pa.string()))
            cursor.adbc_ingest("output", table, mode="create_append")
        connection.commit()


# --- the engine ---------------------------------------------------------------------------


def drain(directory: Path, inbox: Path, sink: str, twin: str) -> float:
    """Seconds that a new engine takes for an inbox, from its start to its end."""
    project = Project(directory)
    project.csv_to(sink)
    config = (directory / "casparian.toml").read_text()
    project.configure(config.replace('path = "inbox"', f'path = "{inbox}"'))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CASPARIAN_")}
    if twin == "pure":
        environment["CASPARIAN_PURE"] = "1"
    began = time.perf_counter()
    with (directory / "engine.log").open("wb") as log:
        code = subprocess.run(
            project.command("casparian-engine", "run", "--drain"),
            cwd=directory,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=log,
            check=False,
        ).returncode
    took = time.perf_counter() - began
    assert code == 0, project.log()[-3000:]
    return took


def rows_in(directory: Path, sink: str) -> int:
    """Rows that a reader finds, by what the formats themselves count."""
    if sink.startswith("sqlite"):
        with (
            closing(dbapi.connect(str(directory / "out.db"))) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("select count(*) from output")
            return int(cursor.fetchone()[0])
    files = (directory / "output").rglob("*.parquet")
    return sum(pq.read_metadata(path).num_rows for path in files)


@pytest.fixture(scope="session")
def start_up(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], float]:
    """Seconds that a drain of an empty inbox takes, by twin: the median of three."""

    @lru_cache
    def measured(twin: str) -> float:
        base = tmp_path_factory.mktemp("empty")
        (base / "nothing").mkdir()
        times = [
            drain(base / str(n), base / "nothing", "parquet://./output", twin) for n in range(3)
        ]
        return statistics.median(times)

    return measured


@pytest.fixture(params=["cython", "pure"])
def twin(request: pytest.FixtureRequest) -> str:
    if request.param == "cython":
        pytest.importorskip("casparian._fastpath._speed")
    return str(request.param)


# --- the measurements ---------------------------------------------------------------------

SINKS = {
    "parquet": ("parquet://./output", bare_parquet),
    "sqlite": ("sqlite://./out.db/output", bare_sqlite),
}


@pytest.mark.parametrize("files", [0, 1])
@pytest.mark.benchmark(group="start and end of an engine")
def test_start_up(benchmark: Any, tmp_path: Path, drops: Mapping[str, Drop], files: int) -> None:
    """An empty inbox: imports, database, one scan. One file: a sidecar's start as well."""
    inbox = tmp_path / "files"
    inbox.mkdir()
    for path in drops["small"].paths[:files]:
        shutil.copy(path, inbox)
    numbers = iter(range(ROUNDS))
    benchmark.pedantic(
        lambda: drain(tmp_path / str(next(numbers)), inbox, "parquet://./output", "cython"),
        rounds=ROUNDS,
    )


@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("size", ["large", "small"])
@pytest.mark.benchmark(group="pipeline, files to rows")
def test_pipeline(
    benchmark: Any,
    tmp_path: Path,
    drops: Mapping[str, Drop],
    start_up: Callable[[str], float],
    capsys: pytest.CaptureFixture[str],
    size: str,
    sink: str,
    twin: str,
) -> None:
    drop = drops[size]
    uri, bare = SINKS[sink]
    bare_times: list[float] = []
    engine_times: list[float] = []
    project = tmp_path / "project"

    def setup() -> None:
        """The bare work, timed here: pytest-benchmark times the engine."""
        if project.exists():
            check_and_remove()
        place = tmp_path / "bare"
        place.mkdir()
        began = time.perf_counter()
        bare(drop, place)
        bare_times.append(time.perf_counter() - began)
        shutil.rmtree(place)

    def run() -> None:
        engine_times.append(drain(project, drop.directory, uri, twin))

    def check_and_remove() -> None:
        assert rows_in(project, uri) == drop.files * drop.rows
        shutil.rmtree(project)

    benchmark.pedantic(run, setup=setup, rounds=ROUNDS)
    check_and_remove()
    figures = told(drop, statistics.median(engine_times), statistics.median(bare_times))
    net = statistics.median(engine_times) - start_up(twin)
    figures["ratio_without_start_up"] = round(net / statistics.median(bare_times), 2)
    figures["start_up_s"] = round(start_up(twin), 2)
    benchmark.extra_info.update(figures)
    with capsys.disabled():
        shown = ", ".join(f"{name} {value}" for name, value in figures.items())
        print(f"\n{drop.files} files of {drop.size / drop.files / 1e6:.2f} MB to {sink}, {twin}: ")
        print(f"  {shown}")


def told(drop: Drop, engine_s: float, bare_s: float) -> dict[str, float]:
    return {
        "ratio": round(engine_s / bare_s, 2),
        "engine_s": round(engine_s, 2),
        "bare_s": round(bare_s, 2),
        "engine_files_per_s": round(drop.files / engine_s),
        "bare_files_per_s": round(drop.files / bare_s),
        "engine_mb_per_s": round(drop.size / 1e6 / engine_s),
    }
