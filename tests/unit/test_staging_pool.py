"""The pool of writers: frames of a job in order, jobs side by side, no failure leaves its job."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from casparian.app.payloads import GarbledPayload
from casparian.app.staging_pool import WORTH_WAKING_BYTES, StagingPool
from casparian.domain.errors import ErrorClass, JobError, UnavailableError
from casparian.domain.jobs import Claim
from casparian.domain.messages import TopicTotals
from casparian.domain.ports import Buffer
from casparian.domain.wire import Flag, credit_for
from tests.support.router import claim

PATIENCE_S = 20.0
ONE, TWO = claim(1), claim(2)


class Context:
    """A job's staging. `on_frame` may wait or raise; what it was asked for is `asked`."""

    def __init__(self, on_frame: Callable[[bytes], None] = lambda payload: None) -> None:
        self.asked: list[str] = []
        self.on_frame = on_frame
        self.finish_error: Exception | None = None
        self.discard_error: Exception | None = None

    def frame(self, topic: str, flags: Flag, payload: Buffer) -> None:
        self.asked.append(bytes(payload).decode())
        self.on_frame(bytes(payload))

    def finish(self, totals: Mapping[str, TopicTotals]) -> str:
        self.asked.append("finish")
        if self.finish_error is not None:
            raise self.finish_error
        return "manifest"

    def discard(self) -> None:
        self.asked.append("discard")
        if self.discard_error is not None:
            raise self.discard_error


class Events:
    """What the pool reports, in order, as tuples."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []
        self._changed = threading.Condition()

    def _note(self, *what: Any) -> None:
        with self._changed:
            self.seen.append(what)
            self._changed.notify_all()

    def consumed(self, session: str, size: int) -> None:
        self._note("consumed", session, size)

    def staged(self, job: Claim, manifest: Any, context: Any) -> None:
        self._note("staged", job.job_id, manifest)

    def stage_failed(self, job: Claim, error_class: ErrorClass, message: str) -> None:
        self._note("failed", job.job_id, error_class, message)

    def garbled(self, session: str, job: Claim, problem: str) -> None:
        self._note("garbled", job.job_id, session, problem)

    def until_consumed(self, session: str, size: int) -> None:
        with self._changed:
            came = self._changed.wait_for(
                lambda: sum(e[2] for e in self.seen if e[:2] == ("consumed", session)) == size,
                PATIENCE_S,
            )
            assert came, self.seen

    def until(self, *kinds: str) -> list[tuple[Any, ...]]:
        """Wait until as many events of these kinds came; all that came."""
        with self._changed:
            came = self._changed.wait_for(
                lambda: all(
                    sum(e[0] == kind for e in self.seen) >= kinds.count(kind) for kind in kinds
                ),
                PATIENCE_S,
            )
            assert came, self.seen
            return list(self.seen)


class Bench:
    def __init__(self, threads: int = 2) -> None:
        self.events = Events()
        self.contexts: dict[int, Context] = {1: Context(), 2: Context()}
        self.refusals: dict[int, JobError] = {}
        opened: Any = lambda job: self.contexts[job.job_id]  # noqa: E731
        self.pool = StagingPool(threads, self.events, opened, self._confirm)

    def _confirm(self, job: Claim) -> None:
        if job.job_id in self.refusals:
            raise self.refusals[job.job_id]

    def frame(self, job: Claim, text: str) -> None:
        """A frame, at once before a writer."""
        self.frame_alone(job, text)
        self.pool.hand_over()

    def frame_alone(self, job: Claim, text: str) -> None:
        self.pool.frame(f"session-{job.job_id}", job, "rows", Flag(0), text.encode())


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.pool.close()


def test_frames_of_a_job_are_staged_in_order(bench: Bench) -> None:
    expected = [f"{n}" for n in range(300)]
    for text in expected:
        bench.frame(ONE, text)
        bench.frame(TWO, text)
    bench.pool.finish(ONE, {})
    bench.pool.finish(TWO, {})
    bench.events.until("staged", "staged")
    assert bench.contexts[1].asked == bench.contexts[2].asked == [*expected, "finish"]


def test_jobs_are_staged_side_by_side(bench: Bench) -> None:
    """Each frame waits for the other's: one writer after the other would never end."""
    both = threading.Barrier(2)
    for context in bench.contexts.values():
        context.on_frame = lambda payload: both.wait(PATIENCE_S) and None
    bench.frame(ONE, "a")
    bench.frame(TWO, "b")
    bench.events.until("consumed", "consumed")


def test_frames_worth_a_waking_are_staged_before_the_job_ends(bench: Bench) -> None:
    bench.frame_alone(ONE, "x" * WORTH_WAKING_BYTES)
    assert bench.events.until("consumed") == [
        ("consumed", "session-1", credit_for(WORTH_WAKING_BYTES))
    ]


def test_little_frames_wait_for_more_for_the_end_or_to_be_handed_over(bench: Bench) -> None:
    """The third frame is what makes all three worth it; of the fourth nobody heard until told."""
    third = WORTH_WAKING_BYTES // 3 + 1
    for _ in range(2):
        bench.frame_alone(ONE, "x" * third)
    bench.frame_alone(TWO, "b")
    bench.pool.finish(TWO, {})
    bench.events.until("staged")
    assert bench.contexts[1].asked == []
    bench.frame_alone(ONE, "x" * third)
    bench.events.until("consumed", "consumed")
    bench.frame_alone(ONE, "last")
    bench.pool.hand_over()
    assert ("consumed", "session-1", credit_for(4)) in bench.events.until(*["consumed"] * 3)


def test_a_slow_job_does_not_keep_the_others_waiting(bench: Bench) -> None:
    go_on = threading.Event()
    bench.contexts[1].on_frame = lambda payload: go_on.wait(PATIENCE_S) and None
    for number in range(5):
        bench.frame(ONE, str(number))
    bench.frame(TWO, "b")
    bench.pool.finish(TWO, {})
    assert ("staged", 2, "manifest") in bench.events.until("staged")
    go_on.set()
    bench.pool.finish(ONE, {})
    bench.events.until_consumed("session-1", 5 * credit_for(1))


def test_every_payload_is_credited_once_and_after_it_is_let_go(bench: Bench) -> None:
    class Payload(bytearray):
        """A buffer whose end can be seen."""

    alive: list[bool] = []
    payload = Payload(b"x" * 77)
    known = weakref.ref(payload)
    noted = bench.events.consumed

    def consumed(session: str, size: int) -> None:
        alive.append(known() is not None)
        noted(session, size)

    bench.events.consumed = consumed  # type: ignore[method-assign]
    frame = bench.pool.frame
    frame("s", ONE, "rows", Flag(0), payload)
    del payload
    bench.pool.hand_over()
    assert bench.events.until("consumed") == [("consumed", "s", credit_for(77))]
    assert alive == [False]


FAILURES = [
    (JobError(ErrorClass.SCHEMA_DRIFT, "a is text"), ErrorClass.SCHEMA_DRIFT, "a is text"),
    (OSError(28, "No space left"), ErrorClass.INFRASTRUCTURE, "could not be staged: [Errno 28]"),
    (UnavailableError("no database"), ErrorClass.INFRASTRUCTURE, "no database"),
    (MemoryError("64 GB"), ErrorClass.INFRASTRUCTURE, "ran out of memory while staging"),
    (ValueError("odd"), ErrorClass.DATA, "cannot be written to the sink: ValueError: odd"),
]


@pytest.mark.parametrize(("error", "error_class", "text"), FAILURES)
def test_a_failure_is_its_jobs_own(
    bench: Bench, error: Exception, error_class: ErrorClass, text: str
) -> None:
    def fail(payload: bytes) -> None:
        raise error

    bench.contexts[1].on_frame = fail
    for number in range(3):
        bench.frame(ONE, str(number))
    bench.pool.finish(ONE, {})
    bench.frame(TWO, "b")
    bench.pool.finish(TWO, {})
    bench.events.until_consumed("session-1", 3 * credit_for(1))
    bench.events.until_consumed("session-2", credit_for(1))
    seen = bench.events.until("staged", "failed")
    (failed,) = [e for e in seen if e[0] == "failed"]
    assert failed[1:3] == (1, error_class)
    assert text in failed[3]
    # What was staged is gone, what came after it was not looked at, and it was not finished.
    assert bench.contexts[1].asked == ["0", "discard"]
    assert [e for e in seen if e[0] == "staged"] == [("staged", 2, "manifest")]


def test_garbled_payloads_name_the_session_they_came_from(bench: Bench) -> None:
    def fail(payload: bytes) -> None:
        raise GarbledPayload("no Arrow")

    bench.contexts[1].on_frame = fail
    bench.frame(ONE, "x")
    seen = bench.events.until("garbled", "consumed")
    assert ("garbled", 1, "session-1", "no Arrow") in seen


def test_rows_that_do_not_add_up_are_garbled_too(bench: Bench) -> None:
    bench.contexts[1].finish_error = GarbledPayload("3 rows, vouched for 4")
    bench.frame(ONE, "x")
    bench.pool.finish(ONE, {"rows": TopicTotals(1, 4, 1)})
    bench.events.until("garbled")
    assert bench.contexts[1].asked == ["x", "finish", "discard"]


def test_a_file_that_changed_meanwhile_is_not_staged(bench: Bench) -> None:
    bench.refusals[1] = JobError(ErrorClass.SOURCE_CHANGED, "size 1 became 2")
    bench.frame(ONE, "x")
    bench.pool.finish(ONE, {})
    seen = bench.events.until("failed")
    assert ("failed", 1, ErrorClass.SOURCE_CHANGED, "size 1 became 2") in seen
    assert bench.contexts[1].asked == ["x", "finish", "discard"]


def test_a_job_without_any_frame_is_staged(bench: Bench) -> None:
    bench.pool.finish(ONE, {})
    assert bench.events.until("staged") == [("staged", 1, "manifest")]


UNREMOVED = [OSError(5, "I/O error"), MemoryError("64 GB"), ValueError("odd")]


@pytest.mark.parametrize("error", UNREMOVED)
def test_a_writer_outlives_what_it_cannot_remove(error: Exception) -> None:
    def fail(payload: bytes) -> None:
        raise OSError(28, "No space left")

    bench = Bench(threads=1)
    bench.contexts[1].on_frame = fail
    bench.contexts[1].discard_error = error
    bench.frame(ONE, "x")
    bench.frame(TWO, "b")
    bench.pool.finish(TWO, {})
    assert ("staged", 2, "manifest") in bench.events.until("failed", "staged")
    bench.pool.close()


class TestDrop:
    def test_discards_and_then_tells(self, bench: Bench) -> None:
        told = threading.Event()
        bench.frame(ONE, "x")
        bench.pool.drop(ONE, told.set)
        assert told.wait(PATIENCE_S)
        assert bench.contexts[1].asked == ["x", "discard"]

    def test_of_a_failed_job_discards_nothing_twice(self, bench: Bench) -> None:
        def fail(payload: bytes) -> None:
            raise ValueError

        bench.contexts[1].on_frame = fail
        told = threading.Event()
        bench.frame(ONE, "x")
        bench.pool.drop(ONE, told.set)
        assert told.wait(PATIENCE_S)
        assert bench.contexts[1].asked == ["x", "discard"]

    def test_of_a_job_nobody_knows_tells_all_the_same(self, bench: Bench) -> None:
        told = threading.Event()
        bench.pool.drop(TWO, told.set)
        assert told.wait(PATIENCE_S)

    @pytest.mark.parametrize("error", UNREMOVED)
    def test_what_cannot_be_removed_is_left_to_the_sweep(
        self, bench: Bench, error: Exception
    ) -> None:
        bench.contexts[1].discard_error = error
        told = threading.Event()
        bench.frame(ONE, "x")
        bench.pool.drop(ONE, told.set)
        assert told.wait(PATIENCE_S)
        bench.frame(TWO, "b")
        bench.events.until("consumed", "consumed")

    def test_another_attempt_begins_anew(self, bench: Bench) -> None:
        def fail(payload: bytes) -> None:
            raise ValueError

        bench.contexts[1].on_frame = fail
        bench.frame(ONE, "x")
        bench.pool.drop(ONE)
        bench.events.until("failed")
        bench.contexts[1] = Context()
        again = claim(1, attempt=2)
        bench.frame(again, "y")
        bench.pool.finish(again, {})
        bench.events.until("staged")
        assert bench.contexts[1].asked == ["y", "finish"]


def test_close_does_what_was_handed_over_and_drops_what_never_ended() -> None:
    bench = Bench(threads=1)
    for number in range(50):
        bench.frame(ONE, str(number))
    bench.frame(TWO, "b")
    bench.pool.finish(ONE, {})
    bench.pool.close()
    assert bench.contexts[1].asked[-1] == "finish"
    assert bench.contexts[2].asked == ["b", "discard"]


def test_close_goes_on_to_the_next_where_one_cannot_be_removed() -> None:
    bench = Bench(threads=1)
    for number, context in bench.contexts.items():
        context.discard_error = OSError(5, "I/O error")
        bench.frame(claim(number), "x")
    bench.events.until("consumed", "consumed")
    bench.pool.close()
    assert [context.asked for context in bench.contexts.values()] == [["x", "discard"]] * 2
