"""PublishLedger in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from casparian.adapters.queue.common import (
    completing_event,
    published_by,
    rejects_of,
    slot_order,
)
from casparian.adapters.queue.memory.state import MemoryState, SlotRow, no_token
from casparian.domain.jobs import JobEventKind, JobStatus, ProcessingJob
from casparian.domain.ports import Promoting
from casparian.domain.publish import (
    Completion,
    Decision,
    Generation,
    JobFate,
    Refusal,
    SlotState,
    Target,
)
from casparian.domain.schemas import TargetSchema

Key = tuple[str, int]


class MemoryLedger(MemoryState):
    """Slots, target schemas, manifests."""

    @property
    def installation(self) -> str:
        return self.uuid

    def highest_job_id(self) -> int:
        with self.lock:
            return self.last_id("processing_job")

    def slots(self, keys: Sequence[Key]) -> dict[Key, SlotState]:
        with self.lock:
            return {key: self._slot_state(key) for key in keys}

    def _slot_state(self, key: Key) -> SlotState:
        row = self.slot_rows.get(key, SlotRow())
        published = tuple(sorted(self.published.get(key, ()), key=slot_order))
        return SlotState(row.generation, row.holder, published)

    def schemas(self, targets: Sequence[Target]) -> dict[Target, TargetSchema]:
        with self.lock:
            return {
                target: TargetSchema.from_json(self.target_schemas[target])
                for target in targets
                if target in self.target_schemas
            }

    def decide(self, decisions: Sequence[Decision]) -> dict[int, Refusal]:
        with self.lock:
            refusals = self._refusals(decisions)
            if not refusals:
                for decision in decisions:
                    self._decide(decision)
            return refusals

    def _refusals(self, decisions: Sequence[Decision]) -> dict[int, Refusal]:
        """Each decision held against the database and the decisions before it."""
        refusals: dict[int, Refusal] = {}
        taken: set[Key] = set()
        schemas: dict[Target, str | None] = {}
        for decision in decisions:
            refusal = self._refusal(decision, taken, schemas)
            if refusal is not None:
                refusals[decision.job_id] = refusal
        return refusals

    def _refusal(
        self, decision: Decision, taken: set[Key], schemas: dict[Target, str | None]
    ) -> Refusal | None:
        job = self.job_by_id.get(decision.job_id)
        if job is None or job.status is not JobStatus.RUNNING:
            return Refusal.STALE
        if (job.attempt, job.token) != (decision.attempt, decision.token):
            return Refusal.STALE
        key = (job.plugin, job.location_id)
        state, planned = self._slot_state(key), decision.planned_on
        if key in taken or state.holder is not None:
            return Refusal.HELD
        if state.generation != planned.generation or set(state.published) != set(planned.published):
            return Refusal.MOVED
        for change in decision.schema_changes:
            standing = schemas.get(change.target, self.target_schemas.get(change.target))
            if standing != change.expected:
                return Refusal.SCHEMA
        taken.add(key)
        schemas.update((c.target, c.schema_json) for c in decision.schema_changes)
        return None

    def _decide(self, decision: Decision) -> None:
        manifest, job = decision.manifest, self.job_by_id[decision.job_id]
        key = (job.plugin, job.location_id)
        row = self.slot_rows.setdefault(key, SlotRow())
        row.holder = job.id
        if decision.raises_generation:
            row.generation = manifest.generation
        self.published.setdefault(key, set()).update(published_by(manifest))
        for change in decision.schema_changes:
            self.target_schemas[change.target] = change.schema_json
        self.manifests[job.id] = manifest
        changes = {"rejects": rejects_of(manifest)}
        self.move(job, JobEventKind.DECIDED, JobStatus.PROMOTING, **changes)

    def _promoting(self, job_id: int, token: str) -> ProcessingJob | None:
        job = self.job_by_id.get(job_id)
        if job and job.status is JobStatus.PROMOTING and job.token == token:
            return job
        return None

    def complete(self, completions: Sequence[Completion]) -> set[int]:
        done = set()
        with self.lock:
            for completion in completions:
                job = self._promoting(completion.job_id, completion.token)
                if job is not None:
                    self._complete(job, completion)
                    done.add(job.id)
        return done

    def _complete(self, job: ProcessingJob, completion: Completion) -> None:
        event = completing_event(completion)
        changes: dict[str, Any] = {"rows": completion.rows, "finished_at_us": self.clock()}
        changes |= {"error_class": None, "error_message": None, **no_token()}
        moved = self.move(job, event, completion.status, **changes)
        self._let_go(job)
        self.published[job.plugin, job.location_id].difference_update(completion.emptied)
        if moved.status is JobStatus.COMPLETED:
            self._end_blocked(moved)
        else:
            self.log(job, event, "Newer content already stands in every slot.")

    def _let_go(self, job: ProcessingJob) -> None:
        row = self.slot_rows[job.plugin, job.location_id]
        if row.holder == job.id:
            row.holder = None

    def _end_blocked(self, newer: ProcessingJob) -> None:
        event = JobEventKind.SUPERSEDED
        for job in list(self.job_by_id.values()):
            if (
                job.status is JobStatus.BLOCKED
                and (job.plugin, job.location_id) == (newer.plugin, newer.location_id)
                and Generation(job.ordinal, job.id) < Generation(newer.ordinal, newer.id)
            ):
                self.log(job, event, f"Job {newer.id} published newer content.")
                self.move(job, event, JobStatus.SUPERSEDED, finished_at_us=self.clock())

    def block(self, job_id: int, token: str, message: str) -> bool:
        with self.lock:
            job = self._promoting(job_id, token)
            if job is None:
                return False
            self.log(job, JobEventKind.BLOCKED, message)
            changes: dict[str, Any] = {"error_message": message, **no_token()}
            changes["finished_at_us"] = self.clock()
            self.move(job, JobEventKind.BLOCKED, JobStatus.BLOCKED, **changes)
            self._let_go(job)
            return True

    def take_over(
        self, worker: str, limit: int, lease_us: int, dead_workers: Iterable[str] = ()
    ) -> list[Promoting]:
        dead = set(dead_workers)
        with self.lock:
            now = self.clock()
            left = [
                job
                for _, job in sorted(self.job_by_id.items())
                if job.status is JobStatus.PROMOTING
                and (job.lease_until_us <= now or job.worker in dead)
            ]
            taken = []
            for job in left[: max(0, limit)]:
                token, event = self.new_token(), JobEventKind.TAKEN_OVER
                self.log(job, event, f"Taken over by {worker}.")
                changes = {"token": token, "worker": worker, "lease_until_us": now + lease_us}
                self.move(job, event, JobStatus.PROMOTING, **changes)
                taken.append(Promoting(job.id, token, job.attempt, self.manifests[job.id]))
            return taken

    def fates(self, job_ids: Sequence[int]) -> dict[int, JobFate]:
        with self.lock:
            known = [self.job_by_id[i] for i in job_ids if i in self.job_by_id]
            return {job.id: JobFate(job.status, job.attempt, job.token) for job in known}
