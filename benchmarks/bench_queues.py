"""Jobs per second through queues: claim and complete, in batches, beside other queues.

    python benchmarks/bench_queues.py --peers PYTHON

PYTHON is an interpreter that has pgqueuer, procrastinate, huey, asyncpg and psycopg; without it
only this queue is measured. A PostgreSQL server is started for the run, with all of its
durability on; SQLite files are synced at every commit (`synchronous = FULL`), huey's too. Every
job is claimed and completed; what this queue does in between (`decide`) is done too, and not
counted. procrastinate and huey take one job at a time, whatever the batch.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

BATCHES = (1, 10, 100)
SECONDS = 2.0


def measured(take: Callable[[int], float], batch: int, jobs: int) -> float:
    """Jobs per second: `take(batch)` does a batch and returns the seconds that count."""
    done, counted, ends = 0, 0.0, time.monotonic() + 3 * SECONDS
    take(batch)
    while counted < SECONDS and done + 2 * batch <= jobs and time.monotonic() < ends:
        counted += take(batch)
        done += batch
    return done / counted


def ours(url: str, jobs: int) -> dict[str, float]:
    from casparian.adapters.queue import open_url
    from casparian.domain.files import Sighting
    from casparian.domain.jobs import JobStatus
    from casparian.domain.publish import Completion
    from casparian.testing.world import VirtualClock, World, content, stat

    stores = open_url(url)
    world = World(stores, VirtualClock())
    world.apply()
    routing, root = stores.store.routing(), world.root.id
    for first in range(0, jobs, 10_000):
        numbers = range(first, min(first + 10_000, jobs))
        files = [Sighting(b"in/%07d.csv" % i, stat(), content(str(i))) for i in numbers]
        stores.catalog.record(root, files, routing)

    def take(batch: int) -> float:
        began = time.perf_counter()
        claims = world.claim(batch)
        counted = time.perf_counter() - began
        assert len(claims) == batch
        states = stores.ledger.slots([(c.plugin, c.location_id) for c in claims])
        decisions = [world.decision(c, state=states[c.plugin, c.location_id]) for c in claims]
        assert stores.ledger.decide(decisions) == {}
        done = [Completion(c.job_id, c.token, JobStatus.COMPLETED, 5) for c in claims]
        began = time.perf_counter()
        assert len(stores.ledger.complete(done)) == batch
        return counted + time.perf_counter() - began

    found = {str(batch): measured(take, batch, jobs // len(BATCHES)) for batch in BATCHES}
    stores.close()
    return found


# --- the least that any queue does --------------------------------------------------------------


def bare(
    connection: Any,
    jobs: int,
    marker: str,
    lock: str,
    among: str,
    ids: Callable[[list[int]], object],
) -> dict[str, float]:
    """Two columns, one index, two statements and two commits a batch: what the database itself
    takes for jobs that stay as rows, and what no queue of that kind can be faster than."""
    run = connection.cursor()
    run.execute("CREATE TABLE bare (id INTEGER PRIMARY KEY, status INTEGER NOT NULL)")
    run.executemany(f"INSERT INTO bare VALUES ({marker}, 0)", [(n,) for n in range(jobs)])
    run.execute("CREATE INDEX bare_waiting ON bare (id) WHERE status = 0")
    connection.commit()
    claim = (
        "UPDATE bare SET status = 1 WHERE id IN "
        f"(SELECT id FROM bare WHERE status = 0 ORDER BY id LIMIT {marker} {lock}) RETURNING id"
    )

    def take(batch: int) -> float:
        began = time.perf_counter()
        claimed = [row[0] for row in run.execute(claim, (batch,)).fetchall()]
        connection.commit()
        assert len(claimed) == batch
        run.execute(f"UPDATE bare SET status = 2 WHERE id {among}", (ids(claimed),))
        connection.commit()
        return time.perf_counter() - began

    return {str(batch): measured(take, batch, jobs // len(BATCHES)) for batch in BATCHES}


def bare_sqlite(path: str, jobs: int) -> dict[str, float]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        among = "IN (SELECT value FROM json_each(?))"
        return bare(connection, jobs, "?", "", among, json.dumps)


def bare_postgresql(url: str, jobs: int) -> dict[str, float]:
    import psycopg

    with psycopg.connect(url) as connection:
        return bare(connection, jobs, "%s", "FOR UPDATE SKIP LOCKED", "= ANY(%s)", list)


# --- others -----------------------------------------------------------------------------------


def pgqueuer(url: str, jobs: int) -> dict[str, float]:
    import uuid
    from datetime import timedelta

    import asyncpg
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.models import Job
    from pgqueuer.queries import EntrypointExecutionParameter, Queries

    async def run() -> dict[str, float]:
        connection = await asyncpg.connect(url)
        queries = Queries(AsyncpgDriver(connection))
        await queries.install()
        for _ in range(0, jobs, 1000):
            await queries.enqueue(["fetch"] * 1000, [None] * 1000, [0] * 1000)
        entry = {"fetch": EntrypointExecutionParameter(0)}
        manager, beat = uuid.uuid4(), timedelta(seconds=30)

        async def take(batch: int) -> float:
            began = time.perf_counter()
            claimed: list[Job] = await queries.dequeue(batch, entry, manager, None, beat)
            assert len(claimed) == batch
            await queries.log_jobs([(job, "successful", None) for job in claimed])
            return time.perf_counter() - began

        found = {}
        for batch in BATCHES:
            done, counted = 0, 0.0
            await take(batch)
            while counted < SECONDS and done + 2 * batch <= jobs // len(BATCHES):
                counted += await take(batch)
                done += batch
            found[str(batch)] = done / counted
        await connection.close()
        return found

    return asyncio.run(run())


def procrastinate(url: str, jobs: int) -> dict[str, float]:
    import procrastinate
    from procrastinate.jobs import Status

    async def run() -> dict[str, float]:
        app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))

        @app.task
        def nothing() -> None: ...

        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            for _ in range(0, jobs, 1000):
                await nothing.batch_defer_async(*[{} for _ in range(1000)])
            worker = await app.job_manager.register_worker()
            done, began = 0, time.perf_counter()
            while time.perf_counter() - began < SECONDS:
                job = await app.job_manager.fetch_job(None, worker)
                assert job is not None
                await app.job_manager.finish_job(job, Status.SUCCEEDED, False)
                done += 1
            return {"1": done / (time.perf_counter() - began)}

    return asyncio.run(run())


def huey(path: str, jobs: int) -> dict[str, float]:
    from huey.storage import SqliteStorage

    storage = SqliteStorage(filename=path, fsync=True)
    for _ in range(min(jobs, 5000)):
        storage.enqueue(b"x" * 100)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS and done < min(jobs, 5000):
        assert storage.dequeue() is not None
        storage.put_data(b"%d" % done, b"result")
        done += 1
    return {"1": done / (time.perf_counter() - began)}


PEERS: dict[str, Callable[[str, int], dict[str, float]]] = {
    "pgqueuer": pgqueuer,
    "procrastinate": procrastinate,
    "huey": huey,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", help="an interpreter with the other queues")
    parser.add_argument("--jobs", type=int, default=30_000, help="jobs that wait at the beginning")
    parser.add_argument("--one", nargs=2, metavar=("QUEUE", "PLACE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(PEERS[given.one[0]](given.one[1], given.jobs)))
        return
    show(f"SQLite, {given.jobs:,} jobs", on_sqlite(given.peers, given.jobs))
    show(f"PostgreSQL, {given.jobs:,} jobs", on_postgresql(given.peers, given.jobs))


def on_sqlite(peers: str | None, jobs: int) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as directory:
        found = {"bare statements": bare_sqlite(f"{directory}/bare.sqlite3", jobs)}
        found["casparian"] = ours(f"sqlite:///{directory}/queue.sqlite3", jobs)
        if peers:
            found["huey"] = of_peer(peers, "huey", f"{directory}/huey.sqlite3", jobs)
    return found


def on_postgresql(peers: str | None, jobs: int) -> dict[str, dict[str, float]]:
    from tests.support.postgres_server import Server, new_schema, server_programs

    programs = server_programs()
    if programs is None:
        print("PostgreSQL is not installed here")
        return {}
    server = Server(programs)
    server.start()
    try:
        plain = server.url.replace("+psycopg", "")
        found = {"bare statements": bare_postgresql(plain, jobs)}
        with new_schema(server.url) as url:
            found["casparian"] = ours(url, jobs)
        for peer in ("pgqueuer", "procrastinate") if peers else ():
            found[peer] = of_peer(str(peers), peer, plain, jobs)
    finally:
        server.remove()
    return found


def of_peer(python: str, queue: str, place: str, jobs: int) -> dict[str, float]:
    command = [python, __file__, "--one", queue, place, "--jobs", str(jobs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def show(title: str, found: dict[str, dict[str, float]]) -> None:
    print(f"\n{title}: jobs/s claimed and completed, by batch")
    print(f"{'':16}" + "".join(f"{batch:>10}" for batch in BATCHES))
    for name, figures in found.items():
        cells = (figures.get(str(batch)) for batch in BATCHES)
        print(f"{name:16}" + "".join(f"{round(c):>10,}" if c else f"{'':>10}" for c in cells))


if __name__ == "__main__":
    main()
