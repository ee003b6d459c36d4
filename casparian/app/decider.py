"""S2: staged jobs are planned on what stands, made durable, and decided as one group.

A group is decided all or nothing; who cannot be is taken out, and the rest tried again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from casparian.app.leases import Leases
from casparian.app.promoter import Decided, sinks_of
from casparian.app.targets import Targets
from casparian.domain.bundles import (
    BundleState,
    bundles_in,
    in_bundles,
    revisions_of,
    sharing,
)
from casparian.domain.errors import CasparianError, ErrorClass, JobError
from casparian.domain.jobs import Claim, JobStatus
from casparian.domain.plugins import Mode, PluginConfig
from casparian.domain.ports import Bundler, PromoteItem, PublishLedger, Sink, bundler_of
from casparian.domain.publish import (
    BundleKey,
    Decision,
    JobFate,
    Manifest,
    ManifestItem,
    PublishedSlot,
    Refusal,
    SchemaChange,
    SlotState,
    StagingKey,
    Target,
    plan_items,
    plan_purge,
    planned,
)
from casparian.domain.schemas import TargetSchema, reconcile

HELD_WAIT_S = 0.05


@dataclass(slots=True)
class Staged:
    """A job after S1. `next_at`: not to be decided before (another job holds its slot).

    `sent`: a decision that no answer came to. It may have been taken, so it is sent again as
    it is, and until there is an answer the staging is left alone. `sent_with`: the jobs that
    it can only have been decided together with. Without a `config` it is a purge.
    """

    claim: Claim
    config: PluginConfig | None
    manifest: Manifest
    next_at: float = 0.0
    sent: Decision | None = None
    sent_with: frozenset[int] = frozenset()

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
        plans = self._plan_all(self._in_hand(group, outcome), outcome)
        self._seal(plans, outcome)
        if plans and self._sync(plans, outcome):
            self._commit(plans, outcome)

    def _in_hand(self, group: Sequence[Staged], outcome: Outcome) -> list[Staged]:
        """Those that are still this worker's. Who was sent together with others, of whom one
        is not, is given up too: a bundle is decided by all of its jobs, and if it was, they
        are taken over."""
        mine = {
            s.claim.job_id: s for s in group if self._leases.holds(s.claim.job_id, s.claim.token)
        }
        for staged in list(mine.values()):
            if staged.sent is not None and not staged.sent_with <= mine.keys():
                del mine[staged.claim.job_id]
        outcome.lost += [s for s in group if s.claim.job_id not in mine]
        return list(mine.values())

    def _plan_all(self, group: Sequence[Staged], outcome: Outcome) -> _Plans:
        if not group:
            return {}
        states = self._ledger.slots([s.slot_key for s in group])
        in_use = {key for state in states.values() for key in bundles_in(state)}
        bundles = self._ledger.bundles(in_use) if in_use else {}
        targets = {item.target for s in group for item in s.manifest.items}
        schemas = self._ledger.schemas(sorted(targets))
        plans: _Plans = {}
        changed: set[Target] = set()
        taken = {key for key, state in bundles.items() if state.held}
        taken |= {key for s in group if s.sent for key in revisions_of(s.sent.manifest)}
        for staged in group:
            try:
                decision = staged.sent or self._plan(
                    staged, states[staged.slot_key], schemas, bundles
                )
            except JobError as error:
                outcome.fail([staged], error.error_class, error.message)
                continue
            except OSError as error:
                text = f"the staging could not be completed: {error}"
                outcome.fail([staged], ErrorClass.INFRASTRUCTURE, text)
                continue
            changing = {change.target for change in decision.schema_changes}
            writes = revisions_of(decision.manifest)
            if staged.sent is None and (changing & changed or taken & writes.keys()):
                # A target's schema changes once in a group: this one waits for the next. So it
                # does for a bundle that is decided, or may be, and not yet installed.
                staged.next_at = time.monotonic() + HELD_WAIT_S
                continue
            changed |= changing
            schemas.update(_schemas_after(decision))
            plans[staged.claim.job_id] = (staged, decision)
        return plans

    def _plan(
        self,
        staged: Staged,
        state: SlotState,
        schemas: Mapping[Target, TargetSchema],
        bundles: Mapping[BundleKey, BundleState],
    ) -> Decision:
        """S2 prepared: what is installed, what is emptied, which schemas change."""

        kept, emptied = self._items(staged, state)
        changes: list[SchemaChange] = []
        for item in kept:
            known = schemas.get(item.target)
            incoming = TargetSchema.from_json(item.schema_json)
            reconciled = reconcile(known, incoming, str(item.target))
            if reconciled.changed:
                before = known.to_json() if known is not None else None
                changes.append(SchemaChange(item.target, before, reconciled.schema.to_json()))
        manifest = in_bundles(planned(staged.manifest, kept, emptied), state, bundles)
        for item in manifest.items:
            sink = self._targets.sink(item.target)
            if not item.staged and bundler_of(sink) is None:
                sink.stage_empty(manifest, item, staged.key)
        claim = staged.claim
        return Decision(
            claim.job_id,
            claim.attempt,
            claim.token,
            manifest,
            state,
            tuple(emptied),
            tuple(changes),
            claim.sandbox,
            claim.environment,
        )

    def _items(
        self, staged: Staged, state: SlotState
    ) -> tuple[list[ManifestItem], list[PublishedSlot]]:
        """What is installed, and what is emptied."""
        config = staged.config
        if config is None:
            return [], plan_purge(staged.manifest, state)

        def target_of(topic: str) -> tuple[Target, Mode] | None:
            return self._targets.of_topic(config, topic)

        return plan_items(staged.manifest, state, target_of)

    def _seal(self, plans: _Plans, outcome: Outcome) -> None:
        """Complete what sinks keep until the group is known. Fills in the manifests; who fails
        leaves the group, and those who would have shared a bundle with it wait for the next."""
        at_sinks: dict[int, tuple[Bundler, list[PromoteItem]]] = {}
        for staged, decision in plans.values():
            for item in decision.manifest.items if staged.sent is None else ():
                bundler = bundler_of(self._targets.sink(item.target))
                if bundler is not None:
                    job = PromoteItem(staged.key, decision.manifest, item)
                    at_sinks.setdefault(id(bundler), (bundler, []))[1].append(job)
        sealed: dict[tuple[int, ManifestItem], ManifestItem] = {}
        failed: dict[int, JobError] = {}
        for bundler, jobs in at_sinks.values():
            for job, result in zip(jobs, bundler.seal(jobs), strict=True):
                if isinstance(result, JobError):
                    failed[job.manifest.job_id] = result
                else:
                    sealed[job.manifest.job_id, job.item] = result
        for job_id, (staged, decision) in plans.items() if sealed else ():
            items = tuple(sealed.get((job_id, i), i) for i in decision.manifest.items)
            manifest = replace(decision.manifest, items=items)
            plans[job_id] = (staged, replace(decision, manifest=manifest))
        for job_id, error in failed.items():
            outcome.fail([plans[job_id][0]], error.error_class, error.message)
        _leave_out(plans, failed)

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
        except (OSError, CasparianError) as error:
            text = f"the staging could not be made durable: {error}"
            outcome.fail([s for s, _ in plans.values()], ErrorClass.INFRASTRUCTURE, text)
            return False
        return True

    def _commit(self, plans: _Plans, outcome: Outcome) -> None:
        """All or nothing; losers are taken out and the rest tried again."""
        while plans:
            in_doubt = {job_id for job_id, (staged, _) in plans.items() if staged.sent}
            mates = _mates(plans)
            for job_id, (staged, decision) in plans.items():
                staged.sent, staged.sent_with = decision, mates.get(job_id, frozenset())
            refusals = self._ledger.decide([decision for _, decision in plans.values()])
            fates = self._ledger.fates(list(refusals)) if refusals else {}
            for job_id, (staged, _) in plans.items():
                if job_id not in in_doubt or refusals.get(job_id) is not Refusal.STALE:
                    staged.sent = None
            if not refusals:
                break
            losers = [plans[job_id] for job_id in refusals]
            _leave_out(plans, refusals)
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


def _leave_out(plans: _Plans, losers: Iterable[int]) -> None:
    """Take jobs out of a group, with those that share a bundle with them: these wait for the
    next round, in which the bundle is written without the losers."""
    for job_id in sharing({j: decision for j, (_, decision) in plans.items()}, losers):
        plans.pop(job_id, None)


def _mates(plans: _Plans) -> dict[int, frozenset[int]]:
    """With whom a job that writes a bundle is decided, directly or through others."""
    decisions = {job_id: decision for job_id, (_, decision) in plans.items()}
    found: dict[int, frozenset[int]] = {}
    for job_id, decision in decisions.items():
        if job_id not in found and revisions_of(decision.manifest):
            together = frozenset(sharing(decisions, [job_id]))
            found.update(dict.fromkeys(together, together))
    return found


def _schemas_after(decision: Decision) -> dict[Target, TargetSchema]:
    """What the next of a group is held against: the schemas this one will have set."""
    return {c.target: TargetSchema.from_json(c.schema_json) for c in decision.schema_changes}
