"""The composition root: which object gets which. The only place that knows the injector."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from dependency_injector import containers, providers

from casparian.adapters.files import LocalFileSource
from casparian.adapters.files.archive import VersionArchive
from casparian.adapters.files.leaving import LocalLeaving
from casparian.adapters.queue import QueueStores
from casparian.app.context import EtlContext, process_start
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
from casparian.app.scout_service import ScoutService
from casparian.app.settings import Settings
from casparian.app.targets import Targets
from casparian.app.unpacked import Unpacked
from casparian.app.verify import ContentCheck
from casparian.app.worker import Worker, WorkerConfig
from casparian.domain.errors import ConfigurationError
from casparian.domain.instructions import RouterRules
from casparian.domain.jobs import RetryPolicy
from casparian.domain.ports import Clock, FileSource, PluginHost

SECOND_US = 1_000_000


def wall_clock_us() -> int:
    return time.time_ns() // 1000


def worker_config(settings: Settings, roles: tuple[str, ...]) -> WorkerConfig:
    worker = settings.worker
    policy = RetryPolicy(worker.max_attempts, worker.max_crashes, int(worker.backoff_s * SECOND_US))
    return WorkerConfig(
        rules=RouterRules(sidecars=settings.plugin_host.sidecars),
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


def _content_check(source: Any, settings: Settings, context: EtlContext) -> ContentCheck:
    """Snapshots lie in a directory of this process; those of processes that ended go."""
    own = f"{context.pid}-{context.pid_started}"
    directory = str(settings.path("run/snapshots") / own)
    unpacked = Unpacked(unpack_limits(settings))
    check = ContentCheck(
        source, settings.worker.verify, directory, unpacked, version_archive(settings)
    )

    def is_alive(name: str) -> bool:
        pid, _, started = name.partition("-")
        return pid.isdecimal() and str(process_start(int(pid))) == started

    check.sweep(is_alive)
    return check


def _swept_archive(settings: Settings) -> VersionArchive | None:
    archive = version_archive(settings)
    if archive is not None:
        archive.sweep()
    return archive


def _leaver(catalog: Any, source: FileSource, settings: Settings, clock: Clock) -> Leaver:
    after = departures_of(settings)
    if after and not hasattr(catalog, "plan_departures"):
        raise ConfigurationError(
            "[[source_root]] after: the catalog of this queue does not keep what leaves (it has no "
            'plan_departures); write after = "keep".'
        )
    return Leaver(catalog, LocalLeaving(source), after, clock)


def _scout_service(
    scout: Scout, leaver: Leaver, settings: Settings, on_recorded: Callable[[int], None]
) -> ScoutService:
    return ScoutService(
        scout,
        leaver=leaver,
        interval_s=settings.scout.interval_s,
        watch=settings.scout.watch,
        on_recorded=on_recorded,
    )


class Container(containers.DeclarativeContainer):
    """Every port of one engine; override a provider to put an adapter of one's own in."""

    settings = providers.Dependency(instance_of=Settings)
    roles = providers.Object(("scout", "worker"))
    clock = providers.Object(wall_clock_us)
    registry = providers.Singleton(Registry.default)
    context = providers.Singleton(EtlContext.capture)
    observing = providers.Singleton(Observing, settings, clock)
    targets = providers.Singleton(
        Targets,
        providers.Callable(
            lambda seen, registry, settings: seen.sinks(registry.sink_factories(settings)),
            observing,
            registry,
            settings,
        ),
    )

    database: providers.Provider[QueueStores] = providers.Singleton(
        lambda registry, settings, clock: registry.stores(settings, clock),
        registry,
        settings,
        clock,
    )
    job_queue: providers.Provider[Any] = providers.Object(None)
    stores: providers.Provider[QueueStores] = providers.Singleton(
        lambda database, queue: database if queue is None else database._replace(queue=queue),
        database,
        job_queue,
    )
    source = providers.Singleton(LocalFileSource)
    transport = providers.Singleton(
        lambda registry, settings, context: registry.transport(settings, context.process),
        registry,
        settings,
        context,
    )
    plugin_host = providers.Singleton(_host_maker, registry, settings)
    check = providers.Singleton(_content_check, source, settings, context)

    scout = providers.Singleton(
        Scout,
        stores.provided.catalog,
        source,
        providers.Callable(scan_rules, settings),
        clock,
        stores.provided.store.routing,
        providers.Callable(root_rules, settings),
        providers.Callable(_swept_archive, settings),
    )
    leaver = providers.Singleton(_leaver, stores.provided.catalog, source, settings, clock)
    scout_service = providers.Singleton(
        _scout_service,
        scout,
        leaver,
        settings,
        providers.Callable(lambda stores: lambda jobs: stores.queue.wake(), stores),
    )
    expectations = providers.Singleton(
        ExpectationWatch,
        providers.Callable(expectations_of, settings),
        providers.Callable(lambda stores: lambda: stores.reports, stores),
        clock,
    )
    worker = providers.Singleton(
        Worker,
        providers.Callable(worker_config, settings, roles),
        context,
        stores.provided.queue,
        providers.Callable(
            lambda seen, ledger: seen.ledger(ledger), observing, stores.provided.ledger
        ),
        stores.provided.store,
        transport,
        plugin_host,
        targets,
        check,
        clock,
        observing.provided.observer,
    )


def queue_overrides(queue: Any) -> dict[str, Any]:
    """What to override for a queue of the caller's: the whole database, where the object has
    all five ports or keeps them by itself, else the port JobQueue. It stays the caller's to close.
    """
    if all(hasattr(queue, port) for port in ("catalog", "queue", "ledger", "store", "reports")):
        stores = QueueStores(
            queue.catalog, queue.queue, queue.ledger, queue.store, queue.reports, _leave_open
        )
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
    container = Container(settings=settings)
    container.roles.override(providers.Object(roles))
    for name, adapter in overrides.items():
        container.providers[name].override(providers.Object(adapter))
    if sinks:
        container.registry.override(providers.Object(container.registry().with_sinks(sinks)))
    return container
