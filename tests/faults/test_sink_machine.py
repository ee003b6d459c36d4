"""Every sink under any order of steps, by two processes, held against a model without a format.

Staged, promoted once, twice, or by who has lost the staging; taken over, thrown away, swept;
replaced and appended, widened, emptied; and the process started anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from casparian.adapters.sink.memory import MemorySinkFactory, MemoryStore
from casparian.adapters.sink.parquet import ParquetSinkFactory
from casparian.adapters.sink.postgresql import PostgresqlSinkFactory, PostgresqlSinkSettings
from casparian.adapters.sink.sqlite import SqliteSinkFactory
from casparian.testing.sink import SinkPlace
from casparian.testing.world import VirtualClock
from tests.contracts.test_sink import MemoryPlace, ParquetPlace, PostgresqlPlace, SqlitePlace
from tests.support import postgresql_sink
from tests.support.examples import examples
from tests.support.sink_machine import MakePlace, SinkMachine

STEPS = 50


# --- the places -------------------------------------------------------------------------


@contextlib.contextmanager
def memory_place(clock: VirtualClock) -> Iterator[SinkPlace]:
    store = MemoryStore()
    yield MemoryPlace(store, MemorySinkFactory(store), "memory://out", "/")


@contextlib.contextmanager
def parquet_place(clock: VirtualClock) -> Iterator[SinkPlace]:
    with TemporaryDirectory() as base:
        yield ParquetPlace(ParquetSinkFactory(clock), "parquet://./out", base)


@contextlib.contextmanager
def sqlite_place(clock: VirtualClock) -> Iterator[SinkPlace]:
    with TemporaryDirectory() as base:
        yield SqlitePlace(SqliteSinkFactory(), "sqlite://out.db/{topic}", base)


def run(make: MakePlace, times: int) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: SinkMachine(make),
        settings=settings(
            max_examples=examples(times),
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("make", [memory_place, parquet_place, sqlite_place])
def test_any_order_of_steps(make: MakePlace) -> None:
    run(make, 5)


def test_any_order_of_steps_in_postgresql(postgresql_url: str) -> None:
    factory = PostgresqlSinkFactory(PostgresqlSinkSettings(url=postgresql_url))

    @contextlib.contextmanager
    def place(clock: VirtualClock) -> Iterator[SinkPlace]:
        with postgresql_sink.random_schema(postgresql_url) as schema:
            uri = f"postgresql://{schema}.{{topic}}"
            yield PostgresqlPlace(postgresql_url, factory, uri, "/")

    run(place, 1)


def test_the_model_is_met_by_files_on_the_disk(tmp_path: Path) -> None:
    """That it can fail: rows that nobody published are seen."""

    @contextlib.contextmanager
    def place(clock: VirtualClock) -> Iterator[SinkPlace]:
        yield ParquetPlace(ParquetSinkFactory(clock), "parquet://./out", str(tmp_path))

    machine = SinkMachine(place)
    machine.stage(process=0, location=1, older=0, counts={"orders": 2}, wide=False)
    machine.decide(0)
    machine.promote(0)
    machine.readers_see_what_stands()
    (slot,) = (tmp_path / "out" / "orders").iterdir()
    (file,) = slot.glob("*.parquet")
    file.with_name("double.parquet").write_bytes(file.read_bytes())
    with pytest.raises(AssertionError, match="orders"):
        machine.readers_see_what_stands()
