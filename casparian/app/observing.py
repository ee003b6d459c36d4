"""Who watches one engine, as `[metrics]` and `[openlineage]` say: usually nobody.

What is switched off is not imported, and nothing of it stands in the way of a job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import structlog

from casparian.app.observers import Observers
from casparian.app.settings import Settings
from casparian.domain.errors import ConfigurationError
from casparian.domain.observer import JobObserver, Unobserved
from casparian.domain.pool import Pool
from casparian.domain.ports import Clock, PublishLedger, Reports, SinkFactory

if TYPE_CHECKING:
    from casparian.app.expectation_watch import ExpectationWatch
    from casparian.app.metrics.endpoint import Endpoint
    from casparian.app.openlineage.emitter import Emitter

log = structlog.get_logger("casparian.engine")

Check = Callable[[], str]


class Observing:
    """Of one engine. `observer` is what its worker tells; `start` and `close` frame its life;
    `on_phase` is told when it is "running" and when it is "stopping"."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.endpoint = _endpoint(settings)
        self.emitter = _emitter(settings, clock)
        watching: list[JobObserver] = []
        if self.endpoint is not None:
            watching.append(self.endpoint.metrics)
        if self.emitter is not None:
            watching.append(self.emitter)
        self.observer: JobObserver = Observers(watching) if watching else Unobserved()
        self.on_phase: Callable[[str], None] = lambda phase: None

    # --- what the container puts in place ---------------------------------------------------

    def sinks(self, factories: Mapping[str, SinkFactory]) -> Mapping[str, SinkFactory]:
        """These factories; with metrics, their sinks are timed."""
        if self.endpoint is None:
            return factories
        from casparian.app.metrics.timed import timed_sinks

        return timed_sinks(factories, self.endpoint.metrics.took)

    def ledger(self, ledger: PublishLedger) -> PublishLedger:
        if self.endpoint is None:
            return ledger
        from casparian.app.metrics.timed import timed_ledger

        return timed_ledger(ledger, self.endpoint.metrics.took)

    # --- life -----------------------------------------------------------------------------

    def start(self) -> None:
        """Listen, before anything else: raises ConfigurationError for an address in use."""
        if self.endpoint is not None:
            self.endpoint.listen()
            log.info("metrics", url=self.endpoint.url + "/metrics")

    def stores_opened(self, reports: Reports, ledger: PublishLedger) -> None:
        if self.endpoint is not None:
            self.endpoint.metrics.show_queue(reports)
        if self.emitter is not None:
            self.emitter.start(ledger.installation)
            if self.endpoint is not None:
                self.endpoint.metrics.show_events(self.emitter)

    def expecting(self, expectations: ExpectationWatch) -> None:
        if self.endpoint is not None:
            self.endpoint.metrics.show_expectations(expectations.missing)

    def running(
        self,
        pool: Pool | None,
        refused: Callable[[], int],
        deployments: Mapping[str, int],
        alive: Mapping[str, Check],
        usable: Mapping[str, Check],
    ) -> None:
        """All threads run: `pool` and the counts of `deployments` are the worker's, `refused`
        counts the connections that it has refused; the checks return what is wrong."""
        if self.endpoint is not None:
            if pool is not None:
                self.endpoint.metrics.show_pool(pool)
                self.endpoint.metrics.show_door(refused)
                self.endpoint.metrics.show_deployments(deployments)
            self.endpoint.health.running(alive, usable)
        self.on_phase("running")

    def stopping(self) -> None:
        if self.endpoint is not None:
            self.endpoint.health.stopping()
        self.on_phase("stopping")

    def close(self) -> None:
        if self.emitter is not None:
            self.emitter.close()
        if self.endpoint is not None:
            self.endpoint.close()


def _endpoint(settings: Settings) -> Endpoint | None:
    if not settings.metrics.listen:
        return None
    from casparian.app.metrics.endpoint import Endpoint

    return Endpoint(*settings.metrics.address())


def _emitter(settings: Settings, clock: Clock) -> Emitter | None:
    section = settings.openlineage
    if not section.transport:
        return None
    try:
        from casparian.app.openlineage.emitter import Emitter
        from casparian.app.openlineage.transports import transport_of
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"openlineage.transport = {section.transport!r} needs a package that is not installed "
            f'({error.name}): pip install "casparian-flow[openlineage]".'
        ) from error
    return Emitter(section.namespace, transport_of(settings), section.most_waiting, clock)
