"""When scans happen: a full one every interval, a look where a hint points, and one at each
deferred file exactly when it may be settled. Nothing that goes wrong in one root ends the
others' discovery, or this root's for longer than a retry.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from casparian.adapters.files import Watcher
from casparian.app.leaving import Leaver
from casparian.app.scout import Scout
from casparian.app.scout_drain import scan_until_settled
from casparian.app.scout_lease import RootLeases
from casparian.app.waiting import Waits
from casparian.domain.errors import StaleScoutError, UnavailableError
from casparian.domain.files import ScanReport, SourceRoot, path_text

SLICE_S = 1.0
FIRST_RETRY_US = 1_000_000
LAST_RETRY_US = 30_000_000
SHORTEST_STAND_BY_US, LONGEST_STAND_BY_US = 1_000_000, 5_000_000
"""How often a root that another scout has is asked for: as often as it would be scanned, within
these."""
HINTS_PER_ROOT = 10_000
ERRORS_LOGGED = 20

log = structlog.get_logger("casparian.scout")


def _ignore(jobs: int) -> None:
    """Nobody waits for jobs."""


class _Plan:
    """What is to be done for one root, and when. All times are the clock's microseconds."""

    def __init__(self, root: SourceRoot) -> None:
        self.root = root
        self.scan_at_us = 0
        self.hold_at_us = 0
        self.kept_out_by = ""
        self.look_at_us: dict[bytes, int] = {}
        self.retry_us = FIRST_RETRY_US
        self.said: dict[bytes, str] = {}

    def move(self, by_us: int) -> None:
        """The clock was set: what is due some time from now is due as long from now."""
        self.scan_at_us += by_us
        self.hold_at_us += by_us
        self.look_at_us = {path: at_us + by_us for path, at_us in self.look_at_us.items()}

    def next_us(self) -> int:
        return min(self.scan_at_us, min(self.look_at_us.values(), default=self.scan_at_us))

    def take_due(self, now_us: int) -> list[bytes]:
        due = [path for path, at_us in self.look_at_us.items() if at_us <= now_us]
        for path in due:
            del self.look_at_us[path]
        return due


class ScoutService:
    """Runs a Scout until it is stopped.

    `on_recorded` is called with the number of jobs after each batch that enqueued some.
    """

    def __init__(
        self,
        scout: Scout,
        *,
        interval_s: float = 5.0,
        watch: bool = True,
        on_recorded: Callable[[int], None] = _ignore,
        leaver: Leaver | None = None,
        leases: RootLeases | None = None,
        waits: Waits | None = None,
    ) -> None:
        self._leaver = leaver
        self._leases = leases or RootLeases.none(scout.catalog)
        self._scout, self._clock = scout, scout.clock
        self._waits = waits or Waits(scout.clock)
        self._interval_us = int(interval_s * 1_000_000)
        self._stand_by_us = min(max(self._interval_us, SHORTEST_STAND_BY_US), LONGEST_STAND_BY_US)
        self._watch, self._on_recorded = watch, on_recorded
        self._plans: dict[int, _Plan] = {}
        self._hints: dict[int, set[bytes]] = {}
        self._hints_lock = threading.Lock()
        self._woken = threading.Event()
        self._now_us = self._clock()

    # --- the thread ------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Scan and look until `stop` is set; call `wake` after setting it to return at once."""
        roots = self._roots(stop)
        watcher = Watcher(roots, self.hint, self._on_watch_error) if self._watch else None
        self._plans = {root.id: _Plan(root) for root in roots}
        if watcher is not None:
            watcher.start()
        self._leases.start(reports_in=True)
        try:
            while not stop.is_set():
                self._follow_clock()
                mine = [plan for plan in self._plans.values() if self._holds(plan)]
                self._take_away([plan.root for plan in mine], stop)
                self._take_hints()
                for plan in mine:
                    self._do_due(plan, stop)
                self._wait(stop)
        finally:
            if watcher is not None:
                watcher.stop()
            self._leases.release()

    def _holds(self, plan: _Plan) -> bool:
        """Whether the root is this scout's; one that is another's is asked for now and then."""
        if self._leases.has(plan.root):
            return True
        now_us = self._clock()
        if now_us < plan.hold_at_us:
            return False
        plan.hold_at_us = now_us + self._stand_by_us
        try:
            lease = self._leases.hold(plan.root, lasting=True)
        except UnavailableError as error:
            log.warning("the catalog cannot be reached", error=str(error))
            return False
        if lease is None:
            # What was found until now is not known here: the first scan looks at everything.
            plan.scan_at_us, plan.kept_out_by = now_us, ""
        elif plan.kept_out_by != lease.scanner.id:
            plan.kept_out_by = lease.scanner.id
            log.info("another engine scans", root=path_text(plan.root.path), scout=lease.scanner.id)
        return lease is None

    def _take_away(self, roots: Sequence[SourceRoot], stop: threading.Event) -> None:
        if self._leaver is None:
            return
        try:
            self._leaver.work_if_due(roots, stop.is_set)
        except UnavailableError as error:
            log.warning("the catalog cannot be reached", error=str(error))
        except StaleScoutError as error:
            log.warning("files were not taken away", reason=str(error))
        except Exception:
            log.exception("taking files away failed")

    def wake(self) -> None:
        """Let `run` look at its stop event and its hints now. From any thread."""
        self._woken.set()

    def hint(self, root_id: int, path: bytes) -> None:
        """Something may have changed at `path`. From any thread."""
        with self._hints_lock:
            hints = self._hints.setdefault(root_id, set())
            if len(hints) >= HINTS_PER_ROOT:
                hints.clear()
                path = b""
            if b"" not in hints:
                hints.add(path)
        self.wake()

    def _roots(self, stop: threading.Event) -> Sequence[SourceRoot]:
        retry_us = FIRST_RETRY_US
        while not stop.is_set():
            try:
                return self._scout.catalog.roots()
            except UnavailableError as error:
                log.warning("the catalog cannot be reached", error=str(error))
                stop.wait(retry_us / 1e6)
                retry_us = min(retry_us * 2, LAST_RETRY_US)
        return []

    def _wait(self, stop: threading.Event) -> None:
        """Until something is due. In slices, since the clock may be set meanwhile."""
        if stop.is_set():
            return
        next_us = min((self._next_us(plan) for plan in self._plans.values()), default=None)
        wait_s = SLICE_S if next_us is None else (next_us - self._clock()) / 1e6
        if wait_s > 0:
            self._woken.wait(min(wait_s, SLICE_S))
        self._woken.clear()

    def _next_us(self, plan: _Plan) -> int:
        return plan.next_us() if self._leases.has(plan.root) else plan.hold_at_us

    def _follow_clock(self) -> None:
        """A clock that is set back must not put off what is planned. (Set forward, it brings it
        on, which does no harm.)"""
        before_us, self._now_us = self._now_us, self._clock()
        if self._now_us < before_us:
            for plan in self._plans.values():
                plan.move(self._now_us - before_us)

    def _take_hints(self) -> None:
        with self._hints_lock:
            hints, self._hints = self._hints, {}
        now_us = self._clock()
        for root_id, paths in hints.items():
            plan = self._plans[root_id]
            if not self._leases.has(plan.root):
                continue
            for path in paths:
                # A file that waits to settle gains nothing from a look before that.
                plan.look_at_us.setdefault(path, now_us)

    def _on_watch_error(self, message: str) -> None:
        log.warning("watching for file events failed", reason=message)

    # --- one root ----------------------------------------------------------------------------

    def _do_due(self, plan: _Plan, stop: threading.Event) -> None:
        began_us = self._clock()
        due: list[bytes] = []
        try:
            if plan.scan_at_us <= began_us:
                report = self._scout.scan(
                    plan.root, stopped=stop.is_set, on_progress=self._progress()
                )
                self._plan_next_scan(plan, began_us)
                self._say(plan, report)
            else:
                due = plan.take_due(began_us)
                if not due:
                    return
                report = self._scout.look(
                    plan.root, due, stopped=stop.is_set, on_progress=self._progress()
                )
        except Exception as error:
            self._put_off(plan, due, error)
        else:
            self._waits.over(_step(plan))
            plan.retry_us = FIRST_RETRY_US
            plan.look_at_us.update(report.look_again_us)

    def _plan_next_scan(self, plan: _Plan, began_us: int) -> None:
        """One interval after its start; but half of the time at least is free of scans."""
        ended_us = self._clock()
        plan.scan_at_us = max(began_us + self._interval_us, ended_us + (ended_us - began_us))

    def _put_off(self, plan: _Plan, due: Iterable[bytes], error: Exception) -> None:
        """Try again later, after a longer wait each time."""
        root = path_text(plan.root.path)
        if isinstance(error, UnavailableError):
            log.warning("the catalog cannot be reached", root=root, error=str(error))
            self._waits.on(_step(plan), "database", str(error))
        elif isinstance(error, StaleScoutError):
            log.warning("a scan was given up", root=root, reason=str(error))
            self._leases.lose(plan.root)
        else:
            log.exception("a scan failed", root=root, error=str(error))
            self._waits.on(_step(plan), f"source root {root}", str(error))
        again_us = self._clock() + plan.retry_us
        plan.retry_us = min(plan.retry_us * 2, LAST_RETRY_US)
        plan.scan_at_us = max(plan.scan_at_us, again_us)
        for path in due:
            plan.look_at_us[path] = again_us

    def _progress(self) -> Callable[[ScanReport], None]:
        told = 0

        def tell(report: ScanReport) -> None:
            nonlocal told
            if report.jobs > told:
                self._on_recorded(report.jobs - told)
                told = report.jobs

        return tell

    def _say(self, plan: _Plan, report: ScanReport) -> None:
        """Log what a full scan found; a problem that stands is logged once."""
        root = path_text(plan.root.path)
        _say_errors({p: e for p, e in report.errors.items() if plan.said.get(p) != e}, root=root)
        plan.said = dict(report.errors)
        if report.new or report.changed or report.deleted:
            log.info("scanned", root=root, jobs=report.jobs, **report.counts())

    def scan_until_settled(self, stop: threading.Event) -> ScanReport:
        """One scan of every root, and looks at what is deferred; see `scout_drain`. What an engine
        had begun to take away before is finished first."""
        with self._leases.turn(self._scout.catalog.roots(), stop) as roots:
            self._take_all_away(roots, stop)
            report = scan_until_settled(self._scout, stop, self._progress, roots)
        _say_errors(report.errors)
        return report

    def take_away(self, stop: threading.Event) -> None:
        """All files whose jobs are done. Raises UnavailableError."""
        if self._leaver is not None and self._leaver.is_wanted:
            with self._leases.turn(self._scout.catalog.roots(), stop) as roots:
                self._take_all_away(roots, stop)

    def _take_all_away(self, roots: Sequence[SourceRoot], stop: threading.Event) -> None:
        while self._leaver is not None and self._leaver.work(roots, stop.is_set):
            pass


def _step(plan: _Plan) -> str:
    return f"scan {plan.root.id}"


def _say_errors(errors: Mapping[bytes, str], **about: str) -> None:
    for path, error in list(errors.items())[:ERRORS_LOGGED]:
        log.error("could not be read", path=path_text(path), error=error, **about)
    if len(errors) > ERRORS_LOGGED:
        log.error("more could not be read", count=len(errors) - ERRORS_LOGGED, **about)
