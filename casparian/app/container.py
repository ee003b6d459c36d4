"""The composition root: which object gets which. The only place that knows the injector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from dependency_injector import providers

from casparian.adapters.files import LocalFileSource
from casparian.adapters.files.archive import VersionArchive
from casparian.adapters.files.leaving import LocalLeaving
from casparian.adapters.keys import KeyDirectory
from casparian.adapters.queue import QueueStores, wall_clock_us
from casparian.app.builtins import SystemDeployer
from casparian.app.code_guard import CodeGuard
from casparian.app.context import EtlContext, process_start
from casparian.app.environments import Environments
from casparian.app.expectation_watch import ExpectationWatch
from casparian.app.expectations import expectations_of
from casparian.app.leaving import Leaver
from casparian.app.observing import Observing
from casparian.app.registry import Registry
from casparian.app.root_rules import (
    departures_of,
    root_rules,
    scan_rules,
    unpack_limits,
    version_archive,
)
from casparian.app.scout import Scout
from casparian.app.scout_lease import RootLeases
from casparian.app.scout_service import ScoutService
from casparian.app.settings import Settings
from casparian.app.targets import Targets
from casparian.app.unpacked import Unpacked
from casparian.app.verify import ContentCheck
from casparian.app.waiting import Waits
from casparian.app.worker import Worker
from casparian.app.worker_config import WorkerConfig
from casparian.domain.errors import ConfigurationError
from casparian.domain.instructions import RouterRules
from casparian.domain.jobs import RetryPolicy
from casparian.domain.ports import Clock, FileSource, PluginHost

SECOND_US = 1_000_000


def worker_config(settings: Settings, roles: tuple[str, ...]) -> WorkerConfig:
    worker = settings.worker
    host = settings.plugin_host
    policy = RetryPolicy(worker.max_attempts, worker.max_crashes, int(worker.backoff_s * SECOND_US))
    return WorkerConfig(
        rules=RouterRules(sidecars=host.sidecars, start_s=host.start_s),
        policy=policy,
        lease_s=worker.lease_s,
        renew_s=worker.renew_s,
        sweep_s=worker.sweep_s,
        give_up_s=worker.give_up_s,
        writers=worker.writers,
        roles=roles,
    )


def _host_maker(
    registry: Registry, settings: Settings
) -> Callable[[Callable[[], None]], PluginHost]:
    return lambda on_exit: registry.host(settings, on_exit)


def environments(settings: Settings) -> Environments:
    """Of plugins, where sidecars are processes that can have some."""
    if settings.plugin_host.adapter != "subprocess":
        return Environments(None)
    return Environments(str(settings.path(settings.plugins.environments)))


def _content_check(source: Any, settings: Settings, context: EtlContext) -> ContentCheck:
    """Snapshots lie in a directory of this process; those of processes of this host that ended
    go. Other hosts, which may share the directory, look after theirs."""
    own = f"{context.hostname}_{context.pid}-{context.pid_started}"
    directory = str(settings.path("run/snapshots") / own)
    unpacked = Unpacked(unpack_limits(settings))
    check = ContentCheck(
        source,
        settings.worker.verify,
        directory,
        unpacked,
        version_archive(settings),
        sandboxed=settings.sandboxed,
    )

    def is_alive(name: str) -> bool:
        host, _, process = name.rpartition("_")
        pid, _, started = process.partition("-")
        if host not in (context.hostname, ""):
            return True
        return pid.isdecimal() and str(process_start(int(pid))) == started

    check.sweep(is_alive)
    return check


def _swept_archive(settings: Settings) -> VersionArchive | None:
    archive = version_archive(settings)
    if archive is not None:
        archive.sweep()
    return archive


def _leaver(
    stores: QueueStores, leases: RootLeases, source: FileSource, settings: Settings, clock: Clock
) -> Leaver:
    after = departures_of(settings)
    if after and not hasattr(stores.catalog, "plan_departures"):
        raise ConfigurationError(
            "[[source_root]] after: the catalog of this queue does not keep what leaves (it has no "
            'plan_departures); write after = "keep".'
        )
    unpacking = unpack_limits(settings)
    return Leaver(leases.catalog, LocalLeaving(source), after, clock, unpacking)


def _root_leases(
    stores: QueueStores,
    context: EtlContext,
    settings: Settings,
    roles: tuple[str, ...],
    clock: Clock,
    waits: Waits,
) -> RootLeases:
    worker, started_at_us = settings.worker, clock()

    def beat(stopped: bool = False) -> None:
        node = context.node(roles, "", started_at_us)
        waits_for = waits.listed()
        load = {"waits_for": waits_for} if waits_for else {}
        stores.queue.beat(replace(node, heartbeat_at_us=clock(), load=load, stopped=stopped))

    alone = "worker" not in roles
    return RootLeases(
        stores.scout_leases,
        stores.catalog,
        context.scanner,
        context.is_dead,
        worker.lease_s,
        worker.renew_s,
        beat if alone else None,
    )


def _scout_service(
    scout: Scout,
    leaver: Leaver,
    leases: RootLeases,
    settings: Settings,
    on_recorded: Callable[[int], None],
    waits: Waits,
) -> ScoutService:
    return ScoutService(
        scout,
        leaver=leaver,
        interval_s=settings.scout.interval_s,
        watch=settings.scout.watch,
        on_recorded=on_recorded,
        leases=leases,
        waits=waits,
    )


class Container:
    """Every port of one engine; override a provider to put an adapter of one's own in.

    It is no container of the injector's, whose import brings in every web framework there is.
    """

    def __init__(self, settings: Settings) -> None:
        one, call, fixed = providers.Singleton, providers.Callable, providers.Object
        self.settings = fixed(settings)
        self.roles = fixed(("scout", "worker"))
        self.clock = fixed(wall_clock_us)
        self.registry = one(Registry.default)
        self.context = one(EtlContext.capture)
        self.waits = one(Waits, self.clock)
        self.observing = one(Observing, self.settings, self.clock)
        self.targets = one(
            Targets,
            call(
                lambda seen, registry, settings: seen.sinks(registry.sink_factories(settings)),
                self.observing,
                self.registry,
                self.settings,
            ),
        )

        self.database: providers.Provider[QueueStores] = one(
            lambda registry, settings, clock: registry.stores(settings, clock),
            self.registry,
            self.settings,
            self.clock,
        )
        self.job_queue: providers.Provider[Any] = fixed(None)
        self.stores: providers.Provider[QueueStores] = one(
            lambda database, queue: database if queue is None else database._replace(queue=queue),
            self.database,
            self.job_queue,
        )
        self.source = one(LocalFileSource)
        self.transport = one(
            lambda registry, settings, context: registry.transport(settings, context.process),
            self.registry,
            self.settings,
            self.context,
        )
        self.plugin_host = one(_host_maker, self.registry, self.settings)
        self.keys = one(KeyDirectory, self.settings.provided.key_directory)
        self.deployer = one(
            SystemDeployer,
            self.stores.provided.store,
            self.keys,
            call(lambda stores: lambda: stores.ledger.installation, self.stores),
            self.clock,
        )
        self.code_guard = one(
            CodeGuard, self.keys, self.settings.provided.plugins.require_signature
        )
        self.check = one(_content_check, self.source, self.settings, self.context)
        self._scouting()
        self.expectations = one(
            ExpectationWatch,
            call(expectations_of, self.settings),
            call(lambda stores: lambda: stores.reports, self.stores),
            self.clock,
        )
        self.worker = one(
            Worker,
            call(worker_config, self.settings, self.roles),
            self.context,
            self.stores.provided.queue,
            call(
                lambda seen, ledger: seen.ledger(ledger),
                self.observing,
                self.stores.provided.ledger,
            ),
            self.stores.provided.store,
            self.transport,
            self.plugin_host,
            self.targets,
            self.check,
            self.clock,
            self.deployer,
            self.code_guard,
            self.observing.provided.observer,
            self.stores.provided.database_clock,
            self.waits,
            call(environments, self.settings),
        )

    def _scouting(self) -> None:
        one, call = providers.Singleton, providers.Callable
        self.root_leases = one(
            _root_leases,
            self.stores,
            self.context,
            self.settings,
            self.roles,
            self.clock,
            self.waits,
        )
        self.scout = one(
            Scout,
            self.stores.provided.catalog,
            self.source,
            call(scan_rules, self.settings),
            self.clock,
            self.stores.provided.store.routing,
            call(root_rules, self.settings),
            call(_swept_archive, self.settings),
            self.root_leases,
        )
        self.leaver = one(
            _leaver, self.stores, self.root_leases, self.source, self.settings, self.clock
        )
        self.scout_service = one(
            _scout_service,
            self.scout,
            self.leaver,
            self.root_leases,
            self.settings,
            call(lambda stores: lambda jobs: stores.queue.wake(), self.stores),
            self.waits,
        )


def queue_overrides(queue: Any) -> dict[str, Any]:
    """What to override for a queue of the caller's: the whole database, where the object has
    all five ports or keeps them by itself, else the port JobQueue. It stays the caller's to close.
    """
    if all(hasattr(queue, port) for port in ("catalog", "queue", "ledger", "store", "reports")):
        stores = QueueStores(
            queue.catalog, queue.queue, queue.ledger, queue.store, queue.reports, _leave_open,
            scout_leases=getattr(queue, "scout_leases", None),
        )  # fmt: skip
        return {"database": stores}
    if all(hasattr(queue, method) for method in ("record", "claim", "decide", "apply", "why")):
        return {"database": QueueStores(queue, queue, queue, queue, queue, _leave_open)}
    return {"job_queue": queue}


def _leave_open() -> None:
    """What was handed in is closed by its owner."""


def build(
    settings: Settings,
    roles: tuple[str, ...],
    sinks: Mapping[str, Any],
    overrides: Mapping[str, Any],
) -> Container:
    """A container with adapters of one's own in place.

    `sinks` maps URI schemes to sink factories, or their classes; `overrides` maps a
    provider's name to the object to use.
    """
    container = Container(settings)
    container.roles.override(providers.Object(roles))
    for name, adapter in overrides.items():
        getattr(container, name).override(providers.Object(adapter))
    if sinks:
        container.registry.override(providers.Object(container.registry().with_sinks(sinks)))
    return container
