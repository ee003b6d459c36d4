"""The contract of the port `Sink`: each test names the promise it holds an adapter to.

An adapter's test module derives a class from `SinkContract` and gives a fixture `place`
that returns a `SinkPlace`: how to open the sink anew, and how a stranger reads it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import pyarrow as pa
import pytest

from casparian.domain import lineage
from casparian.domain.errors import ConfigurationError, ErrorClass, JobError
from casparian.domain.lineage import JobLineage
from casparian.domain.plugins import Mode
from casparian.domain.ports import PromoteItem, Sink, SinkFactory, StagedRows, StageRequest
from casparian.domain.publish import (
    EMPTY_DIGEST,
    InstallCase,
    Manifest,
    ManifestItem,
    Receipt,
    StagingKey,
    Target,
    slot_for,
)
from casparian.domain.schemas import TargetSchema

INSTALLATION = "0123456789abcdef" * 2
OTHER_INSTALLATION = "fedcba9876543210" * 2
TOKEN = "1" * 32
NEXT_TOKEN = "2" * 32
PLUGIN = "plug"
GRACE_US = 600 * 1_000_000


class SinkPlace(Protocol):
    """Where a contract runs: one output location, empty at the start of each test."""

    factory: SinkFactory
    uri: str
    base: str

    def read(self, target: Target) -> pa.Table | None:
        """All rows a stranger sees, by the means of the format; None where there is nothing."""
        ...


def batch(columns: dict[str, Any], job_id: int, version_id: int = 1, first: int = 0) -> Any:
    """A RecordBatch with lineage columns, as the worker hands it to a staging."""
    data = pa.table(columns) if columns else None
    rows = data.num_rows if data is not None else 0
    fields = list(data.schema) if data is not None else []
    arrays = [column.combine_chunks() for column in data.columns] if data is not None else []
    arrays = [a.chunk(0) if isinstance(a, pa.ChunkedArray) else a for a in arrays]
    numbers = ([job_id] * rows, [version_id] * rows, range(first, first + rows))
    for name, values in zip(lineage.COLUMNS, numbers, strict=True):
        fields.append(pa.field(name, pa.int64(), nullable=False))
        arrays.append(pa.array(values, pa.int64()))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


@dataclass
class Job:
    """One job on its way through the steps, as worker and publisher take them."""

    sink: Sink
    target: Target
    job_id: int
    location_id: int = 1
    version_id: int = 1
    ordinal: int = 1
    mode: Mode = Mode.REPLACE
    installation: str = INSTALLATION
    topic: str = "orders"
    key: StagingKey = field(init=False)
    items: tuple[ManifestItem, ...] = ()

    def __post_init__(self) -> None:
        self.key = StagingKey(self.installation, self.job_id, 1, TOKEN)

    def stage(
        self, *batches: Any, known: TargetSchema | None = None, target: Target | None = None
    ) -> StagedRows:
        """Stage rows and note the item that installs them."""
        target = target or self.target
        origin = JobLineage(self.job_id, self.version_id, "in/a.csv", "c" * 64, PLUGIN, "p" * 64)
        staging = self.sink.stage(StageRequest(self.key, target, origin), known)
        try:
            for rows in batches:
                staging.write(rows)
            staged = staging.finish()
        except JobError:
            staging.discard()
            raise
        slot = slot_for(self.mode, PLUGIN, self.topic, self.location_id, self.version_id)
        self.items += (
            ManifestItem(
                target,
                self.mode,
                slot,
                True,
                staged.rows,
                staged.digest,
                staged.schema.to_json(),
                staged.files,
            ),
        )
        return staged

    def empty(self, other: Job) -> None:
        """Plan to empty the slot that another job filled."""
        item = other.items[0]
        self.items += (ManifestItem(item.target, item.mode, item.slot, False, 0, EMPTY_DIGEST),)

    @property
    def manifest(self) -> Manifest:
        return Manifest(
            self.installation,
            self.job_id,
            1,
            PLUGIN,
            "p" * 64,
            self.location_id,
            self.version_id,
            self.ordinal,
            "/data\udcff",
            "in/a\udc80.csv",
            "c" * 64,
            self.items,
        )

    def plan(self) -> None:
        """Markers, then durability: what comes before the decision."""
        for item in self.items:
            put = self.sink.stage_marker if item.staged else self.sink.stage_empty
            put(self.manifest, item, self.key)
        self.sink.sync([self.key])

    def to_promote(self) -> list[PromoteItem]:
        return [PromoteItem(self.key, self.manifest, item) for item in self.items]

    def promote(self) -> list[Receipt]:
        return self.sink.promote(self.to_promote())

    def publish(self, *batches: Any, known: TargetSchema | None = None) -> Job:
        """All steps; every item must have been installed."""
        self.stage(*batches, known=known)
        self.plan()
        assert outcomes(self.promote()) == [InstallCase.INSTALLED] * len(self.items)
        self.sink.discard(self.key)
        return self


def outcomes(receipts: Iterable[Receipt]) -> list[InstallCase | str | None]:
    return [receipt.error or receipt.case for receipt in receipts]


def rows_of(table: pa.Table | None) -> list[tuple[int, int]]:
    """(job, row number), sorted."""
    if table is None:
        return []
    pairs = zip(table[lineage.JOB_ID].to_pylist(), table[lineage.ROW].to_pylist(), strict=True)
    return sorted(pairs)


def numbered(job_id: int, rows: int) -> list[tuple[int, int]]:
    return [(job_id, row) for row in range(rows)]


def values(rows: int, start: int = 0) -> dict[str, Any]:
    """Sample columns."""
    return {
        "id": pa.array(range(start, start + rows), pa.int64()),
        "name": pa.array([f"n{i}" for i in range(rows)]),
    }


class SinkContract:
    """Subclass, and give the fixture `place`."""

    @pytest.fixture
    def target(self, place: SinkPlace) -> Target:
        return place.factory.parse(place.uri, place.base, PLUGIN, "orders")

    @pytest.fixture
    def sink(self, place: SinkPlace, target: Target) -> Sink:
        return self.reopen(place, target)

    def reopen(self, place: SinkPlace, target: Target) -> Sink:
        """A sink as a new process would open it."""
        sink = place.factory.open(target.location)
        sink.check()
        return sink

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

    # --- 10: schemas --------------------------------------------------------------------

    def test_the_first_rows_set_the_schema_and_narrower_ones_are_cast(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        first = Job(sink, target, 1, location_id=1)
        known = first.stage(batch(values(2), 1)).schema
        first.plan()
        first.promote()
        narrow = {"id": pa.array([7], pa.int8()), "name": pa.nulls(1)}
        staged = Job(sink, target, 2, location_id=2).publish(batch(narrow, 2), known=known).items[0]
        assert TargetSchema.from_json(staged.schema_json) == known
        assert sorted(place.read(target)["id"].to_pylist()) == [0, 1, 7]  # type: ignore[index]

    def test_a_new_column_widens_the_target(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        known = Job(sink, target, 1, location_id=1).publish(batch(values(2), 1)).items[0]
        wider = values(1, start=5) | {"extra": pa.array([2.5])}
        schema = TargetSchema.from_json(known.schema_json)
        Job(sink, target, 2, location_id=2).publish(batch(wider, 2), known=schema)
        table = place.read(target)
        assert table is not None
        assert sorted(zip(table["id"].to_pylist(), table["extra"].to_pylist(), strict=True)) == [
            (0, None),
            (1, None),
            (5, 2.5),
        ]

    def test_what_a_later_batch_widens_is_right_for_all_rows(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        job = Job(sink, target, 1)
        staged = job.stage(
            batch({"a": pa.array([1, 2], pa.int8()), "b": pa.nulls(2)}, 1),
            batch({"a": pa.array([2**40]), "b": ["x"], "c": [1.5]}, 1, first=2),
            batch({"b": ["y"]}, 1, first=3),
        )
        assert [(c.name, c.type) for c in staged.schema.columns] == [
            ("a", "int64"), ("b", "string"), ("c", "double"),
        ]  # fmt: skip
        job.plan()
        job.promote()
        table = place.read(target)
        assert table is not None
        table = table.sort_by(lineage.ROW)
        assert table["a"].to_pylist() == [1, 2, 2**40, None]
        assert table["b"].to_pylist() == [None, None, "x", "y"]
        assert table["c"].to_pylist() == [None, None, 1.5, None]

    @pytest.mark.parametrize("known", [True, False])
    def test_drift_fails_with_both_schemas(self, sink: Sink, target: Target, known: bool) -> None:
        job = Job(sink, target, 1)
        schema = job.stage(batch(values(1), 1)).schema
        wrong = batch({"id": ["text"], "name": ["n"]}, 1, first=1)
        before = [] if known else [batch(values(1), 1)]
        with pytest.raises(JobError, match=r"id: int64.*id: string") as caught:
            job.stage(*before, wrong, known=schema if known else None)
        assert caught.value.error_class is ErrorClass.SCHEMA_DRIFT

    @pytest.mark.parametrize(
        ("names", "said"),
        [(["a", "a"], "several columns named 'a'"), (["_casparian_x"], "kept for lineage")],
    )
    def test_names_that_cannot_be_kept_are_refused(
        self, sink: Sink, target: Target, names: Sequence[str], said: str
    ) -> None:
        plain = batch(values(1), 1)
        arrays = [pa.array([1])] * len(names) + plain.columns[-3:]
        rows = pa.RecordBatch.from_arrays(arrays, names=[*names, *lineage.COLUMNS])
        with pytest.raises(JobError, match=said) as caught:
            Job(sink, target, 1).stage(rows)
        assert caught.value.error_class is ErrorClass.DATA

    def test_no_rows_still_tell_their_schema(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        Job(sink, target, 1).publish(batch({"a": pa.array([], pa.int32())}, 1))
        table = place.read(target)
        assert table is not None
        assert table.num_rows == 0
        assert table.schema.names == ["a", *lineage.COLUMNS]

    def test_a_topic_without_columns_keeps_its_lineage(
        self, place: SinkPlace, sink: Sink, target: Target
    ) -> None:
        rows = batch(values(3), 1).select(list(lineage.COLUMNS))
        Job(sink, target, 1).publish(rows)
        assert rows_of(place.read(target)) == numbered(1, 3)


def replace_key(job: Job, sink: Sink) -> Job:
    """The same decided job in the hands of its next holder."""
    holder = replace(job, sink=sink)
    holder.key = job.key._replace(token=NEXT_TOKEN)
    return holder
