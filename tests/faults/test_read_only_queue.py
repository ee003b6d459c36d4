"""The file system of the queue turns read-only under the engine, as ext4 does at an error."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.test_resources import content, numbers, published, quick
from tests.support import forked
from tests.support.audit import violations_of
from tests.support.disks import Disk
from tests.support.project import Project, wait_for


class OnDisk(Project):
    """The queue on a disk of its own."""

    @property
    def database(self) -> Path:
        return self.directory / "disk" / "queue.sqlite3"


@pytest.fixture
def project(tmp_path: Path) -> OnDisk:
    return OnDisk(tmp_path / "project")


@pytest.fixture
def disk(project: OnDisk) -> Iterator[Disk]:
    disk = Disk.made(project.directory / "disk", "ext4")
    yield disk
    disk.remove()


@pytest.mark.slow
def test_a_queue_that_turns_read_only_is_waited_for_and_loses_nothing(
    project: OnDisk, disk: Disk
) -> None:
    project.csv_to("parquet://./output", '[database]\nurl = "sqlite:///disk/queue.sqlite3"\n')
    quick(project)
    project.drop("a.csv", content(0))
    with project.running() as engine:
        wait_for(lambda: project.statuses() == {"COMPLETED": 1})
        disk.turn_read_only()
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            (disk.path / "more").touch()
        project.drop("b.csv", content(10))
        wait_for(lambda: _is_told(project))
        assert engine.poll() is None
    assert engine.poll() == 0
    assert "Traceback" not in project.log()
    assert published(project) == numbers(range(10))
    disk.power_up()
    assert project.drain() == 0, project.log()
    assert published(project) == numbers(range(20))
    assert project.statuses() == {"COMPLETED": 2}
    assert violations_of(project.database) == []


def _is_told(project: Project) -> bool:
    """The engine cannot report in any more: `casparian status` sees for itself."""
    done = forked.run("casparian", "status", cwd=project.directory)
    return done.returncode == 3 and "readonly database" in done.stdout
