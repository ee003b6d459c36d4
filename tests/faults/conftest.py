"""Fixtures of tests that run the whole engine, or step two engines by hand."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casparian.adapters.queue import QueueStores, open_memory, open_sqlite, open_url
from casparian.testing.world import VirtualClock
from tests.support.crashes import SINKS, Crashes, ServerCrashes
from tests.support.disks import SmallDisk
from tests.support.outputs import Output, PostgresqlOutput, output_of
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


IN_FILES = list(itertools.product(("memory", "sqlite"), ("parquet", "sqlite")))
SURROUNDINGS = [*IN_FILES, ("postgresql", "postgresql")]


@pytest.fixture(params=SURROUNDINGS, ids="-".join)
def surroundings(request: pytest.FixtureRequest) -> tuple[str, str]:
    """What the queue is in, and the kind of the output."""
    queue, kind = request.param
    return queue, kind


@pytest.fixture
def stores(
    request: pytest.FixtureRequest,
    surroundings: tuple[str, str],
    clock: VirtualClock,
    tmp_path: Path,
) -> Iterator[QueueStores]:
    queue, _ = surroundings
    if queue == "memory":
        stores = open_memory(clock)
    elif queue == "sqlite":
        stores = open_sqlite(str(tmp_path / "queue.db"), clock)
    else:
        stores = open_url(request.getfixturevalue("postgresql_queue"), clock)
    yield stores
    stores.close()


@pytest.fixture
def output(make_output: Callable[[str], Output], surroundings: tuple[str, str]) -> Output:
    _, kind = surroundings
    return make_output(kind)


@pytest.fixture
def make_output(
    request: pytest.FixtureRequest, clock: VirtualClock, tmp_path: Path
) -> Iterator[Callable[[str], Output]]:
    """Makes one of a kind."""
    with contextlib.ExitStack() as made:

        def make(kind: str) -> Output:
            if kind != "postgresql":
                return output_of(kind, tmp_path, clock)
            url = request.getfixturevalue("postgresql_url")
            output = PostgresqlOutput(tmp_path, url, f"casparian_test_{uuid.uuid4().hex[:12]}")
            made.callback(output.remove)
            return output

        yield make


@pytest.fixture
def stage(stores: QueueStores, clock: VirtualClock, output: Output) -> Iterator[Stage]:
    """Whatever a schedule did, no invariant is broken at its end."""
    stage = Stage(stores, clock, output)
    yield stage
    if not stage.spoilt:
        assert stage.violations() == []


@pytest.fixture
def one(stage: Stage) -> Engine:
    return stage.engine("one")


@pytest.fixture
def two(stage: Stage) -> Engine:
    return stage.engine("two")
