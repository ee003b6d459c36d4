"""The operator's documents: the keys that scripts rely on, and advice that can be followed."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from casparian.adapters.queue import advice as advice_module
from casparian.adapters.queue import file_documents, open_memory, open_sqlite
from casparian.app.cli.operator import app
from casparian.domain.errors import ErrorClass
from casparian.domain.jobs import Claim, Failure, JobStatus, RetryPolicy
from casparian.testing.purges import begin_one, finish
from casparian.testing.queue import node
from casparian.testing.world import HASH, PLUGIN, VirtualClock, World, applied, plugin


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    clock = VirtualClock()
    path = str(tmp_path / "queue.sqlite3")
    stores = open_memory(clock) if request.param == "memory" else open_sqlite(path, clock)
    world = World(stores, clock)
    world.apply()
    yield world
    stores.close()


def fail(world: World, error: ErrorClass) -> None:
    claim = world.claim_one()
    failure = Failure(claim.job_id, claim.attempt, claim.token, error, "Line 3 is short.")
    world.stores.queue.fail([failure], RetryPolicy())


def advice(world: World, path: bytes = b"a.csv") -> str:
    (story,) = world.stores.reports.why(path)
    return "\n".join(story["advice"])


def test_a_trace_goes_from_a_job_back_to_its_bytes(world: World) -> None:
    world.record((b"dir/\xff.csv", "1"))
    world.publish(world.claim_one())
    world.record((b"dir/\xff.csv", "2"))
    world.publish(claim := world.claim_one())
    assert world.stores.reports.trace(99) is None
    document = json.loads(json.dumps(world.stores.reports.trace(claim.job_id)))
    job, version = document["job"], document["version"]
    assert (job["id"], job["attempt"], job["plugin_hash"]) == (claim.job_id, 1, HASH)
    assert [(o["topic"], o["rows"]) for o in job["outputs"]] == [("rows", 5)]
    assert (version["ordinal"], version["current"], version["tags"]) == (2, True, ["csv"])
    assert version["content_hash"] == claim.content_hash
    assert document["path"].encode("utf-8", "surrogateescape") == b"dir/\xff.csv"
    assert document["source_root"] == "/in"


def test_purged_rows_are_told_by_why_and_trace(world: World) -> None:
    """Of the job whose rows stood until then: those of the version before were replaced."""
    claims = []
    for text in "12":
        world.record((b"a.csv", text))
        world.publish(claim := world.claim_one())
        claims.append(claim)
    world.clock.advance(60)
    purge = begin_one(world, claims[1])
    assert outcome(world, claims[1]) is None
    finish(world, purge)
    ended = {"job_id": purge.job_id, "at": "2023-11-14T22:14:20.000000Z", "actor": "me@here"}
    assert (outcome(world, claims[0]), outcome(world, claims[1])) == (None, ended)
    trace = world.stores.reports.trace(purge.job_id)
    assert trace is not None
    (output,) = trace["job"]["outputs"]
    assert (trace["job"]["kind"], output["emptied"], output["purged"]) == ("PURGE", True, None)
    world.record((b"a.csv", "3"))
    world.publish(newest := world.claim_one())
    assert (outcome(world, claims[1]), outcome(world, newest)) == (ended, None)


def outcome(world: World, claim: Claim) -> dict[str, Any] | None:
    """What the purge of a job's rows is told as, by both documents."""
    (story,) = world.stores.reports.why(b"a.csv")
    jobs = [job for version in story["versions"] for job in version["jobs"]]
    (by_why,) = [o["purged"] for j in jobs if j["id"] == claim.job_id for o in j["outputs"]]
    trace = world.stores.reports.trace(claim.job_id)
    assert trace is not None
    assert [o["purged"] for o in trace["job"]["outputs"]] == [by_why]
    found: dict[str, Any] | None = by_why
    return found


def test_advice_after_a_purge(world: World) -> None:
    world.record((b"a.csv", "1"))
    world.publish(first := world.claim_one())
    given_up = begin_one(world, first)
    assert advice(world) == ""
    failure = Failure(given_up.job_id, 1, given_up.token, ErrorClass.CONFLICT, "It was late.")
    world.stores.queue.fail([failure], RetryPolicy())
    assert "given up: run `casparian purge --path a.csv` again" in advice(world)
    world.stores.queue.cancel([begin_one(world, first).job_id], "me")
    assert "was cancelled: run `casparian purge --path a.csv` again" in advice(world)
    finish(world, begin_one(world, first))
    said = advice(world)
    assert said.startswith("The rows that lines had published of it were purged by me@here at")
    assert said.endswith("`casparian forget a.csv` has the file published again.")
    world.stores.catalog.missed([first.location_id])
    world.stores.catalog.missed([first.location_id])
    said = advice(world)
    assert "stay published" not in said
    assert "casparian forget" not in said
    world.record((b"a.csv", "2"))
    world.publish(world.claim_one())
    assert advice(world) == ""


def test_a_purge_is_no_worker(world: World) -> None:
    """A command that purges runs no jobs: somebody has to start an engine."""
    world.record((b"a.csv", "1"))
    world.stores.queue.beat(replace(node(), roles=("purge",)))
    assert "no worker is alive" in advice(world)
    world.stores.queue.beat(node())
    assert "no worker is alive" not in advice(world)


def test_documents_are_json_with_the_promised_keys(world: World) -> None:
    world.record((b"dir/\xff.csv", "1"), (b"b.csv", "1"))
    world.publish(world.claim_one())
    fail(world, ErrorClass.DATA)
    world.stores.queue.beat(node())
    reports = world.stores.reports
    documents: list[Any] = [reports.status(), reports.files(), reports.jobs()]
    documents.append(reports.why(b"dir/\xff.csv"))
    status, files, jobs, (story,) = json.loads(json.dumps(documents))
    assert status["jobs"] == {"COMPLETED": 1, "FAILED": 1}
    assert (status["files"], status["versions"]) == (2, 2)
    assert status["workers"][0]["alive"] is True
    assert status["plugins"][0]["name"] == PLUGIN
    assert status["source_roots"][0]["files"] == 2
    assert status["throughput"] == {"window_s": 60, "jobs": 1, "rows": 5}
    assert files[1] | {
        "path": "dir/\udcff.csv", "source_root": "/in", "size": 3, "version": 1, "versions": 1,
        "tags": ["csv"], "deleted": False,
    } == files[1]  # fmt: skip
    done, failed = jobs
    assert done | {"status": "COMPLETED", "rows": 5, "rejects": 0, "error": None} == done
    assert (done["plugin_hash"], done["attempt"], done["priority"]) == (HASH, 1, 0)
    assert failed["error"]["class"] == "DATA"
    assert [attempt["event"] for attempt in failed["error"]["attempts"]] == ["FAILED"]
    (version,) = story["versions"]
    assert {"file_version_id", "content_hash", "seen_at", "tags", "jobs"} <= set(version)
    assert version["seen_at"].endswith("Z")
    (output,) = version["jobs"][0]["outputs"]
    assert (output["topic"], output["target"], output["rows"]) == (
        "rows",
        "parquet:///out/rows",
        5,
    )


def test_the_minute_passes(world: World) -> None:
    world.record((b"a.csv", "1"))
    world.stores.queue.beat(node())
    world.publish(world.claim_one())
    world.clock.advance(60)
    status = world.stores.reports.status()
    assert status["throughput"]["jobs"] == 0
    assert status["workers"][0]["alive"] is False


def test_the_queue_by_plugin_and_status_with_the_age_of_what_waits(world: World) -> None:
    world.record((b"a.csv", "1"))
    world.publish(world.claim_one())
    world.record((b"b.csv", "1"))
    world.clock.advance(7)
    world.record((b"c.csv", "1"))
    world.clock.advance(3)
    assert world.stores.reports.queue() == [
        {"plugin": PLUGIN, "status": "COMPLETED", "jobs": 1, "age_s": None},
        {"plugin": PLUGIN, "status": "QUEUED", "jobs": 2, "age_s": 10.0},
    ]


def test_unknown_paths_have_no_story(world: World) -> None:
    assert world.stores.reports.why(b"nothing.csv") == []


def test_advice_to_files_nobody_wants(world: World) -> None:
    world.record((b"a.txt", "1"), (b"a.csv", "1"))
    assert "No rule gives 'a.txt' a tag" in advice(world, b"a.txt")
    world.apply(applied(plugins=(plugin(tags=("json",)),)))
    world.record((b"b.csv", "1"))
    assert "No plugin wants its tags (csv)" in advice(world, b"b.csv")


def test_advice_to_waiting_files(world: World) -> None:
    world.record((b"a.csv", "1"))
    assert "no worker is alive: start one" in advice(world)
    world.stores.queue.beat(node())
    assert "waits for its turn" in advice(world)
    fail(world, ErrorClass.CRASH)
    assert "is tried again by itself at 2023-" in advice(world)
    world.stores.store.quarantine(PLUGIN, HASH, "It kills its host.")
    assert "under quarantine: It kills its host." in advice(world)


def test_advice_to_jobs_that_ended_badly(world: World) -> None:
    world.record((b"a.csv", "1"))
    fail(world, ErrorClass.DATA)
    (remedy,) = advice(world).splitlines()
    assert remedy.startswith("Correct 'a.csv' and drop it again under the same name: it becomes")
    assert remedy.endswith("start the engine again and run `casparian retry 1`.")
    assert "Line 3 is short" not in remedy
    world.stores.queue.retry([1], "ann")
    world.stores.queue.cancel([1], "ann")
    assert "was cancelled" in advice(world)
    world.stores.queue.retry([1], "ann")
    claim = world.claim_one()
    world.decide(claim)
    world.stores.ledger.block(claim.job_id, claim.token, "The disk is full.")
    assert "run `casparian retry 1`." in advice(world)
    assert "The disk is full." not in advice(world)


@pytest.mark.parametrize("error", ErrorClass)
def test_every_failure_has_a_remedy_and_no_more(world: World, error: ErrorClass) -> None:
    world.record((b"a.csv", "1"))
    claim = world.claim_one()
    failure = Failure(claim.job_id, claim.attempt, claim.token, error, "it broke")
    world.stores.queue.fail([failure], RetryPolicy(max_attempts=1, max_crashes=1))
    (status,) = world.stores.queue.backlog()
    if status is JobStatus.FAILED:
        (remedy,) = advice(world).splitlines()
        assert remedy.endswith(".")
        assert "casparian retry 1" in remedy or "new version" in remedy
    else:
        assert (status, error) in [
            (JobStatus.QUEUED, ErrorClass.INFRASTRUCTURE),
            (JobStatus.QUEUED, ErrorClass.CONFLICT),
        ]


def test_advice_to_files_that_are_gone(world: World) -> None:
    world.record((b"a.csv", "1"))
    world.publish(world.claim_one())
    assert advice(world) == ""
    for _ in range(2):
        world.stores.catalog.missed([1])
    assert "its rows stay published" in advice(world)


def test_advice_names_only_commands_that_exist() -> None:
    texts = "".join(inspect.getsource(module) for module in (advice_module, file_documents))
    named = set(re.findall(r"`casparian (\w+)", texts))
    assert "retry" in named
    assert named <= set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
