"""The composition root: which object gets which. The only place that knows the injector."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from dependency_injector import containers, providers

from casparian.adapters.files import LocalFileSource
from casparian.adapters.queue import QueueStores, check_adapter, open_url
from casparian.app.context import EtlContext, process_start
from casparian.app.observing import Observing
from casparian.app.registry import Registry
from casparian.app.scout import Scout
from casparian.app.scout_service import ScoutService
from casparian.app.settings import Settings
from casparian.app.targets import Targets
from casparian.app.verify import ContentCheck
from casparian.app.worker import Worker, WorkerConfig
from casparian.domain.files import ScanRules
from casparian.domain.instructions import RouterRules
from casparian.domain.jobs import RetryPolicy
from casparian.domain.ports import Clock, PluginHost

SECOND_US = 1_000_000


def wall_clock_us() -> int:
    return time.time_ns() // 1000


def scan_rules(settings: Settings) -> ScanRules:
    return ScanRules(int(settings.scout.settle_s * 1e9), tuple(settings.scout.ignored_suffixes))


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


def _open_stores(settings: Settings, clock: Clock) -> QueueStores:
    check_adapter(settings.queue.adapter, settings.database_url)
    return open_url(settings.database_url, clock)


def _content_check(source: Any, settings: Settings, context: EtlContext) -> ContentCheck:
    """Snapshots lie in a directory of this process; those of processes that ended go."""
    own = f"{context.pid}-{context.pid_started}"
    check = ContentCheck(source, settings.worker.verify, str(settings.path("run/snapshots") / own))

    def is_alive(name: str) -> bool:
        pid, _, started = name.partition("-")
        return pid.isdecimal() and str(process_start(int(pid))) == started

    check.sweep(is_alive)
    return check


def _scout_service(
    scout: Scout, settings: Settings, on_recorded: Callable[[int], None]
) -> ScoutService:
    return ScoutService(
        scout,
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
            lambda seen, sinks: seen.sinks(sinks), observing, registry.provided.sinks
        ),
    )

    stores: providers.Provider[QueueStores] = providers.Singleton(_open_stores, settings, clock)
    source = providers.Singleton(LocalFileSource)
    transport = providers.Singleton(
        lambda registry, settings: registry.transport(settings), registry, settings
    )
    host = providers.Singleton(_host_maker, registry, settings)
    check = providers.Singleton(_content_check, source, settings, context)

    scout = providers.Singleton(
        Scout,
        stores.provided.catalog,
        source,
        providers.Callable(scan_rules, settings),
        clock,
        stores.provided.store.routing,
    )
    scout_service = providers.Singleton(
        _scout_service,
        scout,
        settings,
        providers.Callable(lambda stores: lambda jobs: stores.queue.wake(), stores),
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
        host,
        targets,
        check,
        clock,
        observing.provided.observer,
    )


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
        if name not in container.providers:
            known = ", ".join(sorted(container.providers))
            raise TypeError(f"There is no port {name!r} to override; known: {known}.")
        container.providers[name].override(providers.Object(adapter))
    if sinks:
        registry = container.registry()
        made = {
            scheme: factory() if isinstance(factory, type) else factory
            for scheme, factory in sinks.items()
        }
        added = replace(registry, sinks={**registry.sinks, **made})
        container.registry.override(providers.Object(added))
    return container
