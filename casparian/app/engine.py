"""The engine: scout and worker of one configuration, run for ever or until all is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from casparian.app.configuration import resolve
from casparian.app.container import build
from casparian.app.observing import Check
from casparian.app.scout_service import ScoutService
from casparian.app.settings import Settings
from casparian.app.worker import Worker
from casparian.domain.errors import CasparianError
from casparian.domain.files import ScanReport, path_text
from casparian.domain.jobs import JobStatus

SCOUT, WORKER = "scout", "worker"
BOTH = (SCOUT, WORKER)
DRAIN_POLL_S = 0.05

log = structlog.get_logger("casparian.engine")


@dataclass(frozen=True, slots=True)
class DrainResult:
    """What a drain left: how jobs ended while it ran, failures of current versions of files
    (documents as of `casparian jobs --json`), and files that never settled."""

    jobs: Mapping[str, int]
    failures: Sequence[Mapping[str, Any]]
    unsettled: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.failures and not self.unsettled


class Engine:
    """One engine in this process, to be run once.

    Keyword arguments put adapters of one's own in place: `sinks` maps URI schemes to sink
    factories; every other name is a provider of `casparian.app.container.Container`
    (`stores`, `source`, `transport`, `host`, `clock`).
    """

    def __init__(
        self,
        settings: Settings,
        roles: Sequence[str] = BOTH,
        sinks: Mapping[str, Any] | None = None,
        **overrides: Any,
    ) -> None:
        self.settings = settings
        self.roles = tuple(roles)
        self.container = build(settings, self.roles, sinks or {}, overrides)
        self._stop = threading.Event()
        self._abort = threading.Event()
        self._ended = False

    # --- what callers do ------------------------------------------------------------------

    def apply(self) -> int:
        """Write the configuration to the database; returns how many jobs that enqueued."""
        applied = resolve(self.settings, self.container.targets())
        return int(self.container.stores().store.apply(applied))

    def scan(self) -> ScanReport:
        """One scan of every root, without waiting for anything to settle."""
        scout = self.container.scout()
        total = ScanReport()
        for root in self.container.stores().catalog.roots():
            total.add(scout.scan(root))
        return total

    def run(self) -> None:
        """Work until `stop`; then finish what is held."""
        with self._watched():
            self._run()

    def _run(self) -> None:
        self._prepare()
        service = self._start_scout()
        worker = self._start_worker(prestart=True)
        self._show(service, worker)
        try:
            while not self._stop.wait(0.2):
                self._check_health(worker)
                if service is not None and not service[1].is_alive():
                    raise CasparianError(
                        "The scout stopped, so that no new file would be seen; the log says why. "
                        "Start the engine again."
                    )
        finally:
            self._end(service, worker)

    def drain(self) -> DrainResult:
        """Scan, work until nothing is queued, running, promoting or settling, then return."""
        with self._watched():
            return self._drain()

    def _drain(self) -> DrainResult:
        self._prepare()
        worker = self._start_worker(prestart=False)
        self._show(None, worker)
        report = ScanReport()
        try:
            if SCOUT in self.roles:
                report = self.container.scout_service().scan_until_settled(self._stop)
            if worker is not None:
                self._wait_until_done(worker)
        finally:
            self._end(None, worker)
        ended = dict(worker.ended) if worker is not None else {}
        failures = self.container.stores().reports.current_failures()
        unsettled = {path_text(p): reason for p, reason in report.deferred_paths.items()}
        return DrainResult(ended, failures, unsettled)

    def stop(self) -> None:
        """Ask for the end; from any thread or a signal handler. A second call does not wait
        for running jobs."""
        if self._stop.is_set():
            self._abort.set()
            self.container.worker().abort()
        self._stop.set()

    def close(self) -> None:
        """Close the databases."""
        self.container.stores().close()

    # --- inside ---------------------------------------------------------------------------

    def _prepare(self) -> None:
        if self._ended:
            raise CasparianError("This engine has run and ended: make another Engine to run again.")
        stores = self.container.stores()
        self.container.observing().stores_opened(stores.reports, stores.ledger)
        if SCOUT in self.roles:
            enqueued = self.apply()
            if enqueued:
                log.info("configuration applied", jobs=enqueued)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """From before the start until after the end, for whoever looks on."""
        observing = self.container.observing()
        try:
            observing.start()
            yield
        finally:
            observing.close()

    def _show(
        self, service: tuple[ScoutService, threading.Thread] | None, worker: Worker | None
    ) -> None:
        """All runs: what being alive and being ready mean from now on."""
        alive: dict[str, Check] = {}
        usable: dict[str, Check] = {"database": self._database_problem}
        if service is not None:
            alive["scout"] = lambda: "" if service[1].is_alive() else "the scout stopped"
        if worker is not None:
            alive["router"] = lambda: f"{worker.failure!r}" if worker.failure else ""
            usable["sinks"] = lambda: self._sink_problem(worker)
        pool = worker.router.pool if worker is not None else None
        self.container.observing().running(pool, alive, usable)

    def _database_problem(self) -> str:
        self.container.stores().store.revision()
        return ""

    def _sink_problem(self, worker: Worker) -> str:
        """What keeps the sinks of live plugins from being used; raised by the sink, or found."""
        for sink in self.container.targets().configured(worker.live_plugins().values()):
            sink.check()
        return ""

    def _start_scout(self) -> tuple[ScoutService, threading.Thread] | None:
        if SCOUT not in self.roles:
            return None
        service = self.container.scout_service()
        thread = threading.Thread(
            target=service.run, args=(self._stop,), name="casparian-scout", daemon=True
        )
        thread.start()
        return service, thread

    def _start_worker(self, prestart: bool) -> Worker | None:
        if WORKER not in self.roles:
            return None
        worker = self.container.worker()
        worker.start(prestart)
        log.info("worker started", worker=self.container.context().id, endpoint=worker.endpoint)
        return worker

    def _check_health(self, worker: Worker | None) -> None:
        if worker is not None and worker.failure is not None:
            raise CasparianError(
                f"The router stopped: {worker.failure!r}. Its jobs are queued again when their "
                "leases are over; start the engine again, and report this with the log."
            ) from worker.failure

    def _wait_until_done(self, worker: Worker) -> None:
        scan_at = time.monotonic() + self.settings.scout.interval_s
        while not self._stop.is_set():
            self._check_health(worker)
            if not self._busy(worker):
                if self._nothing_left(worker):
                    return
                if SCOUT in self.roles and time.monotonic() >= scan_at:
                    # Only retries are left. One may wait for its file to be recorded anew.
                    self.scan()
                    scan_at = time.monotonic() + self.settings.scout.interval_s
            self._stop.wait(DRAIN_POLL_S)

    def _busy(self, worker: Worker) -> bool:
        if not worker.idle:
            return True
        counts = self.container.stores().queue.backlog()
        return bool(counts.get(JobStatus.RUNNING, 0) + counts.get(JobStatus.PROMOTING, 0))

    def _nothing_left(self, worker: Worker) -> bool:
        """Each look is a transaction of its own, and a job that is claimed or put back between
        two of them is in neither: so nothing may wait, before and after nothing runs."""
        queue, live = self.container.stores().queue, list(worker.live_plugins())
        return (
            queue.next_due_us(live) is None
            and not self._busy(worker)
            and queue.next_due_us(live) is None
        )

    def _end(
        self, service: tuple[ScoutService, threading.Thread] | None, worker: Worker | None
    ) -> None:
        self.container.observing().stopping()
        self._stop.set()
        self._ended = True
        if service is not None:
            service[0].wake()
            service[1].join()
        if worker is not None:
            if self._abort.is_set():
                worker.abort()
            worker.stop()
