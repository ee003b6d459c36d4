"""Tells of expected files: once when one is missing at its time, once when it comes after all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from casparian.app.expectations import today_of
from casparian.domain.errors import UnavailableError
from casparian.domain.expectations import Arrival, Expectation, first_arrivals
from casparian.domain.files import path_text
from casparian.domain.ports import Clock, Reports

EVERY_S = 15.0
OVERLAP_US = 60_000_000
"""Looked at twice: what was being recorded at the last look bears an earlier time."""

log = structlog.get_logger("casparian.scout")


@dataclass(slots=True)
class _Told:
    """What is known of an expectation on the day that began at `began_us`."""

    began_us: int
    seen_until_us: int
    missing: bool = False
    arrived: bool = False


class ExpectationWatch:
    """`reports` is asked for when the first file is due."""

    def __init__(
        self, expectations: Sequence[Expectation], reports: Callable[[], Reports], clock: Clock
    ) -> None:
        self._expectations, self._reports, self._clock = expectations, reports, clock
        self._told: dict[int, _Told] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look every EVERY_S seconds until `close`; no thread where nothing is expected."""
        if self._expectations:
            self._thread = threading.Thread(
                target=self._serve, name="casparian-expectations", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def missing(self) -> list[tuple[Expectation, bool]]:
        """Each expectation, and whether its file was missing at the last look."""
        told = dict(self._told)
        return [(e, i in told and told[i].missing) for i, e in enumerate(self._expectations)]

    def look(self) -> None:
        """Raises UnavailableError."""
        now_us = self._clock()
        for i, expectation in enumerate(self._expectations):
            today = today_of(expectation, now_us)
            told = self._told.get(i)
            if told is None or told.began_us != today.began_us:
                told = self._told[i] = _Told(today.began_us, today.began_us)
            if told.arrived or not today.wanted or now_us < today.due_us:
                continue
            arrivals = (Arrival(*a) for a in self._reports().arrived_since(told.seen_until_us))
            (arrival,) = first_arrivals([(expectation, today)], arrivals)
            told.seen_until_us = max(today.began_us, now_us - OVERLAP_US)
            self._tell(expectation, told, arrival)

    def _tell(self, expectation: Expectation, told: _Told, arrival: Arrival | None) -> None:
        about = {
            "pattern": expectation.pattern,
            "by": expectation.by,
            "time_zone": expectation.time_zone or "local",
        }
        if arrival is None and not told.missing:
            log.warning("expected file missing", **about)
        elif arrival is not None and told.missing:
            log.info("expected file came late", path=path_text(arrival.path), **about)
        told.missing, told.arrived = arrival is None, arrival is not None

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except UnavailableError as error:
                log.warning("expected files could not be looked up", error=str(error))
            except Exception:
                log.exception("looking for expected files failed")
            self._stop.wait(EVERY_S)
