"""The part of the sink contract on stagings, and on who takes one over."""

from __future__ import annotations

from casparian.domain.lineage import JobLineage
from casparian.domain.ports import Sink, StageRequest
from casparian.domain.publish import (
    InstallCase,
    StagingKey,
    Target,
)
from casparian.testing.sink_jobs import (
    INSTALLATION,
    NEXT_TOKEN,
    PLUGIN,
    TOKEN,
    Job,
    SinkFixtures,
    SinkPlace,
    batch,
    numbered,
    outcomes,
    replace_key,
    rows_of,
    values,
)


class TakeoverPromises(SinkFixtures):
    """Part of `SinkContract`."""

    # --- 5, 8: takeover -----------------------------------------------------------------

    def test_after_a_takeover_the_stale_promoter_changes_nothing(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        """Promises 5 and 8."""
        Job(sink, target, 1).publish(batch(values(1), 1))
        stale = Job(sink, target, 2, ordinal=2)
        stale.stage(batch(values(4), 2))
        stale.plan()
        holder = replace_key(stale, self.reopen(place, target))
        holder.sink.rekey(holder.key)
        (receipt,) = stale.promote()
        assert "taken over" in (receipt.error or "")
        assert not receipt.transient
        assert rows_of(place.read(target)) == numbered(1, 1)
        assert outcomes(holder.promote()) == [InstallCase.INSTALLED]
        Job(sink, target, 3, ordinal=3).publish(batch(values(2), 3))
        assert stale.promote()[0].case in (None, InstallCase.OLDER)
        assert rows_of(place.read(target)) == numbered(3, 2)

    def test_a_takeover_after_the_install_finds_it_done(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        Job(sink, target, 1).publish(batch(values(1), 1))
        stopped = Job(sink, target, 2, ordinal=2)
        stopped.stage(batch(values(4), 2))
        stopped.plan()
        stopped.promote()
        holder = replace_key(stopped, self.reopen(place, target))
        holder.sink.rekey(holder.key)
        assert outcomes(holder.promote()) == [InstallCase.ALREADY]
        assert rows_of(place.read(target)) == numbered(2, 4)

    def test_a_stale_holder_of_an_emptied_slot_changes_nothing(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        """Promise 5."""
        old = Job(sink, target, 1).publish(batch(values(4), 1))
        stale = Job(sink, target, 2, ordinal=2)
        stale.empty(old)
        stale.plan()
        holder = replace_key(stale, self.reopen(place, target))
        holder.sink.rekey(holder.key)
        assert "taken over" in (stale.promote()[0].error or "")
        assert rows_of(place.read(target)) == numbered(1, 4)
        assert outcomes(holder.promote()) == [InstallCase.INSTALLED]

    def test_rekey_is_idempotent_and_needs_no_staging(self, sink: Sink, target: Target) -> None:
        """Promise 8."""
        job = Job(sink, target, 2)
        job.stage(batch(values(1), 2))
        job.plan()
        next_key = job.key._replace(token=NEXT_TOKEN)
        sink.rekey(next_key)
        sink.rekey(next_key)
        assert [k.name for k in sink.stagings()] == [next_key.name]
        sink.rekey(StagingKey(INSTALLATION, 99, 1, TOKEN))
        assert [k.name for k in sink.stagings()] == [next_key.name]

    # --- 9: stagings --------------------------------------------------------------------

    def test_stagings_are_listed_and_discarded(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        """Promise 9: also what is left of one whose writer stopped in the middle."""
        one, other = Job(sink, target, 1), Job(sink, target, 2)
        one.stage(batch(values(1), 1))
        one.plan()
        origin = JobLineage(2, 1, "a", "c", PLUGIN, "p")
        unfinished = sink.stage(StageRequest(other.key, target, origin), None)
        unfinished.write(batch(values(1), 2))
        fresh = self.reopen(place, target)
        listed = fresh.stagings()
        names = [k.name for k in listed]
        assert one.key.name in names
        assert set(names) <= {one.key.name, other.key.name}
        unfinished.discard()
        for key in listed:
            fresh.discard(key)
            fresh.discard(key)
        assert fresh.stagings() == []
        assert "taken over" in (one.promote()[0].error or "")

    def test_staging_anew_with_the_same_key_starts_from_nothing(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        job = Job(sink, target, 1)
        job.stage(batch(values(9), 1))
        job.items = ()
        job.publish(batch(values(2), 1))
        assert rows_of(place.read(target)) == numbered(1, 2)

    def test_cleaning_leaves_what_is_published_and_staged(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        for number in (1, 2):
            Job(sink, target, number, ordinal=number).publish(batch(values(3), number))
        waiting = Job(sink, target, 3, ordinal=3)
        waiting.stage(batch(values(1), 3))
        sink.clean(2**60)
        assert rows_of(place.read(target)) == numbered(2, 3)
        waiting.plan()
        assert outcomes(waiting.promote()) == [InstallCase.INSTALLED]
