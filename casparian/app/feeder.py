"""The feeder's thread: claims jobs as the router can use them, and checks their files first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from casparian.app.decider import Staged
from casparian.app.leases import Leases
from casparian.app.live_plugins import LivePlugins
from casparian.app.publisher import Publisher
from casparian.app.verify import ContentCheck
from casparian.app.waiting import Waits
from casparian.domain.errors import ErrorClass, JobError, UnavailableError, is_infrastructure
from casparian.domain.files import path_text
from casparian.domain.jobs import Claim, JobKind
from casparian.domain.observer import JobObserver
from casparian.domain.plugins import LivePlugin
from casparian.domain.ports import Clock, JobQueue
from casparian.domain.publish import Manifest

FULL_WAIT_S = 0.5
IDLE_WAIT_S = 20.0
"""How long an idle engine waits for a word; it hears of new jobs, and knows when others are due."""
SHORTEST_WAIT_S = 0.05
RETRY_WAIT_S = 1.0
SECOND_US = 1_000_000

log = structlog.get_logger("casparian.worker")


class Feeder:
    """`offer` takes claims; `clock` is the queue's."""

    def __init__(
        self,
        worker: str,
        installation: str,
        jobs: JobQueue,
        leases: Leases,
        check: ContentCheck,
        publisher: Publisher,
        plugins: LivePlugins,
        offer: Callable[[Sequence[Claim]], None],
        lease_us: int,
        observer: JobObserver,
        clock: Clock,
        waits: Waits,
    ) -> None:
        self._worker = worker
        self._installation = installation
        self._jobs = jobs
        self._leases = leases
        self._check = check
        self._publisher = publisher
        self._plugins = plugins
        self._offer = offer
        self._lease_us = lease_us
        self._observer = observer
        self._clock = clock
        self._waits = waits
        self._wanted: dict[str, int] = {}
        self._news = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="casparian-feeder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def want(self, demand: Mapping[str, int]) -> None:
        """How many jobs of each plugin the router could use now; replaces what was said before."""
        with self._news:
            had_none = not any(n > 0 for n in self._wanted.values())
            self._wanted = dict(demand)
            if had_none and any(n > 0 for n in demand.values()):
                self._news.notify()

    def stop(self) -> None:
        with self._news:
            self._stopping = True
            self._news.notify()
        self._jobs.wake()
        if self._thread.ident is not None:
            self._thread.join()

    def _serve(self) -> None:
        while not self._stopping:
            try:
                with self._waits.database("claiming"):
                    idle_for_s = self._feed()
                if idle_for_s:
                    self._jobs.wait(idle_for_s)
            except UnavailableError as error:
                log.error("database not reachable, trying again", error=str(error))
                self._pause()
            except Exception:
                log.exception("claiming failed, trying again")
                self._pause()

    def _pause(self) -> None:
        """Before it is tried again; less long where it is to stop."""
        with self._news:
            if not self._stopping:
                self._news.wait(RETRY_WAIT_S)

    def _feed(self) -> float:
        """Claim what is wanted; how long to wait for news in the queue afterwards."""
        live = self._plugins.refresh()
        with self._news:
            wanted = {n: k for n, k in self._wanted.items() if n in live and k > 0}
            if live and not wanted and not self._stopping:
                self._news.wait(FULL_WAIT_S)
                return 0.0
        if self._claim(live, wanted) or self._stopping:
            return 0.0
        return self._idle_for_s(wanted)

    def _idle_for_s(self, wanted: Mapping[str, int]) -> float:
        """Until a job is due whose wait is over then. News in the queue ends any wait."""
        # The news that was heard may have been of plugins, which are not looked at every time.
        longest_s = self._plugins.not_looked_for_s or IDLE_WAIT_S
        due_us = self._jobs.next_due_us(wanted) if wanted else None
        if due_us is None:
            return longest_s
        return min(max((due_us - self._clock()) / SECOND_US, SHORTEST_WAIT_S), longest_s)

    def _claim(self, live: Mapping[str, LivePlugin], wanted: dict[str, int]) -> int:
        """Claim up to what is wanted, most urgent first over all plugins; returns how many."""
        total = 0
        while wanted:
            # The least wanted plugin sets the limit, so that none gets more than it can use.
            limit = min(wanted.values())
            asked_at = time.monotonic()
            hashes = {name: live[name].content_hash for name in wanted}
            claims = self._jobs.claim(self._worker, hashes, limit, self._lease_us)
            self._leases.add(((c.job_id, c.token) for c in claims), asked_at)
            if claims:
                self._observer.claimed(claims, time.monotonic() - asked_at)
            total += len(claims)
            prepared = (self._prepare(claim, live[claim.plugin]) for claim in claims)
            ready = [claim for claim in prepared if claim is not None]
            for claim in ready:
                wanted[claim.plugin] -= 1
            if ready:
                # What was wanted is out of date now; the router says more once it has these.
                with self._news:
                    self._wanted = {}
                self._offer(ready)
            if len(claims) < limit:
                break
            wanted = {n: k for n, k in wanted.items() if k > 0}
        return total

    def _prepare(self, claim: Claim, plugin: LivePlugin) -> Claim | None:
        if claim.kind is JobKind.WITHDRAW:
            manifest = without_rows(claim, self._installation)
            self._publisher.submit(Staged(claim, plugin.config, manifest))
            return None
        try:
            return self._check.prepare(claim, plugin.standing_roots)
        except JobError as error:
            gone = error.error_class in (ErrorClass.SOURCE_GONE, ErrorClass.SOURCE_CHANGED)
            # Appended rows of an older version are missed for good: that is no superseding.
            newer = gone and plugin.config.replaces_everything
            self._publisher.fail(claim, error.error_class, error.message, supersede_if_newer=newer)
            return None
        except Exception as error:
            # It is claimed: left out of the jobs that are offered, it would be held for ever.
            kind = ErrorClass.INFRASTRUCTURE
            if not is_infrastructure(error):
                log.exception("a file could not be prepared", job=claim.job_id)
                kind = ErrorClass.ENGINE
            what = f"{type(error).__name__}: {error}"
            text = f"{path_text(claim.source)} could not be prepared: {what}"
            self._publisher.fail(claim, kind, text)
            return None


def without_rows(claim: Claim, installation: str) -> Manifest:
    """What a job stages that no plugin runs for: nothing. What is emptied by it is planned when
    it is decided."""
    return Manifest(
        installation=installation,
        job_id=claim.job_id,
        attempt=claim.attempt,
        plugin=claim.plugin,
        plugin_hash="",
        location_id=claim.location_id,
        file_version_id=claim.file_version_id,
        ordinal=claim.ordinal,
        root_path=path_text(claim.root_path),
        path=path_text(claim.path),
        content_hash=claim.content_hash,
    )
