"""The contract of PublishLedger about bundles (promise 8, and promise 2 where they are held)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from casparian.domain.bundles import BundleState, revisions_of
from casparian.domain.jobs import Claim, JobStatus
from casparian.domain.ports import PublishLedger
from casparian.domain.publish import BundleKey, Completion, Decision, Refusal
from casparian.testing.world import TARGET, World, published

BUNDLE = BundleKey(TARGET, "b1-lines")


def in_bundle(
    world: World, claims: Sequence[Claim], revision: int, key: BundleKey = BUNDLE
) -> list[Decision]:
    """Decisions that write one bundle together."""
    decisions = []
    for claim in claims:
        decision = world.decision(claim)
        (item,) = decision.manifest.items
        item = replace(item, bundle=key.name, revision=revision)
        decisions.append(replace(decision, manifest=replace(decision.manifest, items=(item,))))
    return decisions


def completion(decision: Decision) -> Completion:
    return Completion(
        decision.job_id, decision.token, JobStatus.COMPLETED, 5,
        bundles=revisions_of(decision.manifest),
    )  # fmt: skip


class BundleContract:
    """Part of `PublishLedgerContract`, whose fixtures it uses."""

    def test_a_bundle_is_held_until_one_of_its_jobs_completes(
        self, world: World, ledger: PublishLedger
    ) -> None:
        world.record_many(4)
        first, second, third, fourth = world.claim(4)
        other = BUNDLE._replace(name="b3-lines")
        assert ledger.bundles([BUNDLE, other]) == {BUNDLE: BundleState(), other: BundleState()}
        born = in_bundle(world, [first, second], 1)
        assert ledger.decide(born) == {}
        assert ledger.bundles([BUNDLE, other]) == {BUNDLE: BundleState(1, 0), other: BundleState()}
        (next_one,) = in_bundle(world, [third], 2)
        assert ledger.decide([next_one]) == {third.job_id: Refusal.HELD}
        (beside,) = in_bundle(world, [fourth], 1, other)
        assert ledger.decide([beside]) == {}
        assert ledger.complete([completion(born[1])]) == {second.job_id}
        assert ledger.bundles([BUNDLE])[BUNDLE] == BundleState(1, 1)
        assert ledger.decide([next_one]) == {}
        assert ledger.bundles([BUNDLE])[BUNDLE] == BundleState(2, 1)
        assert ledger.complete([completion(born[0])]) == {first.job_id}
        assert ledger.bundles([BUNDLE])[BUNDLE] == BundleState(2, 1)

    def test_a_bundle_that_moved_on_is_planned_again(
        self, world: World, ledger: PublishLedger
    ) -> None:
        world.record_many(2)
        claims = world.claim(2)
        late, early = in_bundle(world, claims, 2)
        assert ledger.decide([late]) == {late.job_id: Refusal.MOVED}
        assert ledger.bundles([BUNDLE])[BUNDLE] == BundleState()
        (born,) = in_bundle(world, [claims[1]], 1)
        assert ledger.decide([born]) == {}
        assert ledger.complete([completion(born)]) == {early.job_id}
        (again,) = in_bundle(world, [claims[0]], 1)
        assert ledger.decide([again]) == {late.job_id: Refusal.MOVED}
        assert ledger.decide([late]) == {}

    def test_a_loser_leaves_the_bundle_as_it_was(self, world: World, ledger: PublishLedger) -> None:
        world.record_many(2)
        decisions = in_bundle(world, world.claim(2), 1)
        stale = replace(decisions[0], token="0" * 32)
        assert ledger.decide([stale, decisions[1]]) == {stale.job_id: Refusal.STALE}
        assert ledger.bundles([BUNDLE])[BUNDLE] == BundleState()

    def test_a_stale_completion_installs_nothing(self, world: World, ledger: PublishLedger) -> None:
        world.record_many(1)
        (decision,) = in_bundle(world, world.claim(1), 1)
        assert ledger.decide([decision]) == {}
        assert ledger.complete([replace(completion(decision), token="0" * 32)]) == set()
        assert ledger.bundles([BUNDLE])[BUNDLE] == BundleState(1, 0)

    def test_a_slot_is_known_by_its_bundle(self, world: World, ledger: PublishLedger) -> None:
        world.record_many(1)
        (claim,) = world.claim(1)
        (decision,) = in_bundle(world, [claim], 1)
        assert ledger.decide([decision]) == {}
        lies = replace(published(claim), bundle=BUNDLE.name)
        assert world.slot(claim).published == (lies,)
        done = replace(completion(decision), emptied=(lies,))
        assert ledger.complete([done]) == {claim.job_id}
        assert world.slot(claim).published == ()
