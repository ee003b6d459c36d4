"""Fixtures of tests that run the whole engine, or step two engines by hand."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casparian.adapters.queue import QueueStores, open_memory, open_sqlite
from casparian.testing.world import VirtualClock
from tests.support.crashes import SINKS, Crashes, ServerCrashes
from tests.support.disks import SmallDisk
from tests.support.project import Project
from tests.support.stepped import Engine, Stage, virtual_time

SHIM = Path(__file__).with_name("fault_shim.c")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture
def disk(project: Project) -> Iterator[SmallDisk]:
    disk = SmallDisk(project.directory / "disk")
    yield disk
    disk.remove()


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: the shim of faults cannot be built")
    library = tmp_path_factory.mktemp("shim") / "fault_shim.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", library, SHIM, "-ldl"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return library


MakeCrashes = Callable[[Path, str, str], Crashes]


@pytest.fixture
def make_crashes(request: pytest.FixtureRequest, shim: Path) -> Iterator[MakeCrashes]:
    """Makes a project in a directory, with this kind of sinks, in this mode."""
    made: list[Crashes] = []

    def make(directory: Path, kind: str, mode: str) -> Crashes:
        if kind in SINKS:
            made.append(Crashes(directory, shim, kind, mode))
        else:
            url = request.getfixturevalue("postgresql_url")
            made.append(ServerCrashes(directory, shim, kind, mode, url=url))
        return made[-1]

    yield make
    for crashes in made:
        crashes.close()


# --- engines stepped by hand ------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualClock]:
    clock = VirtualClock()
    with virtual_time(clock, monkeypatch):
        yield clock


@pytest.fixture(params=["memory", "sqlite"])
def stores(
    request: pytest.FixtureRequest, clock: VirtualClock, tmp_path: Path
) -> Iterator[QueueStores]:
    memory = request.param == "memory"
    stores = open_memory(clock) if memory else open_sqlite(str(tmp_path / "queue.db"), clock)
    yield stores
    stores.close()


@pytest.fixture(params=["parquet", "sqlite"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stage(stores: QueueStores, clock: VirtualClock, tmp_path: Path, kind: str) -> Iterator[Stage]:
    """Whatever a schedule did, no invariant is broken at its end."""
    stage = Stage(stores, clock, tmp_path, kind)
    yield stage
    if not stage.spoilt:
        assert stage.violations() == []


@pytest.fixture
def one(stage: Stage) -> Engine:
    return stage.engine("one")


@pytest.fixture
def two(stage: Stage) -> Engine:
    return stage.engine("two")
