"""Looked up when somebody scrapes: the queue in the database, and this worker's sidecars."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from casparian.domain.deployments import INSTALLED, DeployCheck
from casparian.domain.documents.status import QueueDocument
from casparian.domain.errors import UnavailableError
from casparian.domain.expectations import Expectation
from casparian.domain.jobs import JobStatus
from casparian.domain.pool import Pool

FRESH_S = 2.0
SHARE = 20


class QueueGauges:
    """Jobs by plugin and status, of all workers on this database.

    `look` is `Reports.queue`. Its answer is good for some seconds, and for twenty times what it
    took: however often somebody scrapes, it costs the database no more than a twentieth.
    """

    def __init__(self, look: Callable[[], list[QueueDocument]]) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._seen: list[QueueDocument] | None = None
        self._good_until = 0.0

    def collect(self) -> Iterator[Metric]:
        groups = self._groups()
        up = GaugeMetricFamily("casparian_database_up", "1 when the queue's database answers.")
        up.add_metric([], 0 if groups is None else 1)
        yield up
        if groups is not None:
            yield from _queue_families(groups)

    def _groups(self) -> list[QueueDocument] | None:
        with self._lock:
            began = time.monotonic()
            if began >= self._good_until:
                try:
                    self._seen = self._look()
                except UnavailableError:
                    self._seen = None
                ended = time.monotonic()
                self._good_until = ended + max(FRESH_S, SHARE * (ended - began))
            return self._seen


def _queue_families(groups: list[QueueDocument]) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("casparian_jobs", "Jobs in the database.", labels=["plugin", "status"])
    depth = GaugeMetricFamily("casparian_queue_depth", "Jobs that wait.", labels=["plugin"])
    age = GaugeMetricFamily(
        "casparian_queue_oldest_age_seconds",
        "How long the oldest waiting job has been queued; 0 when none waits.",
        labels=["plugin"],
    )
    for group in groups:
        jobs.add_metric([group["plugin"], group["status"]], group["jobs"])
    waiting = {g["plugin"]: g for g in groups if g["status"] == JobStatus.QUEUED}
    for plugin in sorted({group["plugin"] for group in groups}):
        oldest = waiting.get(plugin)
        depth.add_metric([plugin], oldest["jobs"] if oldest else 0)
        age.add_metric([plugin], (oldest["age_s"] or 0.0) if oldest else 0.0)
    yield from (jobs, depth, age)


class PoolGauges:
    """Sidecars of this worker, and the credit they have used. Reads what the router's thread
    writes: figures of one moment, each right by itself."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        sidecars, window, used = Counter[str](), Counter[str](), Counter[str]()
        for sidecar in list(self._pool.sidecars.values()):
            name = sidecar.plugin.name
            sidecars[name] += 1
            window[name] += sidecar.window
            used[name] += sidecar.outstanding
        plugins = sorted({*list(self._pool.lanes), *sidecars})
        for metric, text, values in (
            ("casparian_sidecars", "Sidecars that run.", sidecars),
            ("casparian_credit_bytes", "Bytes that sidecars may have on their way.", window),
            ("casparian_credit_in_use_bytes", "Of these, bytes that no sink has taken.", used),
        ):
            gauge = GaugeMetricFamily(metric, text, labels=["plugin"])
            for plugin in plugins:
                gauge.add_metric([plugin], values[plugin])
            yield gauge
        for metric, text, counts in (
            ("casparian_sidecar_starts", "Sidecars started.", self._pool.starts),
            (
                "casparian_sidecar_restarts",
                "Sidecars started in the place of one that crashed, hung or was killed.",
                self._pool.restarts,
            ),
        ):
            counter = CounterMetricFamily(metric, text, labels=["plugin"])
            for plugin in plugins:
                counter.add_metric([plugin], counts[plugin])
            yield counter


class DoorGauges:
    """Connections that were refused. `refused` counts them."""

    def __init__(self, refused: Callable[[], int]) -> None:
        self._refused = refused

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "casparian_connections_refused",
            "Connections that the transport refused: a wrong key, another user, no handshake.",
        )
        family.add_metric([], self._refused())
        yield family


class SentEvents(Protocol):
    """What an emitter of lineage events counts."""

    sent: int
    dropped: int
    refused: int


class EventGauges:
    """What became of lineage events."""

    def __init__(self, events: SentEvents) -> None:
        self._events = events

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "casparian_lineage_events",
            "Lineage events sent, dropped for want of room, and refused by the collector.",
            labels=["outcome"],
        )
        for outcome in ("sent", "dropped", "refused"):
            family.add_metric([outcome], getattr(self._events, outcome))
        yield family


class DeployGauges:
    """Deployments that this worker was sent. `counts` are the Architect's."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "casparian_deployments",
            "Deployments sent to this engine: installed, or refused by which check.",
            labels=["outcome"],
        )
        for outcome in (INSTALLED, *DeployCheck):
            family.add_metric([str(outcome)], self._counts.get(outcome, 0))
        yield family


class ExpectationGauges:
    """Expected files. `look` is `ExpectationWatch.missing`."""

    def __init__(self, look: Callable[[], list[tuple[Expectation, bool]]]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "casparian_expected_file_missing",
            "1 from when an expected file is due until it comes, or the day ends.",
            labels=["pattern", "by"],
        )
        for expectation, missing in self._look():
            family.add_metric([expectation.pattern, expectation.by], int(missing))
        yield family
