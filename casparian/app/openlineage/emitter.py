"""Sends events in a thread of its own: a collector that is slow, or gone, holds nothing up.

Events wait in a queue with an end. The one at its head is sent again until it is taken, so that
the order holds and a collector may be away for a while; what no longer fits is dropped, counted
and logged.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import metadata
from typing import Any, Protocol

import structlog

from casparian.app.openlineage.events import Events
from casparian.domain.jobs import Claim, Failure, JobStatus
from casparian.domain.messages import TopicTotals
from casparian.domain.ports import Clock
from casparian.domain.publish import Manifest

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
GRACE_S = 5.0

log = structlog.get_logger("casparian.openlineage")


class Refused(Exception):
    """The collector has the event and does not want it: sending it again is no use."""


class EventTransport(Protocol):
    """Brings one event to a collector. Raises Refused, or OSError where another try may work."""

    def emit(self, event: Any) -> None: ...


class Emitter:
    """A JobObserver that sends run events, from `start` on. `transport` is used by its thread only.

    `sent`, `dropped` and `refused` count events.
    """

    def __init__(
        self, namespace: str, transport: EventTransport, most_waiting: int, clock: Clock
    ) -> None:
        self._namespace = namespace
        self._transport = transport
        self._clock = clock
        self._waiting: queue.Queue[Callable[[], Any] | None] = queue.Queue(most_waiting)
        self._closing = threading.Event()
        self._abandon = threading.Event()
        self._counting = threading.Lock()
        self.sent = self.dropped = self.refused = 0
        self._thread = threading.Thread(
            target=self._serve, name="casparian-openlineage", daemon=True
        )

    def start(self, installation: str) -> None:
        """`installation` is the queue's UUID."""
        version = metadata.version("casparian-flow")
        self._events = Events(self._namespace, installation, version)
        self._thread.start()

    def close(self, grace_s: float = GRACE_S) -> None:
        """Send what waits, as far as that goes in the time; the rest is dropped and logged."""
        if self._thread.ident is None:
            return
        self._closing.set()
        # Where the queue is full the thread is busy, and looks at `_closing` when it is empty.
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(grace_s)
        if self._thread.is_alive():
            self._abandon.set()
            # One event is at the transport, and perhaps the word to end is among those waiting.
            left = 1 + sum(entry is not None for entry in list(self._waiting.queue))
            self._drop(left, "the engine ended before the collector took them")

    # --- what the observer is told --------------------------------------------------------

    def claimed(self, claims: Sequence[Claim], seconds: float) -> None:
        for claim in claims:
            self._put(partial(self._events.started, self._clock(), claim))

    def ran(self, claim: Claim, seconds: float, topics: Mapping[str, TopicTotals]) -> None:
        pass

    def staged(self, claim: Claim, seconds: float) -> None:
        pass

    def published(self, manifest: Manifest, status: JobStatus) -> None:
        stands = status is JobStatus.COMPLETED
        make = self._events.published if stands else self._events.superseded
        self._put(partial(make, self._clock(), manifest))

    def failed(self, claim: Claim, failure: Failure, status: JobStatus) -> None:
        self._put(partial(self._events.failed, self._clock(), claim, failure))

    def blocked(self, manifest: Manifest, message: str) -> None:
        self._put(partial(self._events.blocked, self._clock(), manifest, message))

    def lost(self, claim: Claim) -> None:
        self._put(partial(self._events.aborted, self._clock(), claim))

    def _put(self, make: Callable[[], Any]) -> None:
        try:
            self._waiting.put_nowait(make)
        except queue.Full:
            self._drop(1, "more events wait than openlineage.most_waiting allows")

    def _drop(self, count: int, reason: str) -> None:
        with self._counting:
            before, self.dropped = self.dropped, self.dropped + count
        # The first, and then each thousandth: a dead collector fills no log.
        if before == 0 or before // 1000 != self.dropped // 1000 or self._closing.is_set():
            log.error("lineage events dropped", dropped=self.dropped, reason=reason)

    # --- the thread -----------------------------------------------------------------------

    def _serve(self) -> None:
        while not (self._closing.is_set() and self._waiting.empty()):
            make = self._waiting.get()
            if make is not None:
                self._send(make)
            if self._abandon.is_set():
                return

    def _send(self, make: Callable[[], Any]) -> None:
        wait = FIRST_WAIT_S
        try:
            event = make()
            while True:
                try:
                    self._transport.emit(event)
                    self.sent += 1
                    return
                except OSError as error:
                    log.warning("lineage event not taken, trying again", error=str(error))
                if self._abandon.wait(wait):
                    return
                wait = min(wait * 2, LONGEST_WAIT_S)
        except Refused as error:
            self.refused += 1
            log.error("lineage event refused by the collector", error=str(error))
        except Exception:
            self.refused += 1
            log.exception("lineage event could not be sent, going on with the next")
