"""The places that a sidecar is shown have to be made, which may be impossible for a while."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.disks import SmallDisk
from tests.support.project import Project, wait_for

LAST_ERROR = "select error_class, error_message from processing_job where error_class is not null"


@pytest.fixture
def disk(project: Project) -> Iterator[SmallDisk]:
    """Where sidecars find the copies that are made for them."""
    (project.directory / "run").mkdir(mode=0o700)
    disk = SmallDisk(project.directory / "run" / "snapshots")
    yield disk
    disk.remove()


def test_an_engine_waits_where_a_place_cannot_be_made(project: Project, disk: SmallDisk) -> None:
    project.csv_to("parquet://output")
    project.drop("a.csv", "n\n1\n")
    disk.remount("ro")
    with project.running() as engine:
        wait_for(lambda: project.statuses() and project.query(LAST_ERROR))
        assert engine.poll() is None
        ((error_class, message),) = project.query(LAST_ERROR)
        assert error_class == "INFRASTRUCTURE"
        assert f"Read-only file system: '{disk.path}" in message, message
        disk.remount("rw")
        wait_for(lambda: project.statuses() == {"COMPLETED": 1})
    assert project.query("select tries, crashes from processing_job") == [(0, 0)]
    assert "Traceback" not in project.log()
