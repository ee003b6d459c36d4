"""Whether a group of jobs may be decided: the rule of S2, for every database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from casparian.domain.bundles import BundleState, revisions_of
from casparian.domain.jobs import JobStatus
from casparian.domain.publish import BundleKey, Decision, Refusal, SlotState, Target

Key = tuple[str, int]


class JobHead(NamedTuple):
    """What a decision is held against: the job as it stands."""

    status: str
    attempt: int
    token: str | None
    plugin: str
    location_id: int

    @property
    def key(self) -> Key:
        return self.plugin, self.location_id


def refusals_of(
    decisions: Sequence[Decision],
    jobs: Mapping[int, JobHead],
    slots: Mapping[Key, SlotState],
    schemas: Mapping[Target, str],
    bundles: Mapping[BundleKey, BundleState],
) -> dict[int, Refusal]:
    """Each decision held against the database and against those before it in the group.

    Of two jobs of one (plugin, location), or two that set one target's schema, the first
    wins, the other is to be decided in a later group.
    """
    refusals: dict[int, Refusal] = {}
    taken: set[Key] = set()
    now_standing: dict[Target, str] = dict(schemas)
    for decision in decisions:
        job = jobs.get(decision.job_id)
        refusal = _refusal(decision, job, taken, slots, now_standing)
        refusal = refusal or _of_bundles(decision, bundles)
        if refusal is not None or job is None:
            refusals[decision.job_id] = refusal or Refusal.STALE
            continue
        taken.add(job.key)
        now_standing.update((c.target, c.schema_json) for c in decision.schema_changes)
    return refusals


def _refusal(
    decision: Decision,
    job: JobHead | None,
    taken: set[Key],
    slots: Mapping[Key, SlotState],
    schemas: Mapping[Target, str],
) -> Refusal | None:
    if job is None or job.status != JobStatus.RUNNING:
        return Refusal.STALE
    if (job.attempt, job.token) != (decision.attempt, decision.token):
        return Refusal.STALE
    state, planned = slots.get(job.key, SlotState()), decision.planned_on
    if job.key in taken or state.holder is not None:
        return Refusal.HELD
    if state.generation != planned.generation:
        return Refusal.MOVED
    if set(state.published) != set(planned.published):
        return Refusal.MOVED
    if any(schemas.get(c.target) != c.expected for c in decision.schema_changes):
        return Refusal.SCHEMA
    return None


def _of_bundles(decision: Decision, standing: Mapping[BundleKey, BundleState]) -> Refusal | None:
    for key, revision in revisions_of(decision.manifest).items():
        state = standing.get(key, BundleState())
        if state.held:
            return Refusal.HELD
        if state.revision != revision - 1:
            return Refusal.MOVED
    return None
