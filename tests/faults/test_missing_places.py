"""The disk of an output is not mounted, or its file is gone: nothing is published into what lies
below the mount point, and the jobs wait until it is back."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.test_resources import content, numbers, published, quick, waited_for
from tests.support.audit import violations_of
from tests.support.disks import Disk
from tests.support.project import Project, read_parquet, wait_for

pytestmark = pytest.mark.slow
SINKS = {
    "root": "parquet://./disk",
    "parquet": "parquet://./disk/output",
    "sqlite": "sqlite://disk/out.db/output",
}
QUEUED = "select error_class, tries from processing_job where status = 'QUEUED'"


@pytest.fixture
def mounted(project: Project) -> Iterator[Disk]:
    disk = Disk.made(project.directory / "disk", "ext4")
    yield disk
    disk.remove()


def rows(project: Project, kind: str) -> list[int]:
    return published(project, kind, "disk" if kind == "root" else "disk/output")


def published_below(place: Path, kind: str) -> list[int]:
    if kind == "parquet":
        return sorted(read_parquet(place / "output")["a"].to_pylist())
    with contextlib.closing(sqlite3.connect(place / "out.db")) as db:
        return sorted(a for (a,) in db.execute("select a from output"))


def drained(project: Project, files: int) -> None:
    assert project.drain() == 0, project.log()
    assert project.statuses() == {"COMPLETED": files}


@pytest.mark.parametrize("kind", SINKS)
def test_a_disk_that_is_unmounted_under_an_engine_is_waited_for(
    project: Project, mounted: Disk, kind: str
) -> None:
    """Lazily, as files of it are open; it comes back as it was."""
    project.csv_to(SINKS[kind])
    quick(project)
    project.drop("a.csv", content(0))
    with project.running() as engine:
        wait_for(lambda: project.statuses() == {"COMPLETED": 1})
        mounted.unmount(lazily=True)
        project.drop("b.csv", content(10))
        wait_for(lambda: project.query(QUEUED) == [("INFRASTRUCTURE", 0)])
        wait_for(lambda: "mounted" in waited_for(project).get("plugin csv_table", ""))
        assert list(mounted.path.iterdir()) == [], "something was made below the mount point"
        mounted.mount()
        wait_for(lambda: project.statuses() == {"COMPLETED": 2})
        wait_for(lambda: waited_for(project) == {})
        assert engine.poll() is None
    assert rows(project, kind) == numbers(range(20))
    assert violations_of(project.database) == []


@pytest.mark.parametrize("kind", SINKS)
def test_an_engine_does_not_start_without_the_disk_that_it_has_published_to(
    project: Project, mounted: Disk, kind: str
) -> None:
    project.csv_to(SINKS[kind])
    project.drop("a.csv", content(0))
    drained(project, 1)
    mounted.unmount()
    project.drop("b.csv", content(10))
    assert project.drain() == 3
    assert "Is its disk mounted?" in project.log()
    assert "Is its disk mounted?" in project.casparian("check", code=1).stdout
    assert list(mounted.path.iterdir()) == [], "something was made below the mount point"
    assert not list(project.directory.glob(".disk*")), "something was made beside it"
    mounted.mount()
    drained(project, 2)
    assert rows(project, kind) == numbers(range(20))
    assert violations_of(project.database) == []


@pytest.mark.parametrize("kind", ["parquet", "sqlite"])
def test_an_output_that_was_removed_is_made_anew(project: Project, kind: str) -> None:
    """Its disk is there: under an engine, and before the next starts. What was removed is named,
    and can be published again."""
    project.csv_to("parquet://./output" if kind == "parquet" else "sqlite://output/out.db/output")
    place = project.directory / "output"
    place.mkdir()
    removed = place if kind == "parquet" else place / "out.db"
    project.drop("a.csv", content(0))
    with project.running() as engine:
        wait_for(lambda: project.statuses() == {"COMPLETED": 1})
        removed.rename(project.directory / "away")
        project.drop("b.csv", content(10))
        wait_for(lambda: project.statuses() == {"COMPLETED": 2})
        assert engine.poll() is None
    assert published_below(place, kind) == numbers(range(10, 20))
    (lost,) = violations_of(project.database)
    assert lost.startswith("I2 ")
    assert "a.csv" in lost
    removed.rename(project.directory / "away too")
    project.casparian("forget", "a.csv", "b.csv")
    drained(project, 4)
    assert published_below(place, kind) == numbers(range(20))
    assert violations_of(project.database) == []


def test_an_output_that_was_brought_back_from_a_copy_is_taken(project: Project) -> None:
    """Whoever copied it may not have seen the private directory beside it."""
    project.csv_to("parquet://./output")
    project.drop("a.csv", content(0))
    drained(project, 1)
    shutil.rmtree(project.directory / ".output.casparian")
    project.drop("b.csv", content(10))
    drained(project, 2)
    assert published(project) == numbers(range(20))
    assert violations_of(project.database) == []


def test_a_place_that_nothing_was_published_to_is_made(project: Project, tmp_path: Path) -> None:
    """As at a first start: also where the queue has published elsewhere."""
    project.csv_to("parquet://./output")
    project.drop("a.csv", content(0))
    drained(project, 1)
    project.csv_to("parquet://./elsewhere/output")
    project.drop("b.csv", content(10))
    drained(project, 2)
    assert published(project, root="elsewhere/output") == numbers(range(10, 20))
