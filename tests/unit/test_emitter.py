"""Lineage events leave by a thread of their own: in order, tried until taken, or counted."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from casparian.app.openlineage import emitter as module
from casparian.app.openlineage.emitter import Emitter, Refused
from casparian.app.purging import purge_of
from casparian.domain.errors import ErrorClass
from casparian.domain.jobs import Failure, JobStatus
from casparian.domain.plugins import Mode
from casparian.domain.publish import EMPTY_DIGEST, ManifestItem, SlotKey, Target
from tests.support.router import claim

INSTALLATION = "0123456789abcdef0123456789abcdef"
NEVER: Any = object()


class Collector:
    """A transport that does with each event what it was told to: raise, wait, or take it."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.taken: queue.Queue[Any] = queue.Queue()
        self.asked = threading.Event()
        self.released = threading.Event()

    def emit(self, event: Any) -> None:
        self.asked.set()
        answer = self.answers.pop(0) if self.answers else None
        if answer is NEVER:
            assert self.released.wait(60)
        elif answer is not None:
            raise answer
        self.taken.put(event)

    def states(self) -> list[tuple[str, str]]:
        """The events taken so far: state and run."""
        seen = []
        while not self.taken.empty():
            event = self.taken.get()
            seen.append((event.eventType.value, event.run.runId))
        return seen


def emitting(collector: Collector, most_waiting: int = 100) -> Emitter:
    emitter = Emitter("here", collector, most_waiting, lambda: 1_700_000_000_000_000)
    emitter.start(INSTALLATION)
    return emitter


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.001)


def fail(emitter: Emitter, number: int, error: ErrorClass = ErrorClass.DATA) -> None:
    job = claim(number)
    failure = Failure(job.job_id, job.attempt, job.token, error, "Line 3 is short.", "trace")
    emitter.failed(job, failure, JobStatus.FAILED)


def test_an_attempt_is_one_run_with_a_start_and_an_end() -> None:
    collector = Collector()
    emitter = emitting(collector)
    emitter.claimed([claim(1), claim(2)], 0.1)
    fail(emitter, 1)
    fail(emitter, 2, ErrorClass.CONFLICT)
    emitter.close()
    (_, one), (_, two), *ends = states = collector.states()
    assert [state for state, _ in states] == ["START", "START", "FAIL", "ABORT"]
    assert [run for _, run in ends] == [one, two]
    assert one != two
    assert (emitter.sent, emitter.dropped, emitter.refused) == (4, 0, 0)


def test_an_event_is_sent_again_until_it_is_taken_and_the_order_holds() -> None:
    collector = Collector(ConnectionError("gone"), TimeoutError("slow"))
    emitter = emitting(collector)
    emitter.claimed([claim(1)], 0.1)
    fail(emitter, 1)
    emitter.close()
    assert [state for state, _ in collector.states()] == ["START", "FAIL"]
    assert (emitter.sent, emitter.dropped) == (2, 0)


@pytest.mark.parametrize("error", [Refused("HTTP 422"), ValueError("a mistake")])
def test_what_will_never_be_taken_costs_no_other_event(error: Exception) -> None:
    collector = Collector(error)
    emitter = emitting(collector)
    emitter.claimed([claim(1), claim(2)], 0.1)
    emitter.close()
    assert (emitter.sent, emitter.refused) == (1, 1)


def test_a_collector_that_does_not_answer_holds_nobody_up() -> None:
    """The queue ends, what comes then is dropped; the end of the engine waits for its grace."""
    collector = Collector(NEVER)
    with capture_logs() as logs:
        emitter = emitting(collector, most_waiting=10)
        emitter.lost(claim(1))
        assert collector.asked.wait(60)
        for number in range(2, 102):
            emitter.lost(claim(number))
        # One is at the collector, ten wait.
        assert emitter.dropped == 90
        began = time.monotonic()
        emitter.close(grace_s=0.05)
        took = time.monotonic() - began
    assert took < 30, "close waited for a collector that never answers"
    assert emitter.dropped == 101
    said = [entry for entry in logs if entry["event"] == "lineage events dropped"]
    # Once for the ninety, once for the rest.
    assert [entry["dropped"] for entry in said] == [1, 101]
    collector.released.set()


def test_a_purge_has_an_end_and_no_code() -> None:
    """An engine that finishes one tells of the targets that lost rows."""
    collector = Collector()
    emitter = emitting(collector)
    purge = purge_of(claim(7)._replace(plugin_hash=""), INSTALLATION).manifest
    target = Target("parquet", "/out", "rows")
    slot = SlotKey("lines", "rows", 1)
    item = ManifestItem(target, Mode.REPLACE, slot, False, 0, EMPTY_DIGEST)
    emitter.published(replace(purge, items=(item,)), JobStatus.COMPLETED)
    emitter.close()
    event = collector.taken.get_nowait()
    assert (event.eventType.value, set(event.job.facets)) == ("COMPLETE", {"jobType"})
    (output,) = event.outputs
    assert (output.name, output.outputFacets["outputStatistics"].rowCount) == ("/out/rows", 0)


def test_closing_what_never_began_is_nothing() -> None:
    Emitter("here", Collector(), 10, lambda: 0).close()
