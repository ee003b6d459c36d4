"""What the memory queue holds. Values are immutable and replaced; every access is under `lock`."""

from __future__ import annotations

import random
import secrets
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from casparian.adapters.queue.common import JobEvent, WakeUp, wall_clock_us
from casparian.domain.bundles import BundleState
from casparian.domain.departures import Departure
from casparian.domain.deployments import Deployment, RefusedDeploy
from casparian.domain.files import FileHashRegistry, FileLocation, FileVersion
from casparian.domain.jobs import JobEventKind, JobStatus, ProcessingJob, check_transition
from casparian.domain.plugins import PluginConfig, PluginManifest
from casparian.domain.ports import Clock, Pruned, WorkerNode
from casparian.domain.publish import BundleKey, Generation, Manifest, PublishedSlot, Target
from casparian.domain.requirements import Environment
from casparian.domain.routing import RoutingRule
from casparian.domain.scouting import ScoutLease


@dataclass(frozen=True, slots=True)
class Code:
    """A manifest with what became of it."""

    manifest: PluginManifest
    live: bool = True
    quarantined: str | None = None
    environment: str | None = None


@dataclass(slots=True)
class SlotRow:
    """The lock row of one (plugin, location)."""

    generation: Generation | None = None
    holder: int | None = None


def no_token() -> dict[str, Any]:
    """The changes of a job that nobody holds any more."""
    return {"token": None, "lease_until_us": 0}


class MemoryState:
    """The tables, as dictionaries, and the counters of ids."""

    def __init__(
        self,
        clock: Clock = wall_clock_us,
        *,
        chance: Callable[[], float] = random.random,
        new_token: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self.clock, self.chance, self.new_token = clock, chance, new_token
        self.lock = threading.RLock()
        self.waiters = WakeUp()
        self.uuid = uuid.uuid4().hex
        self.ageing_us = 60_000_000
        self.changes = 0
        self._last_ids: dict[str, int] = {}
        self.root_paths: dict[int, bytes] = {}
        self.active_roots: set[int] = set()
        self.root_disturbances: Counter[int] = Counter()
        self.location_by_path: dict[tuple[int, bytes], int] = {}
        self.location_by_id: dict[int, FileLocation] = {}
        self.versions: dict[int, FileVersion] = {}
        self.registry: dict[str, FileHashRegistry] = {}
        self.departures: dict[int, Departure] = {}
        self.scout_leases: dict[int, ScoutLease] = {}
        self.scout_fences: dict[int, int] = {}
        self.tags: dict[int, dict[str, RoutingRule]] = {}
        self.rules: list[RoutingRule] = []
        self.rule_ids: dict[tuple[str, str, int], int] = {}
        self.configs: dict[str, PluginConfig] = {}
        self.active_plugins: set[str] = set()
        self.code: dict[tuple[str, str], Code] = {}
        self.versions_of_plugins: dict[tuple[str, int], Deployment] = {}
        self.environment_by_digest: dict[str | None, Environment] = {}
        self.nonces: dict[str, int] = {}
        self.refused_deploys: list[RefusedDeploy] = []
        self.job_by_id: dict[int, ProcessingJob] = {}
        self.content_doers: dict[tuple[str, str], int] = {}
        self.content_copies: dict[int, tuple[str, str]] = {}
        self.events: list[JobEvent] = []
        self.manifests: dict[int, Manifest] = {}
        self.nodes: dict[tuple[str, int], WorkerNode] = {}
        self.slot_rows: dict[tuple[str, int], SlotRow] = {}
        self.published_slots: dict[tuple[str, int], set[PublishedSlot]] = {}
        self.target_schemas: dict[Target, str] = {}
        self.prunings: list[tuple[int, str, int, Pruned]] = []
        self.bundle_states: dict[BundleKey, BundleState] = {}

    def next_id(self, table: str) -> int:
        """Ids of a table start at 1 and are never given twice."""
        self._last_ids[table] = self._last_ids.get(table, 0) + 1
        return self._last_ids[table]

    def last_id(self, table: str) -> int:
        return self._last_ids.get(table, 0)

    def enqueue(self, plugin: str, version: FileVersion, priority: int) -> int:
        """A new job waits; its id."""
        now, job_id = self.clock(), self.next_id("processing_job")
        self.job_by_id[job_id] = ProcessingJob(
            id=job_id,
            status=JobStatus.QUEUED,
            plugin=plugin,
            plugin_hash=None,
            file_version_id=version.id,
            location_id=version.location_id,
            ordinal=version.ordinal,
            priority=priority,
            attempt=0,
            not_before_us=now,
            enqueued_at_us=now,
        )
        return job_id

    def move(
        self, job: ProcessingJob, event: JobEventKind, status: JobStatus, **changes: Any
    ) -> ProcessingJob:
        """Take one step of the job's table."""
        check_transition(job.id, job.status, event, status)
        moved = replace(job, status=status, **changes)
        self.job_by_id[job.id] = moved
        return moved

    def log(
        self,
        job: ProcessingJob,
        event: JobEventKind,
        message: str | None = None,
        error_class: str | None = None,
        detail: str | None = None,
        actor: str | None = None,
    ) -> None:
        """Add a row to the job's history; `job` as it was when the event met it."""
        self.events.append(
            JobEvent(
                job.id,
                job.attempt,
                self.clock(),
                event,
                job.worker,
                error_class,
                message,
                detail,
                actor,
            )
        )
