"""The whole pipeline: files to rows by the real `casparian-engine run --drain`, as a process.

Each round measures the bare work first and the engine after it, on the same files, so that what
the machine does meanwhile meets both. The ratio of their medians is printed and kept in the extra
info of each result; `--benchmark-json` writes it down. The engine's time is that of its process
from start to end; what an empty inbox takes is told beside it. On a machine that has other work
to do, only the ratio of CPU times, sidecars included, says something.

CASPARIAN_BENCH_LARGE_FILES, CASPARIAN_BENCH_SMALL_FILES and CASPARIAN_BENCH_ROUNDS set the size.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
from adbc_driver_sqlite import dbapi

from benchmarks.drops import Drop, fill
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


# --- the files ----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def drops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Drop]]:
    base = tmp_path_factory.mktemp("drops")
    yield {
        "large": fill(base / "large", LARGE_FILES, LARGE_ROWS),
        "small": fill(base / "small", SMALL_FILES, SMALL_ROWS),
    }
    shutil.rmtree(base)


# --- time ---------------------------------------------------------------------------------


class Took(NamedTuple):
    """Seconds on the wall and of the CPU."""

    wall: float
    cpu: float


class Watch:
    """Time since it was made; the CPU time is that of this process and its ended children."""

    def __init__(self) -> None:
        self._began = self._now()

    def read(self) -> Took:
        now = self._now()
        return Took(now.wall - self._began.wall, now.cpu - self._began.cpu)

    @staticmethod
    def _now() -> Took:
        used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return Took(time.perf_counter(), sum(u.ru_utime + u.ru_stime for u in used))


def median(times: Sequence[Took]) -> Took:
    return Took(*(statistics.median(column) for column in zip(*times, strict=True)))


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


def drain(directory: Path, inbox: Path, sink: str, twin: str) -> Took:
    """What a new engine takes for an inbox, from its start to its end."""
    project = Project(directory)
    project.csv_to(sink)
    config = (directory / "casparian.toml").read_text()
    project.configure(config.replace('path = "inbox"', f'path = "{inbox}"'))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CASPARIAN_")}
    if twin == "pure":
        environment["CASPARIAN_PURE"] = "1"
    watch = Watch()
    with (directory / "engine.log").open("wb") as log:
        code = subprocess.run(
            project.command("casparian-engine", "run", "--drain"),
            cwd=directory,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=log,
            check=False,
        ).returncode
    took = watch.read()
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
            ((rows,),) = cursor.fetchall()
            return int(rows)
    files = (directory / "output").rglob("*.parquet")
    return sum(pq.read_metadata(path).num_rows for path in files)


@pytest.fixture(scope="session")
def start_up(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Took]:
    """What a drain of an empty inbox takes, by twin: the median of three."""

    @lru_cache
    def measured(twin: str) -> Took:
        base = tmp_path_factory.mktemp("empty")
        (base / "nothing").mkdir()
        times = [
            drain(base / str(n), base / "nothing", "parquet://./output", twin) for n in range(3)
        ]
        return median(times)

    return measured


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


@pytest.mark.parametrize("size", ["large", "small"])
@pytest.mark.parametrize(
    ("sink", "twin"), [("parquet", "cython"), ("parquet", "pure"), ("sqlite", "cython")]
)
@pytest.mark.benchmark(group="pipeline, files to rows")
def test_pipeline(
    benchmark: Any,
    tmp_path: Path,
    drops: Mapping[str, Drop],
    start_up: Callable[[str], Took],
    capsys: pytest.CaptureFixture[str],
    size: str,
    sink: str,
    twin: str,
) -> None:
    if twin == "cython":
        pytest.importorskip("casparian._fastpath._speed")
    drop = drops[size]
    uri, bare = SINKS[sink]
    bare_times: list[Took] = []
    engine_times: list[Took] = []
    project = tmp_path / "project"

    def setup() -> None:
        """The bare work, timed here: pytest-benchmark times the engine."""
        if project.exists():
            check_and_remove()
        place = tmp_path / "bare"
        place.mkdir()
        watch = Watch()
        bare(drop, place)
        bare_times.append(watch.read())
        shutil.rmtree(place)

    def run() -> None:
        engine_times.append(drain(project, drop.directory, uri, twin))

    def check_and_remove() -> None:
        assert rows_in(project, uri) == drop.files * drop.rows
        shutil.rmtree(project)

    benchmark.pedantic(run, setup=setup, rounds=ROUNDS)
    check_and_remove()
    figures = told(drop, median(engine_times), median(bare_times), start_up(twin))
    benchmark.extra_info.update(figures)
    with capsys.disabled():
        shown = ", ".join(f"{name} {value}" for name, value in figures.items())
        print(f"\n{drop.files} files of {drop.size / drop.files / 1e6:.2f} MB to {sink}, {twin}: ")
        print(f"  {shown}")


def told(drop: Drop, engine: Took, bare: Took, start_up: Took) -> dict[str, float]:
    return {
        "ratio": round(engine.wall / bare.wall, 2),
        "cpu_ratio": round(engine.cpu / bare.cpu, 2),
        "cpu_ratio_without_start_up": round((engine.cpu - start_up.cpu) / bare.cpu, 2),
        "engine_s": round(engine.wall, 2),
        "engine_cpu_s": round(engine.cpu, 2),
        "bare_s": round(bare.wall, 2),
        "bare_cpu_s": round(bare.cpu, 2),
        "start_up_s": round(start_up.wall, 2),
        "start_up_cpu_s": round(start_up.cpu, 2),
        "engine_files_per_s": round(drop.files / engine.wall),
        "bare_files_per_s": round(drop.files / bare.wall),
        "engine_mb_per_s": round(drop.size / 1e6 / engine.wall),
    }
