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
from casparian.adapters.queue.decisions import JobHead, Key, refusals_of
from casparian.adapters.queue.memory.duplicates import MemoryDuplicates
from casparian.adapters.queue.memory.state import SlotRow, no_token
from casparian.domain.bundles import BundleState, revisions_of
from casparian.domain.jobs import JobEventKind, JobStatus, ProcessingJob
from casparian.domain.ports import Promoting
from casparian.domain.publish import (
    BundleKey,
    Completion,
    Decision,
    Generation,
    JobFate,
    Refusal,
    SlotState,
    Target,
)
from casparian.domain.schemas import TargetSchema


class MemoryLedger(MemoryDuplicates):
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
        published = tuple(sorted(self.published_slots.get(key, ()), key=slot_order))
        return SlotState(row.generation, row.holder, published)

    def stands(self, target: Target, schema: TargetSchema) -> None:
        """Take it that a target has this schema, unless it has one here already."""
        with self.lock:
            self.target_schemas.setdefault(target, schema.to_json())

    def schemas(self, targets: Sequence[Target]) -> dict[Target, TargetSchema]:
        with self.lock:
            return {
                target: TargetSchema.from_json(self.target_schemas[target])
                for target in targets
                if target in self.target_schemas
            }

    def has_published_to(self, scheme: str, location: str) -> bool:
        with self.lock:
            return any((t.scheme, t.location) == (scheme, location) for t in self.target_schemas)

    def bundles(self, keys: Iterable[BundleKey]) -> dict[BundleKey, BundleState]:
        with self.lock:
            return {key: self.bundle_states.get(key, BundleState()) for key in keys}

    def decide(self, decisions: Sequence[Decision]) -> dict[int, Refusal]:
        with self.lock:
            jobs = [self.job_by_id.get(decision.job_id) for decision in decisions]
            heads = {
                job.id: JobHead(job.status, job.attempt, job.token, job.plugin, job.location_id)
                for job in jobs
                if job is not None
            }
            slots = {head.key: self._slot_state(head.key) for head in heads.values()}
            refusals = refusals_of(decisions, heads, slots, self.target_schemas, self.bundle_states)
            if not refusals:
                for decision in decisions:
                    self._decide(decision)
            return refusals

    def _decide(self, decision: Decision) -> None:
        manifest, job = decision.manifest, self.job_by_id[decision.job_id]
        key = (job.plugin, job.location_id)
        row = self.slot_rows.setdefault(key, SlotRow())
        row.holder = job.id
        if decision.raises_generation:
            row.generation = manifest.generation
        self.published_slots.setdefault(key, set()).update(published_by(manifest))
        for change in decision.schema_changes:
            self.target_schemas[change.target] = change.schema_json
        for bundle, revision in revisions_of(manifest).items():
            installed = self.bundle_states.get(bundle, BundleState()).installed
            self.bundle_states[bundle] = BundleState(revision, installed)
        self.manifests[job.id] = manifest
        changes: dict[str, Any] = {"rejects": rejects_of(manifest)}
        changes |= {"sandbox": decision.sandbox or None}
        changes |= {"environment": decision.environment or None}
        changes |= {"plugin_hash": manifest.plugin_hash or job.plugin_hash}
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
            over = {i for i in done if self.job_by_id[i].status is JobStatus.SUPERSEDED}
            self._pass_on_ended(over)
            self._pass_on_completed(done - over)
        return done

    def _complete(self, job: ProcessingJob, completion: Completion) -> None:
        event = completing_event(completion)
        changes: dict[str, Any] = {"rows": completion.rows, "finished_at_us": self.clock()}
        changes |= {"error_class": None, "error_message": None, **no_token()}
        moved = self.move(job, event, completion.status, **changes)
        self._let_go(job)
        self.published_slots[job.plugin, job.location_id].difference_update(completion.emptied)
        for key, revision in completion.bundles.items():
            state = self.bundle_states[key]
            self.bundle_states[key] = state._replace(installed=max(state.installed, revision))
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
                self.log(job, event, f"Job {newer.id}, which is newer, is completed.")
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
                for job in sorted(self.job_by_id.values(), key=lambda j: (j.lease_until_us, j.id))
                if job.status is JobStatus.PROMOTING
                and (job.lease_until_us <= now or job.worker in dead)
            ]
            taken = []
            for job in left[: max(0, limit)]:
                token, event = self.new_token(), JobEventKind.TAKEN_OVER
                changes = {"token": token, "worker": worker, "lease_until_us": now + lease_us}
                self.log(self.move(job, event, JobStatus.PROMOTING, **changes), event)
                taken.append(Promoting(job.id, token, job.attempt, self.manifests[job.id]))
            return taken

    def fates(self, job_ids: Sequence[int]) -> dict[int, JobFate]:
        with self.lock:
            known = [self.job_by_id[i] for i in job_ids if i in self.job_by_id]
            return {job.id: JobFate(job.status, job.attempt, job.token) for job in known}
