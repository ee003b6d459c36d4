"""S2: staged jobs are planned on what stands, made durable, and decided as one group.

A group is decided all or nothing; who cannot be is taken out, and the rest tried again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from casparian.app.leases import Leases
from casparian.app.promoter import Decided, sinks_of
from casparian.app.targets import Targets
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.jobs import Claim, JobStatus
from casparian.domain.plugins import Mode, PluginConfig
from casparian.domain.ports import PublishLedger, Sink
from casparian.domain.publish import (
    Decision,
    JobFate,
    Manifest,
    Refusal,
    SchemaChange,
    SlotState,
    StagingKey,
    Target,
    plan_items,
    planned,
)
from casparian.domain.schemas import TargetSchema, reconcile

HELD_WAIT_S = 0.05


@dataclass(slots=True)
class Staged:
    """A job after S1. `next_at`: not to be decided before (another job holds its slot).

    `sent`: a decision that no answer came to. It may have been taken, so it is sent again as
    it is, and until there is an answer the staging is left alone.
    """

    claim: Claim
    config: PluginConfig
    manifest: Manifest
    next_at: float = 0.0
    sent: Decision | None = None

    @property
    def slot_key(self) -> tuple[str, int]:
        return (self.claim.plugin, self.claim.location_id)

    @property
    def key(self) -> StagingKey:
        return self.manifest.staging(self.claim.token)


@dataclass(slots=True)
class Outcome:
    """What became of a group. Jobs in none of these lists wait for the next round."""

    decided: list[tuple[Staged, Decided]] = field(default_factory=list)
    failed: list[tuple[Staged, ErrorClass, str]] = field(default_factory=list)
    lost: list[Staged] = field(default_factory=list)

    @property
    def ended(self) -> list[Staged]:
        return [*(s for s, _ in self.decided), *(s for s, _, _ in self.failed), *self.lost]

    def fail(self, group: Sequence[Staged], error_class: ErrorClass, message: str) -> None:
        self.failed += [(staged, error_class, message) for staged in group]


_Plans = dict[int, tuple[Staged, Decision]]


class Decider:
    """Used by the publisher's thread only."""

    def __init__(self, ledger: PublishLedger, targets: Targets, leases: Leases) -> None:
        self._ledger = ledger
        self._targets = targets
        self._leases = leases

    def decide(self, group: Sequence[Staged], outcome: Outcome) -> None:
        """Decide what can be; `outcome` is filled as it becomes known, also before an error.

        Raises UnavailableError where the database does not answer; the jobs it was asked about
        are then `sent`, and to be given here again.
        """
        plans = self._plan_all(group, outcome)
        if plans and self._sync(plans, outcome):
            self._commit(plans, outcome)

    def _plan_all(self, group: Sequence[Staged], outcome: Outcome) -> _Plans:
        states = self._ledger.slots([s.slot_key for s in group])
        targets = {item.target for s in group for item in s.manifest.items}
        schemas = self._ledger.schemas(sorted(targets))
        plans: _Plans = {}
        changed: set[Target] = set()
        for staged in group:
            if not self._leases.holds(staged.claim.job_id, staged.claim.token):
                outcome.lost.append(staged)
                continue
            try:
                decision = staged.sent or self._plan(staged, states[staged.slot_key], schemas)
            except JobError as error:
                outcome.fail([staged], error.error_class, error.message)
                continue
            except OSError as error:
                text = f"the staging could not be completed: {error}"
                outcome.fail([staged], ErrorClass.INFRASTRUCTURE, text)
                continue
            changing = {change.target for change in decision.schema_changes}
            if changing & changed:
                # A target's schema changes once in a group: this one waits for the next.
                staged.next_at = time.monotonic() + HELD_WAIT_S
                continue
            changed |= changing
            schemas.update(_schemas_after(decision))
            plans[staged.claim.job_id] = (staged, decision)
        return plans

    def _plan(
        self, staged: Staged, state: SlotState, schemas: Mapping[Target, TargetSchema]
    ) -> Decision:
        """S2 prepared: what is installed, what is emptied, which schemas change."""

        def target_of(topic: str) -> tuple[Target, Mode] | None:
            return self._targets.of_topic(staged.config, topic)

        kept, emptied = plan_items(staged.manifest, state, target_of)
        changes: list[SchemaChange] = []
        for item in kept:
            known = schemas.get(item.target)
            incoming = TargetSchema.from_json(item.schema_json)
            reconciled = reconcile(known, incoming, str(item.target))
            if reconciled.changed:
                before = known.to_json() if known is not None else None
                changes.append(SchemaChange(item.target, before, reconciled.schema.to_json()))
        manifest = planned(staged.manifest, kept, emptied)
        for item in manifest.items:
            if not item.staged:
                self._targets.sink(item.target).stage_empty(manifest, item, staged.key)
        claim = staged.claim
        return Decision(
            claim.job_id,
            claim.attempt,
            claim.token,
            manifest,
            state,
            tuple(emptied),
            tuple(changes),
        )

    def _sync(self, plans: _Plans, outcome: Outcome) -> bool:
        """Make the stagings durable. A failed sync is never retried: the stagings go."""
        keys: dict[int, tuple[Sink, list[StagingKey]]] = {}
        for staged, decision in plans.values():
            if staged.sent is not None:
                continue  # Synced before it was sent.
            for sink in sinks_of(self._targets, decision.manifest):
                keys.setdefault(id(sink), (sink, []))[1].append(staged.key)
        try:
            for sink, wanted in keys.values():
                sink.sync(wanted)
        except OSError as error:
            text = f"the staging could not be made durable: {error}"
            outcome.fail([s for s, _ in plans.values()], ErrorClass.INFRASTRUCTURE, text)
            return False
        return True

    def _commit(self, plans: _Plans, outcome: Outcome) -> None:
        """All or nothing; losers are taken out and the rest tried again."""
        while plans:
            in_doubt = {job_id for job_id, (staged, _) in plans.items() if staged.sent}
            for staged, decision in plans.values():
                staged.sent = decision
            refusals = self._ledger.decide([decision for _, decision in plans.values()])
            fates = self._ledger.fates(list(refusals)) if refusals else {}
            for job_id, (staged, _) in plans.items():
                if job_id not in in_doubt or refusals.get(job_id) is not Refusal.STALE:
                    staged.sent = None
            if not refusals:
                break
            losers = [plans.pop(job_id) for job_id in refusals]
            for staged, decision in losers:
                match refusals[decision.job_id]:
                    case Refusal.STALE:
                        _end_stale(staged, decision, fates.get(decision.job_id), outcome)
                    case Refusal.HELD:
                        staged.next_at = time.monotonic() + HELD_WAIT_S
                    case _:
                        pass  # MOVED and SCHEMA are planned anew in the next round.
            if any(decision.schema_changes for _, decision in losers):
                # The others were held against schemas that now nobody has set.
                return
        outcome.decided += [(s, Decided(d.manifest, d.token)) for s, d in plans.values()]


def _end_stale(staged: Staged, decision: Decision, fate: JobFate | None, outcome: Outcome) -> None:
    mine = (JobStatus.PROMOTING, decision.attempt, decision.token)
    if fate is not None and (fate.status, fate.attempt, fate.token) == mine:
        # An earlier commit whose answer was lost did take place.
        outcome.decided.append((staged, Decided(decision.manifest, decision.token)))
    else:
        outcome.lost.append(staged)


def _schemas_after(decision: Decision) -> dict[Target, TargetSchema]:
    """What the next of a group is held against: the schemas this one will have set."""
    return {c.target: TargetSchema.from_json(c.schema_json) for c in decision.schema_changes}
