"""The pool of sink writers: each job a lane, its frames in order; lanes side by side.

Arrow's encoders release the interpreter lock, so that writers use several cores.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from casparian.app.payloads import GarbledPayload
from casparian.app.worker_context import WorkerContext
from casparian.domain.errors import ErrorClass, JobError, UnavailableError
from casparian.domain.jobs import Claim
from casparian.domain.messages import TopicTotals
from casparian.domain.ports import Buffer
from casparian.domain.publish import Manifest
from casparian.domain.wire import Flag, credit_for

log = structlog.get_logger("casparian.staging")

# A job's frames are handed to a writer when they are worth a thread's waking, or all there.
WORTH_WAKING_BYTES = 128 * 1024


class StagingEvents(Protocol):
    """What the pool reports; called from its threads."""

    def consumed(self, session: str, size: int) -> None:
        """`size`: what the frames have used of the credit."""
        ...

    def staged(self, claim: Claim, manifest: Manifest, context: WorkerContext) -> None: ...

    def stage_failed(self, claim: Claim, error_class: ErrorClass, message: str) -> None: ...

    def garbled(self, session: str, claim: Claim, problem: str) -> None: ...


@dataclass(slots=True)
class _Frame:
    session: str
    topic: str
    flags: Flag
    payload: Buffer


@dataclass(slots=True)
class _Finish:
    totals: Mapping[str, TopicTotals]


@dataclass(slots=True)
class _Drop:
    then: Callable[[], None]


@dataclass(slots=True)
class _Lane:
    claim: Claim
    tasks: list[_Frame | _Finish | _Drop] = field(default_factory=list)
    waiting_bytes: int = 0
    context: WorkerContext | None = None
    scheduled: bool = False
    failed: bool = False
    session: str = ""

    @property
    def worth_waking(self) -> bool:
        ended = bool(self.tasks) and not isinstance(self.tasks[-1], _Frame)
        return ended or self.waiting_bytes >= WORTH_WAKING_BYTES


class StagingPool:
    """`confirm(claim)` raises JobError unless the file still is what its version says."""

    def __init__(
        self,
        threads: int,
        events: StagingEvents,
        open_context: Callable[[Claim], WorkerContext],
        confirm: Callable[[Claim], None],
    ) -> None:
        self._events = events
        self._open_context = open_context
        self._confirm = confirm
        self._lock = threading.Lock()
        self._all_done = threading.Condition(self._lock)
        self._lanes: dict[tuple[int, int], _Lane] = {}
        self._ready: queue.SimpleQueue[_Lane | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, name=f"casparian-writer-{n}", daemon=True)
            for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    # --- the router's thread --------------------------------------------------------------

    def frame(self, session: str, claim: Claim, topic: str, flags: Flag, payload: Buffer) -> None:
        self._add(claim, _Frame(session, topic, flags, payload))

    def finish(self, claim: Claim, totals: Mapping[str, TopicTotals]) -> None:
        """All frames were handed over: close the stagings, confirm, report `staged`."""
        self._add(claim, _Finish(totals))

    def drop(self, claim: Claim, then: Callable[[], None] = lambda: None) -> None:
        """Throw away what the job staged, and forget it; `then` is called afterwards."""
        self._add(claim, _Drop(then))

    def hand_over(self) -> None:
        """Have the writers take also what is not worth a waking: a plugin may wait for the
        credit of it, however little that is."""
        with self._lock:
            idle = [lane for lane in self._lanes.values() if lane.tasks and not lane.scheduled]
            for lane in idle:
                lane.scheduled = True
        for lane in idle:
            self._ready.put(lane)

    def close(self) -> None:
        """Do what was handed over, then end the threads."""
        with self._all_done:
            while any(lane.scheduled for lane in self._lanes.values()):
                self._all_done.wait()
        for _ in self._threads:
            self._ready.put(None)
        for thread in self._threads:
            thread.join()
        with self._lock:
            left = list(self._lanes.values())
            self._lanes.clear()
        for lane in left:
            self._discard(lane)

    def _add(self, claim: Claim, task: _Frame | _Finish | _Drop) -> None:
        key = (claim.job_id, claim.attempt)
        with self._lock:
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = _Lane(claim)
            lane.tasks.append(task)
            if isinstance(task, _Frame):
                lane.waiting_bytes += credit_for(len(task.payload))
            if lane.scheduled or not lane.worth_waking:
                return
            lane.scheduled = True
        self._ready.put(lane)

    # --- the writers ----------------------------------------------------------------------

    def _serve(self) -> None:
        while (lane := self._ready.get()) is not None:
            with self._lock:
                tasks, lane.tasks, lane.waiting_bytes = lane.tasks, [], 0
            self._work_all(lane, tasks)
            with self._all_done:
                lane.scheduled = again = lane.worth_waking
                if not again:
                    self._all_done.notify_all()
            if again:
                self._ready.put(lane)

    def _work_all(self, lane: _Lane, tasks: list[_Frame | _Finish | _Drop]) -> None:
        consumed = 0
        for task in tasks:
            self._work(lane, task)
            if isinstance(task, _Frame):
                consumed += credit_for(len(task.payload))
                # The buffer goes before its credit comes back.
                task.payload = b""
                if consumed >= WORTH_WAKING_BYTES:
                    self._events.consumed(lane.session, consumed)
                    consumed = 0
        if consumed:
            self._events.consumed(lane.session, consumed)

    def _work(self, lane: _Lane, task: _Frame | _Finish | _Drop) -> None:
        match task:
            case _Frame(session, topic, flags, payload):
                lane.session = session
                if not lane.failed:
                    self._guard(lane, lambda: self._stage(lane, topic, flags, payload))
            case _Finish(totals):
                if not lane.failed:
                    self._guard(lane, lambda: self._finish(lane, totals))
                self._forget(lane)
            case _Drop(then):
                if not lane.failed:
                    self._discard(lane)
                self._forget(lane)
                then()

    def _context(self, lane: _Lane) -> WorkerContext:
        if lane.context is None:
            lane.context = self._open_context(lane.claim)
        return lane.context

    def _stage(self, lane: _Lane, topic: str, flags: Flag, payload: Buffer) -> None:
        self._context(lane).frame(topic, flags, payload)

    def _finish(self, lane: _Lane, totals: Mapping[str, TopicTotals]) -> None:
        context = self._context(lane)
        manifest = context.finish(totals)
        self._confirm(lane.claim)
        self._events.staged(lane.claim, manifest, context)

    def _guard(self, lane: _Lane, step: Callable[[], None]) -> None:
        """Whatever a step raises fails this job and no other, and ends no thread."""
        claim = lane.claim
        try:
            step()
        except GarbledPayload as error:
            self._fail(lane)
            self._events.garbled(lane.session, claim, str(error))
        except JobError as error:
            self._fail(lane)
            self._events.stage_failed(claim, error.error_class, error.message)
        except (OSError, UnavailableError) as error:
            self._fail(lane)
            text = f"the rows could not be staged: {error}"
            self._events.stage_failed(claim, ErrorClass.INFRASTRUCTURE, text)
        except MemoryError as error:
            self._fail(lane)
            text = f"the engine ran out of memory while staging: {error}"
            self._events.stage_failed(claim, ErrorClass.INFRASTRUCTURE, text)
        except Exception as error:
            log.exception("staging failed", job=claim.job_id, plugin=claim.plugin)
            self._fail(lane)
            text = f"the rows cannot be written to the sink: {type(error).__name__}: {error}"
            self._events.stage_failed(claim, ErrorClass.DATA, text)

    def _fail(self, lane: _Lane) -> None:
        lane.failed = True
        self._discard(lane)

    def _discard(self, lane: _Lane) -> None:
        context, lane.context = lane.context, None
        if context is None:
            return
        try:
            context.discard()
        except (OSError, UnavailableError, MemoryError) as error:
            # It is an orphan now, and swept as one.
            log.warning("staging not removed", job=lane.claim.job_id, error=str(error))
        except Exception:
            log.exception("staging not removed", job=lane.claim.job_id)

    def _forget(self, lane: _Lane) -> None:
        with self._lock:
            if not lane.tasks:
                self._lanes.pop((lane.claim.job_id, lane.claim.attempt), None)
