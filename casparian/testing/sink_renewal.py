"""The contract of a sink whose rows can be taken over: `SinkContract`, and the port `RenewingSink`.

An adapter's test module derives a class from `RenewingSinkContract` instead.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from casparian.domain.adoption import Renewal, RenewingSink, StandingSlot
from casparian.domain.plugins import Mode
from casparian.domain.ports import Sink
from casparian.domain.publish import InstallCase, Marker, Target
from casparian.testing.sink import (
    INSTALLATION,
    OTHER_INSTALLATION,
    Job,
    SinkContract,
    SinkPlace,
    batch,
    numbered,
    outcomes,
    rows_of,
    values,
)

NEXT_JOB = 100
"""Ids from here on were not given before the takeover."""


def adopted(marker: Marker, location_id: int, version_id: int = 0) -> Marker:
    """The marker by which INSTALLATION holds rows of another one."""
    return replace(
        marker,
        installation=INSTALLATION,
        location_id=location_id,
        version_id=version_id,
        ordinal=0,
    )


class RenewingSinkContract(SinkContract):
    """Subclass, and give the fixture `place`."""

    def stranger(self, sink: Sink, target: Target, job_id: int, location_id: int) -> Job:
        """Rows of another installation: as many as the number of their job."""
        job = Job(sink, target, job_id, location_id, ordinal=3, installation=OTHER_INSTALLATION)
        return job.publish(batch(values(job_id), job_id))

    def plan(self, sink: Sink, places: dict[int, int]) -> list[Renewal]:
        """What gives every standing slot of job N the location `places[N]`."""
        return [
            Renewal(s.target, s.marker, adopted(s.marker, places[s.marker.job_id]))
            for s in self.standing(sink)
            if s.marker.job_id in places
        ]

    def standing(self, sink: Sink) -> list[StandingSlot]:
        assert isinstance(sink, RenewingSink)
        return sorted(sink.standing(), key=lambda s: s.marker.job_id)

    def renew(self, sink: Sink, renewals: Sequence[Renewal]) -> None:
        assert isinstance(sink, RenewingSink)
        sink.renew(renewals)

    def test_standing_slots_are_told_with_their_content(self, sink: Sink, target: Target) -> None:
        """Promise 1."""
        full, empty = self.stranger(sink, target, 2, 1), self.stranger(sink, target, 3, 2)
        gone = Job(sink, target, 4, 2, ordinal=4, installation=OTHER_INSTALLATION)
        gone.empty(empty)
        gone.plan()
        assert outcomes(gone.promote()) == [InstallCase.INSTALLED]
        found = [(s.target, s.marker, s.marker.content_hash) for s in self.standing(sink)]
        assert found == [
            (target, Marker.of(job.manifest, job.items[0]), "c" * 64) for job in (full, gone)
        ]

    def test_slots_change_owner_and_keys_and_no_row_moves(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        """Promises 2, 3 and 5: three slots change places, under a reader that never pauses."""
        for job_id, location_id in ((2, 1), (3, 2), (4, 3)):
            self.stranger(sink, target, job_id, location_id)
        rows = numbered(2, 2) + numbered(3, 3) + numbered(4, 4)
        wrong: list[object] = []
        stop = threading.Event()

        def read_without_pause() -> None:
            while not stop.is_set():
                seen = rows_of(place.read(target))
                if seen != rows:
                    wrong.append(seen)

        reader = threading.Thread(target=read_without_pause)
        reader.start()
        try:
            self.renew(sink, self.plan(sink, {2: 2, 3: 3, 4: 9}))
        finally:
            stop.set()
            reader.join()
        assert not wrong, wrong[:1]
        found = {m.job_id: m for _, m in self.reopen(place, target).markers()}
        assert {j: (m.location_id, m.installation, m.ordinal) for j, m in found.items()} == {
            2: (2, INSTALLATION, 0),
            3: (3, INSTALLATION, 0),
            4: (9, INSTALLATION, 0),
        }
        assert rows_of(place.read(target)) == rows

    def test_the_next_publication_replaces_what_was_taken_over(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        """Promise 5, also for a slot whose old place another one has by its name."""
        self.stranger(sink, target, 2, 1)
        self.stranger(sink, target, 3, 2)
        self.renew(sink, self.plan(sink, {2: 2, 3: 7}))
        sink = self.reopen(place, target)
        first = Job(sink, target, NEXT_JOB, location_id=1)
        first.publish(batch(values(1), NEXT_JOB))
        assert rows_of(place.read(target)) == numbered(2, 2) + numbered(3, 3) + [(NEXT_JOB, 0)]
        for location_id in (2, 7, 1):
            job_id = NEXT_JOB + location_id
            Job(sink, target, job_id, location_id).publish(batch(values(1), job_id))
        assert rows_of(place.read(target)) == [(NEXT_JOB + n, 0) for n in (1, 2, 7)]
        assert outcomes(first.promote()) == [InstallCase.OLDER]

    def test_readers_see_one_or_the_other_when_it_is_replaced(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        """Promise 5: in one step."""
        self.stranger(sink, target, 20, 1)
        self.renew(sink, self.plan(sink, {20: 5}))
        wrong: list[object] = []
        stop = threading.Event()

        def read_without_pause() -> None:
            while not stop.is_set():
                seen = rows_of(place.read(target))
                if not seen or seen != numbered(seen[0][0], 20):
                    wrong.append(seen)

        reader = threading.Thread(target=read_without_pause)
        reader.start()
        try:
            for number in range(NEXT_JOB, NEXT_JOB + 20):
                job = Job(sink, target, number, 5, ordinal=number)
                job.publish(batch(values(20), number))
        finally:
            stop.set()
            reader.join()
        assert not wrong, wrong[:1]

    def test_what_is_left_half_done_is_finished(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        """Promise 4."""
        for job_id, location_id in ((2, 1), (3, 2), (4, 3)):
            self.stranger(sink, target, job_id, location_id)
        renewals = self.plan(sink, {2: 2, 3: 3, 4: 9})
        # 4 leaves its place first, so that each key is one slot's only at every moment.
        self.renew(sink, renewals[2:])
        sink = self.reopen(place, target)
        self.renew(sink, renewals)
        self.renew(sink, renewals)
        markers = {m.job_id: m.location_id for _, m in sink.markers()}
        assert markers == {2: 2, 3: 3, 4: 9}
        for n, location_id in enumerate((2, 3, 9)):
            Job(sink, target, NEXT_JOB + n, location_id).publish(batch(values(1), NEXT_JOB + n))
        assert rows_of(place.read(target)) == [(NEXT_JOB + n, 0) for n in range(3)]

    def test_slots_that_are_not_named_stay(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        """Promise 2."""
        self.stranger(sink, target, 2, 1)
        self.stranger(sink, target, 3, 2)
        before = {m.job_id: m for _, m in sink.markers()}
        self.renew(sink, self.plan(sink, {3: 8}))
        after = {m.job_id: m for _, m in sink.markers()}
        assert after[2] == before[2]
        assert after[3].location_id == 8

    def test_slots_of_mode_append_get_other_versions(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        """Promises 2 and 5: one is replaced, the other stays."""
        for job_id in (2, 3):
            job = Job(sink, target, job_id, 1, job_id, job_id, Mode.APPEND, OTHER_INSTALLATION)
            job.publish(batch(values(job_id), job_id, job_id))
        self.renew(
            sink,
            [
                Renewal(s.target, s.marker, adopted(s.marker, 4, s.marker.job_id + 50))
                for s in self.standing(sink)
            ],
        )
        job = Job(sink, target, NEXT_JOB, 4, 53, 1, Mode.APPEND)
        job.publish(batch(values(1), NEXT_JOB, 53))
        assert rows_of(place.read(target)) == [(2, 0), (2, 1), (NEXT_JOB, 0)]

    @pytest.mark.parametrize("rows", [0, 3])
    def test_the_columns_of_a_target_are_known(self, sink: Sink, target: Target, rows: int) -> None:
        assert isinstance(sink, RenewingSink)
        assert sink.schema_of(target) is None
        job = Job(sink, target, 2, installation=OTHER_INSTALLATION)
        staged = job.stage(batch(values(rows), 2))
        job.plan()
        job.promote()
        assert sink.schema_of(target) == staged.schema
