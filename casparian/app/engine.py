"""The engine: scout and worker of one configuration, run for ever or until all is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import structlog

from casparian.adapters.queue import QueueStores
from casparian.app.code_guard import deployed_plugins
from casparian.app.configuration import resolve
from casparian.app.container import build, queue_overrides
from casparian.app.first_turn import when_free
from casparian.app.observing import Check
from casparian.app.places import refuse_overlaps
from casparian.app.results import DrainResult, FailedJob, RunResult
from casparian.app.scout_service import ScoutService
from casparian.app.settings import Settings
from casparian.app.worker import Worker
from casparian.domain.errors import BusyError, CasparianError, SchemaVersionError
from casparian.domain.files import ScanReport, path_text
from casparian.domain.jobs import JobStatus
from casparian.domain.ports import Clock, FileSource, PluginHost, Reports, Transport

SCOUT, WORKER = "scout", "worker"
BOTH = (SCOUT, WORKER)
DRAIN_POLL_S = 0.05

_Service = tuple[ScoutService, threading.Thread]

log = structlog.get_logger("casparian.engine")


class Engine:
    """One engine in this process, to be run once. Several may live in one process.

    What is left out is as the settings say. Adapters of one's own:

    - `sinks`: URI schemes to sink factories, or classes of them.
    - `queue`: a whole queue, that is an object with the attributes of `QueueStores` (`catalog`,
      `queue`, `ledger`, `store`, `reports`); or one that keeps all five ports by itself; or a
      JobQueue alone, beside the database of the settings.
    - `transport`: a Transport, which the engine binds and closes.
    - `plugin_host`: a class or function that makes a PluginHost when called with `on_exit`.
    - `source`: a FileSource. `clock`: microseconds since the epoch, UTC.

    `close` closes the database that the engine has opened; a `queue` that was handed in is its
    owner's to close.
    """

    def __init__(
        self,
        settings: Settings,
        roles: Sequence[str] = BOTH,
        *,
        sinks: Mapping[str, Any] | None = None,
        queue: Any = None,
        transport: Transport | None = None,
        plugin_host: Callable[[Callable[[], None]], PluginHost] | None = None,
        source: FileSource | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings
        self.roles = tuple(roles)
        given = {
            "transport": transport,
            "plugin_host": plugin_host,
            "source": source,
            "clock": clock,
        }
        overrides = {name: port for name, port in given.items() if port is not None}
        if queue is not None:
            overrides.update(queue_overrides(queue))
        self.container = build(settings, self.roles, sinks or {}, overrides)
        self._worker: Worker | None = None
        self._stop = threading.Event()
        self._abort = threading.Event()
        self._moved = threading.Event()
        self._ended = False

    # --- what callers do ------------------------------------------------------------------

    @cached_property
    def stores(self) -> QueueStores:
        """The queue's database by port, opened when it is first asked for."""
        return self.container.stores()

    @property
    def reports(self) -> Reports:
        """What the operator's commands show, as plain data: `status`, `files`, `jobs`, `why`."""
        return self.stores.reports

    def apply(self) -> int:
        """Write the configuration to the database; returns how many jobs that enqueued."""
        targets = self.container.targets()
        deployed = deployed_plugins(self.stores.store)
        for name in sorted(deployed & self.settings.plugin.keys()):
            log.info("deployed code runs; the directory's file is not used", plugin=name)
        if self.settings.plugins.require_signature:
            for name in sorted(self.settings.plugin.keys() - deployed):
                log.warning("no signed code yet: deploy the plugin, its jobs wait", plugin=name)
        applied = resolve(self.settings, targets, deployed)
        refuse_overlaps(applied, targets)
        return self.stores.store.apply(applied)

    def scan(self) -> ScanReport:
        """One scan of every root that no other engine scans, without waiting for anything to
        settle."""
        scout, total = self.container.scout(), ScanReport()
        with self.container.root_leases().turn(self.stores.catalog.roots(), self._stop) as roots:
            for root in roots:
                total.add(scout.scan(root))
        return total

    def run(self) -> RunResult:
        """Work until `stop`; then finish what is held."""
        with self._watched():
            self._run()
        return RunResult(self._ended_jobs())

    def _run(self) -> None:
        try:
            self._prepare()
        except BusyError:
            if not self._stop.is_set():
                raise
            log.info("asked to end while the start waited")
            return
        service: _Service | None = None
        worker: Worker | None = None
        try:
            # The worker first: its sidecars start while the scout scans.
            worker = self._start_worker(prestart=True)
            service = self._start_scout()
            self._show(service, worker)
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
        report = ScanReport()
        worker: Worker | None = None
        try:
            worker = self._start_worker(prestart=False)
            self._show(None, worker)
            if SCOUT in self.roles:
                report = self.container.scout_service().scan_until_settled(self._stop)
            if worker is not None:
                self._wait_until_done(worker)
            if SCOUT in self.roles:
                self.container.scout_service().take_away(self._stop)
                self.container.expectations().look()
        finally:
            self._end(None, worker)
        failures = [FailedJob.of(document) for document in self.reports.current_failures()]
        unsettled = {path_text(p): reason for p, reason in report.deferred_paths.items()}
        unrun = self._not_run(worker) if worker is not None else {}
        return DrainResult(self._ended_jobs(), failures, unsettled, unrun)

    def stop(self) -> None:
        """Ask for the end; from any thread or a signal handler. A second call does not wait
        for running jobs. Before `run` or `drain`, it makes them end as soon as they begin."""
        if self._stop.is_set():
            self._abort.set()
            if self._worker is not None:
                self._worker.abort()
        self._stop.set()
        self._moved.set()

    def close(self) -> None:
        """Close the database, if this engine has opened one."""
        if "stores" in self.__dict__:
            self.container.root_leases().close()
            self.stores.close()

    # --- inside ---------------------------------------------------------------------------

    def _prepare(self) -> None:
        if self._ended:
            raise CasparianError("This engine has run and ended: make another Engine to run again.")
        stores = when_free(lambda: self.stores, self._stop)
        self.container.observing().stores_opened(stores.reports, stores.ledger)
        if SCOUT in self.roles:
            self.container.observing().expecting(self.container.expectations())
            enqueued = when_free(self.apply, self._stop)
            if enqueued:
                log.info("configuration applied", jobs=enqueued)

    def _ended_jobs(self) -> dict[str, int]:
        return dict(self._worker.ended) if self._worker is not None else {}

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """From before the start until after the end, for whoever looks on."""
        observing = self.container.observing()
        try:
            observing.start()
            yield
        finally:
            observing.close()

    def _show(self, service: _Service | None, worker: Worker | None) -> None:
        """All runs: what being alive and being ready mean from now on."""
        alive: dict[str, Check] = {}
        usable: dict[str, Check] = {"database": self._database_problem}
        if service is not None:
            alive["scout"] = lambda: "" if service[1].is_alive() else "the scout stopped"
        if worker is not None:
            alive["router"] = lambda: f"{worker.failure!r}" if worker.failure else ""
            usable["sinks"] = lambda: self._sink_problem(worker)
        pool = worker.router.pool if worker is not None else None
        refused = (lambda: worker.refused) if worker is not None else (lambda: 0)
        deployments = worker.architect.counts if worker is not None else {}
        self.container.observing().running(pool, refused, deployments, alive, usable)

    def _database_problem(self) -> str:
        self.stores.store.revision()
        return ""

    def _sink_problem(self, worker: Worker) -> str:
        """What keeps the sinks of live plugins from being used; raised by the sink, or found."""
        for sink in self.container.targets().configured(worker.live_plugins().values()):
            sink.check()
        return ""

    def _start_scout(self) -> _Service | None:
        if SCOUT not in self.roles:
            return None
        self.container.expectations().start()
        service = self.container.scout_service()
        thread = threading.Thread(
            target=service.run, args=(self._stop,), name="casparian-scout", daemon=True
        )
        thread.start()
        return service, thread

    def _start_worker(self, prestart: bool) -> Worker | None:
        if WORKER not in self.roles:
            return None
        worker = self._worker = self.container.worker()
        try:
            worker.start(prestart)
        except BaseException:
            self.container.context().seat.leave()
            raise
        log.info("worker started", worker=self.container.context().id, endpoint=worker.endpoint)
        return worker

    def _check_health(self, worker: Worker | None) -> None:
        failure = worker.failure if worker is not None else self.container.root_leases().failure
        if isinstance(failure, SchemaVersionError):
            # What it holds is done by others: nothing more is written by this program.
            self._abort.set()
            raise failure
        if worker is not None and worker.failure is not None:
            raise CasparianError(
                f"The router stopped: {worker.failure!r}. Its jobs are queued again when their "
                "leases are over; start the engine again, and report this with the log."
            ) from worker.failure

    def _wait_until_done(self, worker: Worker) -> None:
        scan_at = time.monotonic() + self.settings.scout.interval_s
        worker.on_end = lambda job_id, status: self._moved.set()
        while not self._stop.is_set():
            self._check_health(worker)
            if self._nothing_left(worker):
                return
            due = SCOUT in self.roles and time.monotonic() >= scan_at
            if due and not self._busy(worker):
                # Only retries are left. One may wait for its file to be recorded anew.
                self.scan()
                scan_at = time.monotonic() + self.settings.scout.interval_s
            # A job that ended may have been the last; what others do is looked for.
            self._moved.wait(DRAIN_POLL_S)
            self._moved.clear()

    def _not_run(self, worker: Worker) -> dict[str, str]:
        """Why plugins were not run: an environment that cannot be made, code that does not hold
        and for which jobs wait."""
        refused = worker.refused_plugins().items()
        waits = self.stores.queue.next_due_us
        left = {name: reason for name, reason in refused if waits([name]) is not None}
        return {**worker.environments.failures(), **left}

    def _busy(self, worker: Worker) -> bool:
        if not worker.idle:
            return True
        counts = self.stores.queue.backlog()
        return bool(counts.get(JobStatus.RUNNING, 0) + counts.get(JobStatus.PROMOTING, 0))

    def _nothing_left(self, worker: Worker) -> bool:
        """Each look is a transaction of its own, and a job that is claimed or put back between
        two of them is in neither: so nothing may wait, before and after nothing runs."""
        queue, live = self.stores.queue, list(worker.live_plugins())
        return (
            worker.idle
            and not worker.preparing
            and queue.next_due_us(live) is None
            and not self._busy(worker)
            and queue.next_due_us(live) is None
        )

    def _end(self, service: _Service | None, worker: Worker | None) -> None:
        self.container.observing().stopping()
        self._stop.set()
        self._ended = True
        if service is not None:
            self.container.expectations().close()
            service[0].wake()
            service[1].join()
        if SCOUT in self.roles:
            self.container.root_leases().close()
        if worker is not None:
            if self._abort.is_set():
                worker.abort()
            worker.stop()
            self.container.context().seat.leave()
