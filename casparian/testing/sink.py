"""The contract of the port `Sink`: each test names the promise it holds an adapter to.

An adapter's test module derives a class from `SinkContract` and gives a fixture `place`
that returns a `SinkPlace`: how to open the sink anew, and how a stranger reads it.
"""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from casparian.domain.errors import ConfigurationError
from casparian.domain.plugins import Mode
from casparian.domain.ports import Sink
from casparian.domain.publish import (
    InstallCase,
    Target,
)
from casparian.testing.sink_jobs import (
    GRACE_US,
    INSTALLATION,
    NEXT_TOKEN,
    OTHER_INSTALLATION,
    PLUGIN,
    TOKEN,
    Job,
    SinkPlace,
    batch,
    numbered,
    outcomes,
    rows_of,
    values,
)
from casparian.testing.sink_schemas import SchemaPromises
from casparian.testing.sink_takeovers import TakeoverPromises

__all__ = [
    "GRACE_US",
    "INSTALLATION",
    "NEXT_TOKEN",
    "OTHER_INSTALLATION",
    "PLUGIN",
    "TOKEN",
    "Job",
    "SinkContract",
    "SinkPlace",
    "batch",
    "numbered",
    "outcomes",
    "rows_of",
    "values",
]


class SinkContract(TakeoverPromises, SchemaPromises):
    """Subclass, and give the fixture `place`."""

    # --- factory ------------------------------------------------------------------------

    def test_rejects_go_to_a_place_named_after_the_plugin(self, place: SinkPlace) -> None:
        assert place.factory.parse(place.uri, place.base, PLUGIN, "_rejects").name == "plug_rejects"

    @pytest.mark.parametrize("topic", ["a/b", "_hidden", ".hidden", "a=b", "", "x" * 200])
    def test_a_topic_that_cannot_be_a_name_is_refused(self, place: SinkPlace, topic: str) -> None:
        with pytest.raises(ConfigurationError, match="topic"):
            place.factory.parse(place.uri, place.base, PLUGIN, topic)

    def test_a_uri_without_a_place_is_refused(self, place: SinkPlace) -> None:
        with pytest.raises(ConfigurationError, match="not a sink of the form"):
            place.factory.parse(f"{place.factory.scheme}://", place.base, PLUGIN, "orders")

    def test_checking_twice_is_as_good_as_once(self, sink: Sink) -> None:
        sink.check()
        assert sink.stagings() == []

    # --- 1, 4: what readers see ---------------------------------------------------------

    def test_what_is_staged_is_seen_by_no_reader(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        """Promise 1."""
        job = Job(sink, target, 7)
        job.stage(batch(values(5), 7))
        job.plan()
        assert rows_of(place.read(target)) == []
        assert job.promote()[0].case is InstallCase.INSTALLED
        assert rows_of(place.read(target)) == numbered(7, 5)

    def test_readers_never_see_mixed_or_doubled_rows(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        """Promise 4: a slot is replaced again and again under a reader that never pauses."""
        rows, wrong, reads = 40, [], Counter[str]()
        Job(sink, target, 1).publish(batch(values(rows), 1))
        stop = threading.Event()

        def read_without_pause() -> None:
            while not stop.is_set():
                seen = rows_of(place.read(target))
                reads["all"] += 1
                if not seen or seen != numbered(seen[0][0], rows):
                    wrong.append(seen)

        reader = threading.Thread(target=read_without_pause)
        reader.start()
        try:
            for number in range(2, 60):
                Job(sink, target, number, ordinal=number).publish(batch(values(rows), number))
        finally:
            stop.set()
            reader.join()
        assert not wrong, wrong[:1]
        assert reads["all"] > 1
        assert rows_of(place.read(target)) == numbered(59, rows)

    # --- 2, 3, 6: markers ---------------------------------------------------------------

    def test_promoting_again_does_nothing(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        """Promise 2, with the staging gone and by another process."""
        job = Job(sink, target, 3).publish(batch(values(4), 3))
        job.sink = self.reopen(place, target)
        assert outcomes(job.promote()) == [InstallCase.ALREADY]
        assert rows_of(place.read(target)) == numbered(3, 4)

    def test_a_newer_generation_replaces_all_rows_of_the_slot(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        """Promise 3."""
        Job(sink, target, 3).publish(batch(values(4), 3))
        Job(sink, target, 4, ordinal=2).publish(batch(values(2), 4))
        assert rows_of(place.read(target)) == numbered(4, 2)

    @pytest.mark.parametrize(("ordinal", "job_id"), [(1, 9), (2, 3)])
    def test_an_older_generation_is_not_installed(
        self, place: SinkPlace, sink: Sink, target: Target, ordinal: int, job_id: int
    ) -> None:
        """Promise 3: neither an old version backfilled late nor an earlier job of the same."""
        Job(sink, target, 5, ordinal=2).publish(batch(values(4), 5))
        late = Job(sink, target, job_id, ordinal=ordinal)
        late.stage(batch(values(9), job_id))
        late.plan()
        assert outcomes(late.promote()) == [InstallCase.OLDER]
        assert rows_of(place.read(target)) == numbered(5, 4)

    def test_slots_stand_beside_one_another(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        Job(sink, target, 1, location_id=1).publish(batch(values(2), 1))
        Job(sink, target, 2, location_id=2).publish(batch(values(3), 2))
        Job(sink, target, 3, location_id=1, ordinal=2).publish(batch(values(1), 3))
        assert rows_of(place.read(target)) == [(2, 0), (2, 1), (2, 2), (3, 0)]

    def test_append_slots_keep_the_rows_of_each_version(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        for job_id in (1, 2):
            Job(sink, target, job_id, version_id=job_id, ordinal=job_id, mode=Mode.APPEND).publish(
                batch(values(2), job_id, job_id)
            )
        again = Job(sink, target, 3, version_id=1, ordinal=1, mode=Mode.APPEND)
        again.publish(batch(values(1), 3, 1))
        assert rows_of(place.read(target)) == [(2, 0), (2, 1), (3, 0)]

    def test_the_same_job_with_another_digest_is_refused(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        """Promise 6."""
        Job(sink, target, 3).publish(batch(values(4), 3))
        other = Job(sink, target, 3)
        other.stage(batch(values(4, start=100), 3))
        other.plan()
        (receipt,) = other.promote()
        assert receipt.case is None
        assert not receipt.transient
        assert "another digest" in (receipt.error or "")
        assert place.read(target)["id"].to_pylist() == [0, 1, 2, 3]  # type: ignore[index]

    def test_rows_of_another_installation_are_refused(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        """Promise 6."""
        Job(sink, target, 3, installation=OTHER_INSTALLATION).publish(batch(values(4), 3))
        mine = Job(sink, target, 8, ordinal=2)
        mine.stage(batch(values(1), 8))
        mine.plan()
        (receipt,) = mine.promote()
        assert OTHER_INSTALLATION in (receipt.error or "")
        assert not receipt.transient
        assert rows_of(place.read(target)) == numbered(3, 4)

    def test_markers_tell_every_slot(self, sink: Sink, target: Target) -> None:
        jobs = [Job(sink, target, n, location_id=n).publish(batch(values(n), n)) for n in (1, 2)]
        found = sorted((t, m.slot, m.job_id, m.rows, m.digest, m.path) for t, m in sink.markers())
        assert found == [
            (target, i.slot, job.job_id, i.rows, i.digest, "in/a\udc80.csv")
            for job in jobs
            for i in job.items
        ]

    # --- emptied slots ------------------------------------------------------------------

    def test_an_emptied_slot_has_no_rows_and_keeps_its_generation(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        old = Job(sink, target, 1).publish(batch(values(4), 1))
        newer = Job(sink, target, 2, ordinal=2)
        newer.empty(old)
        newer.plan()
        assert outcomes(newer.promote()) == [InstallCase.INSTALLED]
        sink.discard(newer.key)
        assert rows_of(place.read(target)) == []
        assert outcomes(newer.promote()) == [InstallCase.ALREADY]
        assert outcomes(old.promote()) == [InstallCase.OLDER]
        assert rows_of(place.read(target)) == []

    def test_a_changed_mode_empties_one_slot_and_fills_another_of_the_same_target(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        versions = [
            Job(sink, target, n, version_id=n, ordinal=n, mode=Mode.APPEND).publish(
                batch(values(2), n)
            )
            for n in (1, 2)
        ]
        job = Job(sink, target, 3, version_id=3, ordinal=3)
        job.stage(batch(values(1), 3))
        for old in versions:
            job.empty(old)
        job.plan()
        assert outcomes(job.promote()) == [InstallCase.INSTALLED] * 3
        assert rows_of(place.read(target)) == [(3, 0)]

    # --- 11: groups ---------------------------------------------------------------------

    def test_one_failing_item_does_not_fail_the_others(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        """Promise 11, in a group larger than any transaction of it need be."""
        jobs = [Job(sink, target, n, location_id=n) for n in range(1, 26)]
        for job in jobs:
            job.stage(batch(values(2), job.job_id))
            job.plan()
        sink.discard(jobs[3].key)
        receipts = sink.promote([item for job in jobs for item in job.to_promote()])
        assert [r.item for r in receipts] == [job.items[0] for job in jobs]
        assert "taken over" in (receipts.pop(3).error or "")
        assert {r.case for r in receipts} == {InstallCase.INSTALLED}
        expected = [pair for job in jobs if job.job_id != 4 for pair in numbered(job.job_id, 2)]
        assert rows_of(place.read(target)) == expected
