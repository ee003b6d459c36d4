"""The heartbeat's thread: renews leases, reaps the dead, takes over, sweeps, reports in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import structlog

from casparian.app.context import EtlContext
from casparian.app.leases import Leases
from casparian.app.waiting import HEARTBEAT_S, Waits
from casparian.domain.errors import CasparianError, SchemaVersionError, UnavailableError
from casparian.domain.jobs import RetryPolicy
from casparian.domain.ports import JobQueue, Promoting, PublishLedger, Sink, WorkerNode
from casparian.domain.publish import SHORT, is_orphan

SWEEP_STAGINGS_S = 60.0
MOST_TAKEN_OVER = 100

log = structlog.get_logger("casparian.worker")


class Keeper:
    """`lost(job_ids)` is told of jobs that are no longer this worker's; `inherit` of decided
    jobs that now are. `failure`: why this program may not go on, None while it may."""

    def __init__(
        self,
        node: WorkerNode,
        context: EtlContext,
        jobs: JobQueue,
        ledger: PublishLedger,
        leases: Leases,
        policy: RetryPolicy,
        lease_us: int,
        renew_s: float,
        sweep_s: float,
        sinks: Callable[[], Iterable[Sink]],
        lost: Callable[[list[int]], None],
        inherit: Callable[[list[Promoting]], None],
        load: Callable[[], Mapping[str, Any]],
        clock: Callable[[], int],
        waits: Waits,
    ) -> None:
        self._node = node
        self._context = context
        self._jobs = jobs
        self._ledger = ledger
        self._leases = leases
        self._policy = policy
        self._lease_us = lease_us
        self._renew_s = renew_s
        self._sweep_s = sweep_s
        self._sinks = sinks
        self._lost = lost
        self._inherit = inherit
        self._load = load
        self._clock = clock
        self._waits = waits
        self.failure: SchemaVersionError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="casparian-keeper", daemon=True)

    def start(self) -> None:
        """Finish what is PROMOTING, reap, report in, sweep; then go on in the thread.

        Who reports in takes the place of an earlier process of the same host and pid, as in a
        container that was started again, and whose jobs are to be recovered before that.
        """
        self.recover()
        self.beat()
        self.sweep()
        self._thread.start()

    def stop(self) -> None:
        """Leases are renewed until now; afterwards this node is listed as stopped."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        try:
            self.beat(stopped=True)
        except (UnavailableError, SchemaVersionError) as error:
            log.warning("could not report the end", error=str(error))

    def _serve(self) -> None:
        beat_s = min(HEARTBEAT_S, self._renew_s)
        due = {
            self.renew: (self._renew_s, time.monotonic() + self._renew_s),
            self.recover: (self._sweep_s, time.monotonic() + self._sweep_s),
            self.beat: (beat_s, time.monotonic() + beat_s),
            self.sweep: (SWEEP_STAGINGS_S, time.monotonic() + SWEEP_STAGINGS_S),
        }
        while not self._stop.wait(max(0.0, min(at for _, at in due.values()) - time.monotonic())):
            for step, (every, at) in list(due.items()):
                if at > time.monotonic():
                    continue
                due[step] = (every, time.monotonic() + every)
                try:
                    with self._waits.database(step.__name__):
                        step()
                except SchemaVersionError as error:
                    self.failure = error
                except (UnavailableError, OSError) as error:
                    log.error("could not " + step.__name__, error=str(error))
                except Exception:
                    log.exception("could not " + step.__name__)
            gone = self._leases.expired()
            if gone:
                log.error("leases could not be renewed in time, jobs given up", jobs=gone)
                self._lost(gone)

    def renew(self) -> None:
        asked = self._leases.snapshot()
        if not asked:
            return
        asked_at = time.monotonic()
        held = self._jobs.renew(self._node.id, asked, self._lease_us)
        lost = self._leases.renewed(asked, held, asked_at)
        if lost:
            self._lost(lost)

    def recover(self) -> None:
        """Requeue the jobs of dead workers, and roll their decided ones forward."""
        lost = self._jobs.lost(self._context.is_dead)
        if not lost.jobs:
            return
        dead = lost.dead
        while True:
            asked_at = time.monotonic()
            taken = self._ledger.take_over(self._node.id, MOST_TAKEN_OVER, self._lease_us, dead)
            if taken:
                log.info("decided jobs taken over", jobs=[t.job_id for t in taken])
                self._leases.add(((t.job_id, t.token) for t in taken), asked_at)
                self._inherit(taken)
            if len(taken) < MOST_TAKEN_OVER:
                break
        reaped = self._jobs.reap(self._policy, dead)
        if reaped:
            log.warning("jobs of stopped workers reaped", jobs=reaped)

    def sweep(self) -> None:
        """Remove orphaned stagings of this installation, and what was replaced long ago."""
        for sink in self._sinks():
            try:
                self._sweep_sink(sink)
                sink.clean(self._clock())
            except (OSError, CasparianError) as error:
                log.warning("sweep failed", sink=sink.location, error=str(error))

    def _sweep_sink(self, sink: Sink) -> None:
        # First the stagings, then their fates: a staging made in between is not seen.
        ours = self._ledger.installation[:SHORT]
        stagings = [key for key in sink.stagings() if key.installation[:SHORT] == ours]
        if not stagings:
            return
        fates = self._ledger.fates(sorted({key.job_id for key in stagings}))
        for key in stagings:
            if is_orphan(key, fates.get(key.job_id)):
                sink.discard(key)
                log.info("orphaned staging removed", staging=key.name, sink=sink.location)

    def beat(self, stopped: bool = False) -> None:
        self._waits.compare(self._ledger.fates)
        load, waits_for = dict(self._load()), self._waits.listed()
        if waits_for:
            load["waits_for"] = waits_for
        self._node = replace(self._node, heartbeat_at_us=self._clock(), load=load, stopped=stopped)
        self._jobs.beat(self._node)
