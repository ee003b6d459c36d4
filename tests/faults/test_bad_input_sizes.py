"""Much at once, or in very many pieces: whole at the other end, within bounded memory.

`make bad-input-full` runs both at full size: a batch of 3 GB, a million batches of one row.
"""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from tests.support.project import Project

FULL = os.environ.get("CASPARIAN_BAD_INPUT") == "full"
BATCH_MB = 3_072 if FULL else 128
BATCHES = 1_000_000 if FULL else 5_000
# What the engine may take beyond what it takes anyway, whatever a plugin publishes.
ENGINE_MB = 1_500

PLUGIN = """
import pathlib
import numpy as np
import pyarrow as pa
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        name, count = pathlib.Path(file_path).read_text().split()
        getattr(self, name)(int(count))

    def one_batch(self, rows):
        numbers = pa.array(np.arange(rows))
        self.publish("output", pa.record_batch({"n": numbers}))

    def many_batches(self, count):
        for number in range(count):
            self.publish("output", pa.record_batch({"n": [number]}))
"""


def run(project: Project, text: str, memory_mb: int) -> int:
    """Drains one file; returns the most that the engine took, in MB."""
    project.csv_to("parquet://./output")
    project.plugin("csv_table", PLUGIN)
    file = project.directory / "casparian.toml"
    limit = f"[plugin.csv_table]\nmemory_mb = {memory_mb}\n"
    file.write_text(file.read_text().replace("[plugin.csv_table]\n", limit))
    project.drop("a.csv", text)
    engine = project.start("--drain")
    most = 0
    ended = threading.Event()

    def watch() -> None:
        nonlocal most
        process = psutil.Process(engine.pid)
        while not ended.wait(0.1):
            try:
                most = max(most, process.memory_info().rss >> 20)
            except psutil.NoSuchProcess:
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        code = engine.wait(3_600 if FULL else 110)
    except subprocess.TimeoutExpired:
        engine.kill()
        raise
    finally:
        ended.set()
        watcher.join()
    assert code == 0, project.log()
    return most


def check_rows(directory: Path, rows: int) -> None:
    """Every number from 0 once, in the order of publishing."""
    at = 0
    for file in sorted(directory.rglob("*.parquet")):
        for batch in pq.ParquetFile(file).iter_batches(columns=["n", "_casparian_row"]):
            numbers = batch.column("n").to_numpy()
            assert (numbers == batch.column("_casparian_row").to_numpy()).all()
            assert (numbers[0], numbers[-1]) == (at, at + len(numbers) - 1)
            at += len(numbers)
    assert at == rows


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_one_batch_larger_than_any_message_is_split(project: Project) -> None:
    """Within the memory that the batch itself leaves."""
    rows = BATCH_MB * (1 << 20) // 8
    most = run(project, f"one_batch {rows}", memory_mb=BATCH_MB + 768)
    check_rows(project.directory / "output", rows)
    assert most < ENGINE_MB


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_very_many_batches_of_one_row(project: Project) -> None:
    most = run(project, f"many_batches {BATCHES}", memory_mb=1024)
    check_rows(project.directory / "output", BATCHES)
    assert most < ENGINE_MB


@pytest.mark.slow
def test_a_batch_beyond_its_memory_is_out_of_memory(project: Project) -> None:
    with pytest.raises(AssertionError):
        run(project, f"one_batch {(512 << 20) // 8}", memory_mb=384)
    ((kind, message),) = project.errors().values()
    assert kind == "OOM"
    assert "384" in message or "MemoryError" in message
    assert not list(project.directory.rglob("*.parquet"))
    assert project.stagings() == []
