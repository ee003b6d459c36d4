"""The worker: a router loop, joined to the pool of writers, publisher, feeder and keeper.

Each of them is one thread of one purpose (the writers are several); this is how they meet.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from casparian.app.architect import Architect
from casparian.app.builtins import SystemDeployer
from casparian.app.code_guard import CodeGuard
from casparian.app.context import EtlContext
from casparian.app.environments import Environments
from casparian.app.feeder import Feeder
from casparian.app.keeper import Keeper
from casparian.app.leases import Leases
from casparian.app.live_plugins import KnownSchemas, LivePlugins
from casparian.app.promoter import Decided
from casparian.app.publisher import Publisher
from casparian.app.router_loop import HandedOn, RouterLoop
from casparian.app.sink_guard import SinkGuard
from casparian.app.staging_pool import StagingPool
from casparian.app.targets import Targets
from casparian.app.verify import ContentCheck
from casparian.app.waiting import Waits
from casparian.app.worker_config import WorkerConfig
from casparian.app.worker_context import WorkerContext
from casparian.app.writer_events import WriterEvents
from casparian.domain.errors import ErrorClass
from casparian.domain.instructions import (
    FailJob,
    FinishJob,
    Instruction,
    QuarantinePlugin,
    RefuseDeploy,
    StageFrame,
    TakeDeploy,
    TrialEnded,
)
from casparian.domain.jobs import Claim, JobStatus
from casparian.domain.observer import JobObserver, Unobserved
from casparian.domain.plugins import LivePlugin
from casparian.domain.ports import (
    Clock,
    JobQueue,
    PluginHost,
    PluginStore,
    Promoting,
    PublishLedger,
    Transport,
)
from casparian.domain.router import Router

SECOND_US = 1_000_000
MOST_HELD = 400

log = structlog.get_logger("casparian.worker")


class Worker:
    """Runs jobs until stopped. `host` is made with the function that it calls on an exit;
    `queue_clock` is the queue's, where that is not this host's."""

    def __init__(
        self,
        config: WorkerConfig,
        context: EtlContext,
        jobs: JobQueue,
        ledger: PublishLedger,
        store: PluginStore,
        transport: Transport,
        host: Callable[[Callable[[], None]], PluginHost],
        targets: Targets,
        check: ContentCheck,
        clock: Clock,
        deployer: SystemDeployer,
        code_guard: CodeGuard,
        observer: JobObserver | None = None,
        queue_clock: Clock | None = None,
        waits: Waits | None = None,
        environments: Environments | None = None,
    ) -> None:
        self.config = config
        self._queue_clock = queue_clock or clock
        self._context = context
        self._jobs = jobs
        self._ledger = ledger
        self._store = store
        self._targets = targets
        self._check = check
        self._clock = clock
        self._observer = observer or Unobserved()
        self._waits = waits or Waits(clock)
        self.router = Router(config.rules, lambda: secrets.token_hex(16))
        self._leases = Leases(config.give_up_s)
        self._guard = SinkGuard(targets, ledger)
        self.environments = environments or Environments(None)
        self.environments.on_ready = jobs.wake
        self._plugins = LivePlugins(
            store, code_guard, self._guard.problem, self._configure, self.environments
        )
        self.architect = Architect(
            deployer,
            self.environments.prepare,
            self.router,
            lambda event: self._loop.post(event),
            self._plugins.look_again,
        )
        self._schemas = KnownSchemas(ledger)
        self._on_their_way: deque[str] = deque()
        self._feeder: Feeder | None = None
        self.ended: dict[str, int] = {}
        self._ended_lock = threading.Lock()
        self.on_end: Callable[[int, JobStatus], None] = lambda job_id, status: None
        self._publisher = Publisher(
            ledger,
            jobs,
            targets,
            self._leases,
            config.policy,
            self._note_end,
            self._waits,
            self._observer,
        )
        self._loop = RouterLoop(
            self.router,
            transport,
            host,
            self._plugins.code,
            self.environments.python_of,
            check.readable,
            self._carry_out,
            self._each_round,
            self._each_tick,
            self._give_back,
        )
        self._events = WriterEvents(
            self.router,
            check,
            self._plugins,
            self._publisher,
            self._observer,
            self._loop.post,
            self._loop.wake,
            lambda claim: self._writers.drop(claim),
        )

    # --- life -----------------------------------------------------------------------------

    def start(self, prestart: bool = False) -> None:
        """Recover what others left, then work. Raises ConfigurationError for a sink that could
        not keep its promises, ForeignInstallationError for another installation's rows."""
        for plugin in self._store.live():
            self._guard.check(plugin)
        self._plugins.refresh()
        self._writers = StagingPool(
            self.config.writers or os.cpu_count() or 1,
            self._events,
            self._open_context,
            self._check.confirm,
        )
        try:
            self._loop.start(prestart)
        except BaseException:
            self._writers.close()
            raise
        node = self._context.node(self.config.roles, self.endpoint, self._clock())
        self._keeper = Keeper(
            node,
            self._context,
            self._jobs,
            self._ledger,
            self._leases,
            self.config.policy,
            int(self.config.lease_s * SECOND_US),
            self.config.renew_s,
            self.config.sweep_s,
            lambda: self._targets.configured(self._plugins.live.values()),
            self._lose,
            self._inherit,
            self.load,
            self._clock,
            self._waits,
        )
        self._feeder = Feeder(
            self._context.id,
            self._ledger.installation,
            self._jobs,
            self._leases,
            self._check,
            self._publisher,
            self._plugins,
            self._offer,
            int(self.config.lease_s * SECOND_US),
            self._observer,
            self._queue_clock,
            self._waits,
        )
        try:
            self._publisher.start()
            self.architect.start()
            self._keeper.start()
            self._feeder.start()
        except BaseException:
            self.abort()
            self.stop()
            raise
        # The router may have waited since before there was anybody to tell its demand.
        self._loop.wake()

    def stop(self, timeout_s: float = 3600.0) -> None:
        """No new jobs; finish what is held; end. `abort` from another thread cuts it short."""
        self.environments.close()
        self.architect.close()
        if self._feeder is not None:
            self._feeder.stop()
        self._loop.stop(timeout_s)
        self._writers.close()
        if not self._publisher.close(timeout_s, self._loop.aborted):
            log.warning("decided jobs are left to be rolled forward at the next start")
        self._keeper.sweep()
        self._keeper.stop()
        self._loop.end_sidecars()
        self._check.close()

    def abort(self) -> None:
        """Do not wait for running jobs: they are queued again when their leases are over."""
        self._loop.abort()

    @property
    def endpoint(self) -> str:
        return self._loop.endpoint

    @property
    def failure(self) -> Exception | None:
        """What ended the router's thread, or why this program may not go on; None while it may."""
        return self._loop.failure or self._keeper.failure

    @property
    def refused(self) -> int:
        """Connections that the transport has refused."""
        return self._loop.refused

    @property
    def idle(self) -> bool:
        """True when this worker holds no job at all."""
        return len(self._leases) == 0

    @property
    def preparing(self) -> bool:
        """Whether a plugin is about to be run that is not yet, once its environment is made."""
        return self.environments.making or self._plugins.behind

    def live_plugins(self) -> Mapping[str, LivePlugin]:
        return dict(self._plugins.live)

    def refused_plugins(self) -> Mapping[str, str]:
        """Why live plugins are not run here, by name."""
        return self._plugins.refused

    def load(self) -> dict[str, Any]:
        """For the heartbeat: what this worker is at."""
        sidecars: dict[str, int] = {}
        sandbox: dict[str, str] = {}
        for sidecar in list(self.router.pool.sidecars.values()):
            name = sidecar.plugin.name
            sidecars[name] = sidecars.get(name, 0) + 1
            if sidecar.sandbox:
                sandbox[name] = sidecar.sandbox
        with self._ended_lock:
            ended = dict(self.ended)
        return {
            "jobs": len(self._leases),
            "sidecars": sidecars,
            "sandbox": sandbox,
            "ended": ended,
            "refused": self._loop.refused,
            "not_run": {**self.environments.problems(), **self._plugins.refused},
        }

    # --- other threads --------------------------------------------------------------------

    def _configure(self, plugins: list[LivePlugin]) -> None:
        self._loop.post(lambda: self.router.configure(plugins, time.monotonic()))

    def _offer(self, claims: Sequence[Claim]) -> None:
        self._on_their_way.extend(claim.plugin for claim in claims)

        def take() -> list[Instruction]:
            for _ in claims:
                self._on_their_way.popleft()
            return self.router.offer(claims, time.monotonic())

        self._loop.post(take)

    def _lose(self, job_ids: list[int]) -> None:
        self._loop.post(lambda: [i for job_id in job_ids for i in self.router.lost(job_id)])

    def _inherit(self, taken: list[Promoting]) -> None:
        for job in taken:
            self._publisher.inherit(Decided(job.manifest, job.token, inherited=True))

    def _open_context(self, claim: Claim) -> WorkerContext:
        return WorkerContext(
            claim,
            self._plugins.last_seen(claim.plugin),
            self._ledger.installation,
            self._targets,
            self._schemas.of,
        )

    def _note_end(self, job_id: int, status: JobStatus) -> None:
        with self._ended_lock:
            self.ended[str(status)] = self.ended.get(str(status), 0) + 1
        self.on_end(job_id, status)
        # The feeder may have been kept back by what was held.
        self._loop.wake()

    # --- the router's thread --------------------------------------------------------------

    def _carry_out(self, instruction: HandedOn) -> None:
        match instruction:
            case StageFrame(session, claim, topic, flags, payload):
                self._writers.frame(session, claim, topic, flags, payload)
            case FinishJob(claim, topics, seconds):
                self._observer.ran(claim, seconds, topics)
                self._writers.finish(claim, topics)
            case FailJob(claim, error_class, message, detail):
                report = self._events.report
                self._writers.drop(claim, lambda: report(claim, error_class, message, detail))
            case QuarantinePlugin(plugin, content_hash, reason):
                log.error("plugin in quarantine", plugin=plugin, reason=reason)
                self._publisher.call(lambda: self._quarantine(plugin, content_hash, reason))
            case TakeDeploy() | RefuseDeploy() | TrialEnded():
                self.architect.carry_out(instruction)

    def _quarantine(self, plugin: str, content_hash: str, reason: str) -> None:
        self._store.quarantine(plugin, content_hash, reason)
        self._jobs.fail_queued(plugin, reason)

    def _give_back(self, claims: list[Claim]) -> None:
        for claim in claims:
            self._events.report(claim, ErrorClass.CONFLICT, "the worker stopped before it ran")

    def _each_round(self) -> list[Instruction]:
        self._tell_demand()
        consumed = self._events.take_consumed()
        return [i for session, n in consumed.items() for i in self.router.consumed(session, n)]

    def _each_tick(self) -> None:
        self._writers.hand_over()

    def _tell_demand(self) -> None:
        """Said in every round, so that nothing hangs on one word having been heard."""
        if self._feeder is None:
            return
        full = len(self._leases) >= MOST_HELD
        self._feeder.want({} if full else self.router.pool.demand(list(self._on_their_way)))
