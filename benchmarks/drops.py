"""CSV files for the pipeline's benchmark: ten mixed columns, the same in every run."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

SECOND_US = 1_000_000


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
