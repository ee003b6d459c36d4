"""A file dropped becomes rows: scout, queue, worker and sink, in one process."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa
import pytest

import casparian
from casparian import Engine, Settings
from casparian.adapters.queue import QueueStores
from casparian.adapters.sink.memory import MemorySinkFactory, MemoryStore
from casparian.domain import lineage
from casparian.domain.errors import CasparianError
from casparian.domain.publish import Target
from tests.support.project import Project

CSV = "id,name\n1,Ada\n2,Grace\n"
INLINE = """
[plugin_host]
adapter = "inline"
[transport]
adapter = "memory"
"""


def load(project: Project) -> Settings:
    return Settings.load(project.directory / "casparian.toml")


def set_up(project: Project, sink: str, inline: bool) -> None:
    project.csv_to(sink)
    if inline:
        file = project.directory / "casparian.toml"
        file.write_text(file.read_text().replace("[plugin_host]\nsidecars = 2\n", INLINE))


def test_importing_the_package_does_nothing_else() -> None:
    assert set(casparian.__all__) == {"DrainResult", "Engine", "FailedJob", "RunResult", "Settings"}
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = casparian.Nothing


@pytest.mark.parametrize("inline", [False, True], ids=["subprocess over ZMQ", "inline in memory"])
def test_dropped_published_corrected_and_never_twice(project: Project, inline: bool) -> None:
    set_up(project, "parquet://./output", inline)
    file = project.drop("people.csv", CSV)
    project.drop("notes.txt", "nobody wants it")

    def drain() -> casparian.DrainResult:
        engine = Engine(load(project))
        try:
            return engine.drain()
        finally:
            engine.close()

    first = drain()
    assert first.ok
    assert first.jobs == {"COMPLETED": 1}
    table = project.parquet()
    assert table.select(["id", "name"]).to_pylist() == [
        {"id": 1, "name": "Ada"},
        {"id": 2, "name": "Grace"},
    ]
    assert table[lineage.ROW].to_pylist() == [0, 1]
    ((job, version, content_hash),) = project.query(
        "select j.id, v.id, v.content_hash from processing_job j "
        "join file_version v on v.id = j.file_version_id"
    )
    assert set(table[lineage.JOB_ID].to_pylist()) == {job}
    assert set(table[lineage.FILE_VERSION_ID].to_pylist()) == {version}
    assert content_hash == hashlib.sha256(CSV.encode()).hexdigest()

    again = drain()
    assert (again.ok, dict(again.jobs)) == (True, {})
    assert project.parquet().equals(table)

    file.write_text(CSV + "3,Edsger\n")
    corrected = drain()
    assert corrected.jobs == {"COMPLETED": 1}
    assert sorted(project.parquet()["id"].to_pylist()) == [1, 2, 3]
    assert project.stagings() == []


def test_adapters_of_ones_own(project: Project) -> None:
    """A sink of the caller's, and everything else in memory too."""
    set_up(project, "memory://here", inline=True)
    for number in range(30):
        project.drop(f"d{number % 3}/f{number}.csv", f"n\n{number}\n")
    store = MemoryStore()
    engine = Engine(load(project), sinks={"memory": MemorySinkFactory(store)})
    try:
        assert engine.drain().jobs == {"COMPLETED": 30}
    finally:
        engine.close()
    names = {target.name for target, _ in store.slots}
    (name,) = names
    rows = store.read(Target("memory", "here", name))
    assert isinstance(rows, pa.Table)
    assert sorted(rows["n"].to_pylist()) == list(range(30))
    assert store.staged == {}


def test_halves_of_an_engine_meet_in_the_database(
    project: Project, test_db_engine: QueueStores
) -> None:
    """The scout's process ends before the worker's begins."""
    set_up(project, "parquet://./output", inline=True)
    project.drop("people.csv", CSV)
    scout = Engine(load(project), roles=("scout",), queue=test_db_engine)
    report = scout.drain()
    assert dict(report.jobs) == {}
    waiting = {s: n for s, n in test_db_engine.reports.status()["jobs"].items() if n}
    assert waiting == {"QUEUED": 1}
    worker = Engine(load(project), roles=("worker",), queue=test_db_engine)
    assert worker.drain().jobs == {"COMPLETED": 1}
    assert project.parquet().num_rows == 2


def test_a_name_that_is_no_port_is_refused(project: Project) -> None:
    set_up(project, "parquet://./output", inline=True)
    overrides: dict[str, Any] = {"clok": lambda: 0}
    with pytest.raises(TypeError, match="unexpected keyword argument 'clok'"):
        Engine(load(project), **overrides)


def test_an_engine_that_has_run_says_so(project: Project) -> None:
    set_up(project, "parquet://./output", inline=True)
    engine = Engine(load(project))
    try:
        engine.drain()
        with pytest.raises(CasparianError, match="make another Engine"):
            engine.drain()
    finally:
        engine.close()
