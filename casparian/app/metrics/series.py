"""What is counted and timed as it happens, in a registry of this engine alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from casparian.app.metrics.gauges import (
    DeployGauges,
    DoorGauges,
    EventGauges,
    ExpectationGauges,
    PoolGauges,
    QueueGauges,
    SentEvents,
)
from casparian.domain.errors import ErrorClass
from casparian.domain.expectations import Expectation
from casparian.domain.jobs import Claim, Failure, JobStatus
from casparian.domain.messages import TopicTotals
from casparian.domain.observer import Stage
from casparian.domain.plugins import REJECTS_TOPIC
from casparian.domain.pool import Pool
from casparian.domain.ports import Reports
from casparian.domain.publish import Manifest

MILLISECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5)
BUCKETS_S = (*MILLISECONDS, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Metrics:
    """A JobObserver that counts; `registry` is what a scrape shows.

    Series of a plugin begin at 0 with its first claim, so that a first failure is a step too.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

        def counted(name: str, text: str, *labels: str) -> Callable[..., Counter]:
            """The counter of some labels' values; found once for each."""
            return cache(Counter(f"casparian_{name}", text, labels, registry=registry).labels)

        self._claimed = counted("jobs_claimed", "Attempts begun by this worker.", "plugin")
        self._ended = counted(
            "jobs_ended",
            "Jobs that ended at this worker, by the status they ended with.",
            "plugin",
            "status",
        )
        self._failures = counted(
            "attempts_failed",
            "Attempts that ended without rows, whether the job is tried again or not.",
            "plugin",
            "error_class",
        )
        self._lost = counted(
            "attempts_lost",
            "Attempts taken from this worker: cancelled, or the lease was over.",
            "plugin",
        )
        self._rows = counted("rows_published", "Rows published.", "plugin", "topic")
        self._rejects = counted(
            "rows_rejected", "Rows that plugins put aside, as published to their rejects.", "plugin"
        )
        self._bytes = counted(
            "bytes_received",
            "Bytes of Arrow data that plugins sent for files they finished.",
            "plugin",
        )
        self._stages = Histogram(
            "casparian_stage_seconds",
            "Time of the steps of jobs: run and stage per job, all others per group of jobs.",
            ["stage"],
            registry=registry,
            buckets=BUCKETS_S,
        )
        self._stage = {stage: self._stages.labels(str(stage)) for stage in Stage}
        self._begin = cache(self._begin_series)

    def took(self, stage: Stage, seconds: float) -> None:
        self._stage[stage].observe(seconds)

    def show_queue(self, reports: Reports) -> None:
        self.registry.register(QueueGauges(reports.queue))

    def show_pool(self, pool: Pool) -> None:
        self.registry.register(PoolGauges(pool))

    def show_door(self, refused: Callable[[], int]) -> None:
        self.registry.register(DoorGauges(refused))

    def show_deployments(self, counts: Mapping[str, int]) -> None:
        self.registry.register(DeployGauges(counts))

    def show_events(self, emitter: SentEvents) -> None:
        self.registry.register(EventGauges(emitter))

    def show_expectations(self, look: Callable[[], list[tuple[Expectation, bool]]]) -> None:
        self.registry.register(ExpectationGauges(look))

    def _begin_series(self, plugin: str) -> None:
        for counter in (self._claimed, self._lost, self._rejects, self._bytes):
            counter(plugin)
        for status in (JobStatus.COMPLETED, JobStatus.FAILED):
            self._ended(plugin, str(status))
        self._failures(plugin, str(ErrorClass.DATA))

    # --- what the observer is told --------------------------------------------------------

    def claimed(self, claims: Sequence[Claim], seconds: float) -> None:
        self.took(Stage.CLAIM, seconds)
        for claim in claims:
            self._begin(claim.plugin)
            self._claimed(claim.plugin).inc()

    def ran(self, claim: Claim, seconds: float, topics: Mapping[str, TopicTotals]) -> None:
        self.took(Stage.RUN, seconds)
        self._bytes(claim.plugin).inc(sum(total.bytes for total in topics.values()))

    def staged(self, claim: Claim, seconds: float) -> None:
        self.took(Stage.STAGE, seconds)

    def published(self, manifest: Manifest, status: JobStatus) -> None:
        self._ended(manifest.plugin, str(status)).inc()
        for item in manifest.items:
            if item.slot.topic == REJECTS_TOPIC:
                self._rejects(manifest.plugin).inc(item.rows)
            elif item.staged:
                self._rows(manifest.plugin, item.slot.topic).inc(item.rows)

    def failed(self, claim: Claim, failure: Failure, status: JobStatus) -> None:
        self._failures(claim.plugin, str(failure.error_class)).inc()
        if status is not JobStatus.QUEUED:
            self._ended(claim.plugin, str(status)).inc()

    def blocked(self, manifest: Manifest, message: str) -> None:
        self._ended(manifest.plugin, str(JobStatus.BLOCKED)).inc()

    def lost(self, claim: Claim) -> None:
        self._lost(claim.plugin).inc()
