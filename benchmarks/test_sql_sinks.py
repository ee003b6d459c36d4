"""Bulk loads into SQL sinks beside the bare loaders, in one run: staging and promoting, all of it.

PostgreSQL is the server that CASPARIAN_TEST_POSTGRES_URL names, SQLite a file; every way ends with
a commit that is on the disk, as far as the server is set to do that. The ways take turns, since a
machine is not the same from one minute to the next: compare the medians of one group.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from benchmarks.test_sinks import BATCH_ROWS, ROWS, columns, numbers
from casparian.adapters.sink._postgresql_session import driver_uri
from casparian.adapters.sink.postgresql import PostgresqlSinkFactory, PostgresqlSinkSettings
from casparian.adapters.sink.sqlite import SqliteSink
from casparian.domain.ports import Sink
from casparian.domain.publish import Target
from casparian.testing.sink import Job, batch
from tests.support.postgres_server import VARIABLE, new_schema

ROUNDS = int(os.environ.get("CASPARIAN_BENCH_ROUNDS", "5"))
Way = Callable[[], Callable[[], object]]
"""One load; what it returns cleans up after it."""


@pytest.fixture(scope="module")
def large() -> pa.Table:
    return pa.Table.from_batches([batch(columns(ROWS), 1)])


def in_turn(benchmark: Any, ways: dict[str, Way], base: str) -> None:
    """Time each way in each round; tell rows a second, and the ratio to `base`."""
    for way in ways.values():
        way()()
    times: dict[str, list[float]] = {name: [] for name in ways}

    order = list(ways.items())

    def one_round() -> None:
        for name, way in order:
            began = time.perf_counter()
            clean = way()
            times[name].append(time.perf_counter() - began)
            clean()
        # What one way leaves to be written is not always the same other's to wait for.
        order.append(order.pop(0))

    benchmark.pedantic(one_round, rounds=ROUNDS)
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, median in medians.items():
        ratio = medians[name] / medians[base]
        benchmark.extra_info[name] = {"rows_per_s": round(ROWS / median), "ratio": round(ratio, 2)}
        print(f"\n{name:<28} {ROWS / median:>10,.0f} rows/s   {ratio:.2f}", end="")


# --- PostgreSQL -------------------------------------------------------------------------


class Server:
    """A schema of a server, and the ways into a table of it."""

    def __init__(self, url: str, schema: str, rows: pa.Table) -> None:
        import psycopg
        from adbc_driver_postgresql import dbapi

        self.rows = pa.Table.from_batches(rows.to_batches(max_chunksize=BATCH_ROWS))
        self.schema = schema
        self.bare = dbapi.connect(driver_uri(url))
        self.psycopg = psycopg.connect(url.replace("+psycopg", ""), autocommit=False)
        factory = PostgresqlSinkFactory(PostgresqlSinkSettings(url=url))
        self.sink = factory.open(schema)
        self.sink.check()
        self.tuples = list(zip(*(c.to_pylist() for c in rows.columns), strict=True))

    def adbc(self) -> Callable[[], object]:
        """A new table each time, which costs nothing beside its rows."""
        name = f"bare{next(numbers)}"
        with self.bare.cursor() as cursor:
            cursor.adbc_ingest(name, self.rows, mode="create", db_schema_name=self.schema)
        self.bare.commit()
        return partial(self._drop, name)

    def copy(self) -> Callable[[], object]:
        name = f"bare{next(numbers)}"
        with self.bare.cursor() as cursor:
            empty = self.rows.slice(0, 0)
            cursor.adbc_ingest(name, empty, mode="create", db_schema_name=self.schema)
        self.bare.commit()
        place = f"{self.schema}.{name}"
        listed = ", ".join(f'"{column}"' for column in self.rows.schema.names)
        with (
            self.psycopg.cursor() as cursor,
            cursor.copy(f"COPY {place} ({listed}) FROM STDIN") as copy,
        ):
            for row in self.tuples:
                copy.write_row(row)
        self.psycopg.commit()
        return partial(self._drop, name)

    def publish(self) -> Callable[[], object]:
        """Into a new table, as the bare ways do."""
        name = f"rows{next(numbers)}"
        publish(self.sink, Target("postgresql", self.schema, name), self.rows, 1, 1)
        return partial(self._drop, name)

    def correct(self) -> Callable[[], object]:
        """The second of two publications of a slot: the first one's rows go."""
        number = next(numbers) + 10
        target = Target("postgresql", self.schema, "corrected")
        publish(self.sink, target, self.rows, 1, number)
        return self._vacuum

    def _vacuum(self) -> None:
        """As the server does by itself, at times of its own."""
        self.psycopg.autocommit = True
        self.psycopg.execute(f"VACUUM {self.schema}.corrected")
        self.psycopg.autocommit = False

    def _drop(self, name: str) -> None:
        with self.bare.cursor() as cursor:
            cursor.execute(f"DROP TABLE {self.schema}.{name}")
        self.bare.commit()


def publish(sink: Sink, target: Target, rows: pa.Table, location: int, number: int) -> None:
    at = rows.schema.get_field_index("_casparian_job_id")
    ids = pa.repeat(pa.scalar(number, pa.int64()), rows.num_rows)
    mine = rows.set_column(at, rows.schema.field(at), ids)
    job = Job(sink, target, number, location_id=location, ordinal=number)
    job.publish(*mine.to_batches(max_chunksize=BATCH_ROWS))


@pytest.fixture
def server(large: pa.Table) -> Iterator[Server]:
    url = os.environ.get(VARIABLE)
    if not url:
        pytest.skip(f"no PostgreSQL: {VARIABLE} is not set")
    with new_schema(url) as with_schema:
        schema = with_schema.rpartition("search_path%3D")[2]
        server = Server(url, schema, large)
        try:
            yield server
        finally:
            server.bare.close()
            server.psycopg.close()


@pytest.mark.benchmark(group="512k rows to PostgreSQL")
def test_postgresql(benchmark: Any, server: Server) -> None:
    ways = {
        "ADBC alone": server.adbc,
        "sink, new rows": server.publish,
        "sink, corrected rows": server.correct,
        "psycopg COPY by row": server.copy,
    }
    in_turn(benchmark, ways, "ADBC alone")


# --- SQLite -----------------------------------------------------------------------------


@pytest.mark.benchmark(group="512k rows to SQLite, in turn")
def test_sqlite(benchmark: Any, large: pa.Table, tmp_path: Path) -> None:
    from adbc_driver_sqlite import dbapi

    at = large.schema.get_field_index("when")
    table = large.set_column(at, "when", large["when"].cast(pa.string()))

    def adbc() -> Callable[[], object]:
        path = tmp_path / f"bare{next(numbers)}.db"
        with dbapi.connect(str(path)) as connection, connection.cursor() as cursor:
            cursor.adbc_ingest("orders", table, mode="create")
            connection.commit()
        return path.unlink

    def sink() -> Callable[[], object]:
        path = tmp_path / f"sink{next(numbers)}.db"
        opened = SqliteSink(str(path))
        opened.check()
        publish(opened, Target("sqlite", opened.location, "orders"), large, 1, 1)
        return path.unlink

    in_turn(benchmark, {"ADBC alone": adbc, "sink, new rows": sink}, "ADBC alone")
