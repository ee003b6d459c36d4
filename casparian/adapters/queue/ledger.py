"""PublishLedger over SQL: the decision log."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from casparian.adapters.queue.common import (
    JobEvent,
    check_ends,
    published_by,
    rejects_of,
)
from casparian.adapters.queue.conditions import has_status, lost_jobs
from casparian.adapters.queue.database import ClaimParts, Database
from casparian.adapters.queue.decisions import JobHead, Key, refusals_of
from casparian.adapters.queue.duplicates import pass_on_completed, pass_on_ended
from casparian.adapters.queue.rows import log_events
from casparian.adapters.queue.slots import (
    bundle_states,
    forget_published,
    is_published_to,
    let_go,
    locked_heads,
    newest_generations,
    note_installed,
    note_published,
    raise_bundles,
    set_schema,
    slot_states,
    standing_schemas,
    take_slots,
)
from casparian.adapters.queue.statements import chunks, storable, write_all
from casparian.adapters.queue.tables.installation import installation
from casparian.adapters.queue.tables.jobs import processing_job
from casparian.domain.bundles import BundleState, revisions_of
from casparian.domain.errors import StaleTokenError
from casparian.domain.jobs import JobEventKind, JobStatus, check_transition
from casparian.domain.ports import Promoting
from casparian.domain.publish import (
    BundleKey,
    Completion,
    Decision,
    Generation,
    JobFate,
    Manifest,
    Refusal,
    SlotState,
    Target,
)
from casparian.domain.schemas import TargetSchema

_job = processing_job.c


class SqlLedger:
    """Slots, target schemas, manifests."""

    def __init__(self, database: Database) -> None:
        self._db = database
        with database.read() as connection:
            self._installation = connection.execute(select(installation.c.uuid)).scalar_one()

    @property
    def installation(self) -> str:
        return self._installation

    def highest_job_id(self) -> int:
        with self._db.read() as connection:
            return self._db.dialect.highest_id(connection, processing_job)

    def slots(self, keys: Sequence[Key]) -> dict[Key, SlotState]:
        with self._db.read() as connection:
            states = slot_states(connection, keys)
        return {key: states.get(key, SlotState()) for key in keys}

    def schemas(self, targets: Sequence[Target]) -> dict[Target, TargetSchema]:
        with self._db.read() as connection:
            standing = standing_schemas(connection, targets)
        return {target: TargetSchema.from_json(text) for target, text in standing.items()}

    def has_published_to(self, scheme: str, location: str) -> bool:
        with self._db.read() as connection:
            return is_published_to(connection, scheme, location)

    def bundles(self, keys: Iterable[BundleKey]) -> dict[BundleKey, BundleState]:
        wanted = list(keys)
        with self._db.read() as connection:
            states = bundle_states(connection, wanted)
        return {key: states.get(key, BundleState()) for key in wanted}

    # --- decide ---

    def decide(self, decisions: Sequence[Decision]) -> dict[int, Refusal]:
        changed = [c.target for d in decisions for c in d.schema_changes]
        revisions = {k: r for d in decisions for k, r in revisions_of(d.manifest).items()}
        with self._db.write() as connection:
            jobs = locked_heads(connection, [decision.job_id for decision in decisions])
            slots = slot_states(connection, [job.key for job in jobs.values()], lock=True)
            bundles = bundle_states(connection, revisions, lock=True)
            schemas = standing_schemas(connection, changed)
            refusals = refusals_of(decisions, jobs, slots, schemas, bundles)
            if decisions and not refusals:
                raise_bundles(connection, revisions, bundles)
                self._decide(connection, decisions, jobs, slots)
        return refusals

    def _decide(
        self,
        connection: Connection,
        decisions: Sequence[Decision],
        jobs: Mapping[int, JobHead],
        slots: Mapping[Key, SlotState],
    ) -> None:
        holders: dict[Key, tuple[Generation | None, int]] = {}
        added = []
        for decision in decisions:
            key, manifest = jobs[decision.job_id].key, decision.manifest
            standing = decision.planned_on.generation
            raised = manifest.generation if decision.raises_generation else standing
            holders[key] = (raised, decision.job_id)
            known = set(slots[key].published) if key in slots else set()
            new = dict.fromkeys(p for p in published_by(manifest) if p not in known)
            added += [(key, published) for published in new]
        take_slots(connection, holders, set(slots))
        note_published(connection, added)
        for decision in decisions:
            for change in decision.schema_changes:
                set_schema(connection, change)
        now = self._db.clock()
        values = [
            {
                "b_id": decision.job_id,
                "b_attempt": decision.attempt,
                "b_token": decision.token,
                "now": now,
                "rejects": rejects_of(decision.manifest),
                "manifest": decision.manifest.to_json(),
                "sandbox": decision.sandbox or None,
                "environment": decision.environment or None,
                "ran": decision.manifest.plugin_hash or None,
            }
            for decision in decisions
        ]
        write_all(connection, _DECIDE, values)

    # --- after the promote ---

    def complete(self, completions: Sequence[Completion]) -> set[int]:
        for completion in completions:
            check_ends(completion)
        return {c.job_id for part in chunks(completions) for c in self._complete_held(part)}

    def _complete_held(self, completions: Sequence[Completion]) -> Sequence[Completion]:
        """Complete those that are still held, all of them as a rule; which those were."""
        with contextlib.suppress(StaleTokenError), self._db.write() as connection:
            self._complete(connection, completions)
            return completions
        with self._db.write() as connection:
            jobs = locked_heads(connection, [c.job_id for c in completions])
            held = [c for c in completions if _promoting(jobs.get(c.job_id), c.token)]
            held = list({c.job_id: c for c in held}.values())
            self._complete(connection, held)
        return held

    def complete_job(self, job_id: int, token: str, rows: int) -> bool:
        """Complete one promoted job; False when it was no longer this worker's."""
        return bool(self.complete([Completion(job_id, token, JobStatus.COMPLETED, rows)]))

    def _complete(self, connection: Connection, completions: Sequence[Completion]) -> None:
        """Raises StaleTokenError when one of them is not held any more."""
        if not completions:
            return
        now = self._db.clock()
        values = [
            {
                "b_id": c.job_id,
                "b_token": c.token,
                "status": c.status.value,
                "rows": c.rows,
                "now": now,
            }
            for c in completions
        ]
        write_all(connection, _COMPLETE, values)
        let_go(connection, [c.job_id for c in completions])
        note_installed(connection, {k: r for c in completions for k, r in c.bundles.items()})
        for completion in completions:
            for emptied in completion.emptied:
                forget_published(connection, emptied)
        superseded = [c.job_id for c in completions if c.status is JobStatus.SUPERSEDED]
        completed = [c.job_id for c in completions if c.status is JobStatus.COMPLETED]
        if superseded:
            self._log(
                connection,
                superseded,
                JobEventKind.SUPERSEDED,
                "Newer content already stands in every slot.",
            )
        self._end_blocked(connection, completed)
        count = pass_on_ended(connection, dict.fromkeys(superseded, JobStatus.SUPERSEDED), now)
        if count + pass_on_completed(connection, completed, now):
            self._db.waiters.wake()

    def _end_blocked(self, connection: Connection, completed: Sequence[int]) -> None:
        blocked = connection.execute(_BLOCKED).all()
        if not blocked:
            return
        newest = newest_generations(connection, completed)
        for row in blocked:
            newer = newest.get((row.plugin_name, row.location_id))
            if newer is not None and Generation(row.ordinal, row.id) < newer:
                message = f"Job {newer.enqueue}, which is newer, is completed."
                self._log(connection, [row.id], JobEventKind.SUPERSEDED, message)
                self._step(
                    connection, row.id, JobStatus.BLOCKED, JobEventKind.SUPERSEDED,
                    JobStatus.SUPERSEDED, {"finished_at_us": self._db.clock()},
                )  # fmt: skip

    def block(self, job_id: int, token: str, message: str) -> bool:
        with self._db.write() as connection:
            job = locked_heads(connection, [job_id]).get(job_id)
            if job is None or not _promoting(job, token):
                return False
            self._log(connection, [job_id], JobEventKind.BLOCKED, message)
            changes: dict[str, Any] = {
                "token": None,
                "lease_until_us": 0,
                "finished_at_us": self._db.clock(),
            }
            changes |= {"error_message": storable(message)}
            self._step(
                connection, job_id, JobStatus.PROMOTING, JobEventKind.BLOCKED,
                JobStatus.BLOCKED, changes,
            )  # fmt: skip
            let_go(connection, [job_id])
            return True

    def take_over(
        self, worker: str, limit: int, lease_us: int, dead_workers: Iterable[str] = ()
    ) -> list[Promoting]:
        if limit <= 0:
            return []
        now = self._db.clock()
        lost = lost_jobs(JobStatus.PROMOTING, now, dead_workers)
        left = select(_job.id).where(lost).order_by(_job.lease_until_us, _job.id)
        taken = {"token": self._db.dialect.fresh_token, "worker": worker}
        taken |= {"lease_until_us": now + lease_us}
        columns = (_job.id, _job.token, _job.attempt, _job.manifest)
        statement = self._db.dialect.claim(ClaimParts(taken, left, limit, lost, columns))
        with self._db.write() as connection:
            rows = sorted(connection.execute(statement).all(), key=lambda row: row.id)
            self._log(connection, [row.id for row in rows], JobEventKind.TAKEN_OVER)
        return [
            Promoting(row.id, row.token, row.attempt, Manifest.from_json(row.manifest))
            for row in rows
        ]

    def fates(self, job_ids: Sequence[int]) -> dict[int, JobFate]:
        found: dict[int, JobFate] = {}
        with self._db.read() as connection:
            for ids in chunks(job_ids):
                statement = select(_job.id, _job.status, _job.attempt, _job.token)
                rows = connection.execute(statement.where(_job.id.in_(list(ids))))
                found.update((r.id, JobFate(JobStatus(r.status), r.attempt, r.token)) for r in rows)
        return found

    def _step(
        self,
        connection: Connection,
        job_id: int,
        old: JobStatus,
        event: JobEventKind,
        new: JobStatus,
        changes: Mapping[str, Any],
    ) -> None:
        check_transition(job_id, old, event, new)
        guarded = update(processing_job).where(_job.id == job_id, _job.status == old.value)
        connection.execute(guarded.values(status=new.value, **changes))

    def _log(
        self,
        connection: Connection,
        ids: Sequence[int],
        event: JobEventKind,
        message: str | None = None,
    ) -> None:
        now = self._db.clock()
        statement = select(_job.id, _job.attempt, _job.worker).where(_job.id.in_(list(ids)))
        rows = connection.execute(statement.order_by(_job.id))
        log_events(
            connection,
            [JobEvent(r.id, r.attempt, now, event, r.worker, message=message) for r in rows],
        )


def _promoting(job: JobHead | None, token: str) -> bool:
    return job is not None and job.status == JobStatus.PROMOTING and job.token == token


_DECIDE = (
    update(processing_job)
    .where(
        _job.id == bindparam("b_id"),
        _job.status == JobStatus.RUNNING.value,
        _job.attempt == bindparam("b_attempt"),
        _job.token == bindparam("b_token"),
    )
    .values(
        status=JobStatus.PROMOTING.value,
        decided_at_us=bindparam("now"),
        rejects=bindparam("rejects"),
        manifest=bindparam("manifest"),
        sandbox=bindparam("sandbox"),
        environment=bindparam("environment"),
        # Other code may be live than when it was claimed.
        plugin_hash=func.coalesce(bindparam("ran"), _job.plugin_hash),
    )
)
_COMPLETE = (
    update(processing_job)
    .where(
        _job.id == bindparam("b_id"),
        _job.status == JobStatus.PROMOTING.value,
        _job.token == bindparam("b_token"),
    )
    .values(
        status=bindparam("status"),
        rows=bindparam("rows"),
        finished_at_us=bindparam("now"),
        token=None,
        lease_until_us=0,
        error_class=None,
        error_message=None,
    )
)
_BLOCKED = select(_job.id, _job.plugin_name, _job.location_id, _job.ordinal).where(
    has_status(JobStatus.BLOCKED)
)
