"""Fixtures of tests that run the whole engine, or step two engines by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from casparian.adapters.queue import QueueStores, open_memory, open_sqlite
from casparian.testing.world import VirtualClock
from tests.support.project import Project
from tests.support.stepped import Engine, Stage, virtual_time


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


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
def stage(stores: QueueStores, clock: VirtualClock, tmp_path: Path, kind: str) -> Stage:
    return Stage(stores, clock, tmp_path, kind)


@pytest.fixture
def one(stage: Stage) -> Engine:
    return stage.engine("one")


@pytest.fixture
def two(stage: Stage) -> Engine:
    return stage.engine("two")
