"""A bench for each test of the runtime; no thread of it outlives the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from casparian.sdk.plugin import CaspPlugin
from tests.unit.runtime.bench import PATIENCE_S, WINDOW, Bench, Engine, Start


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(str(tmp_path))
    yield engine
    engine.transport.close()


@pytest.fixture
def start(engine: Engine) -> Iterator[Start]:
    made: list[Bench] = []

    def start(handler: CaspPlugin, window: int = WINDOW) -> Bench:
        made.append(Bench(engine, handler, window))
        return made[-1]

    yield start
    for bench in made:
        engine.transport.close()
        bench.thread.join(PATIENCE_S)
        assert not bench.thread.is_alive()
