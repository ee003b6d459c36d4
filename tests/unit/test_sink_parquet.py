"""The Parquet sink: layout, every point at which a promoter may stop, and what check refuses."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from casparian.adapters.sink import (
    _durable,
    _marked,
    _parquet_staging,
    _places,
    _probe,
    parquet,
)
from casparian.adapters.sink._marked import MARKER, read_marker
from casparian.adapters.sink._parquet_staging import GROUP_ROWS, digest_of
from casparian.adapters.sink._places import GRACE_US
from casparian.adapters.sink.parquet import ParquetSink, ParquetSinkFactory
from casparian.domain.errors import ConfigurationError, ErrorClass, JobError
from casparian.domain.lineage import JobLineage
from casparian.domain.ports import StageRequest
from casparian.domain.publish import InstallCase, Marker, Target
from casparian.testing.sink import (
    TOKEN,
    Job,
    batch,
    numbered,
    outcomes,
    rows_of,
    values,
)
from casparian.testing.sink_jobs import replace_key


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return ParquetSinkFactory().parse("parquet://./out", str(tmp_path), "plug", "orders")


@pytest.fixture
def sink(target: Target) -> ParquetSink:
    sink = ParquetSink(target.location, clock=lambda: 1_000)
    sink.check()
    return sink


def below(path: str | Path) -> list[str]:
    """Every file and directory below `path`, relative to it."""
    found = []
    for directory, names, files in os.walk(path):
        found += [os.path.relpath(os.path.join(directory, n), path) for n in (*names, *files)]
    return sorted(found)


def published(target: Target) -> list[tuple[int, int]]:
    files = sorted(Path(target.location, target.name).rglob("*.parquet"))
    return sorted(pair for file in files for pair in rows_of(pq.ParquetFile(file).read()))


# --- layout -----------------------------------------------------------------------------


def test_nothing_unpublished_lies_below_the_root(sink: ParquetSink, target: Target) -> None:
    job = Job(sink, target, 7)
    job.stage(batch(values(3), 7))
    job.plan()
    assert below(target.location) == []
    working = Path(target.location).parent / ".out.casparian"
    staged = f"0123456789ab.7.1.{TOKEN[:12]}@orders.staged"
    file = f"7-1-0123456789ab-{TOKEN[:12]}-00000.parquet"
    assert below(working / "staging")[-2:] == [f"{staged}/{file}", f"{staged}/{MARKER}"]
    job.promote()
    slot = "orders/f1-plug"
    assert below(target.location) == ["orders", slot, f"{slot}/{file}", f"{slot}/{MARKER}"]


def test_each_publication_has_file_names_of_its_own(sink: ParquetSink, target: Target) -> None:
    seen = set()
    for number in (1, 2, 3):
        job = Job(sink, target, number, ordinal=number).publish(batch(values(1), number))
        seen |= set(job.items[0].files)
    assert len(seen) == 3


def test_the_working_directory_of_a_mount_point_lies_within_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "out"
    monkeypatch.setattr(os.path, "ismount", lambda path: path == str(root))
    sink = ParquetSink(str(root))
    sink.check()
    target = Target("parquet", str(root), "orders")
    Job(sink, target, 1).publish(batch(values(2), 1))
    own = [".casparian", ".casparian/place", ".casparian/replaced", ".casparian/staging"]
    assert below(root)[:4] == own
    assert not (tmp_path / ".out.casparian").exists()
    assert published(target) == numbered(1, 2)


def test_other_readers_see_published_rows_and_nothing_else(
    sink: ParquetSink, target: Target
) -> None:
    old = Job(sink, target, 1).publish(batch(values(3), 1))
    Job(sink, target, 2, location_id=2).publish(batch(values(2), 2))
    gone = Job(sink, target, 3, ordinal=2)
    gone.empty(old)
    gone.plan()
    Job(sink, target, 4, location_id=4).stage(batch(values(9), 4))
    pattern = f"{target.location}/orders/**/*.parquet"
    query = f"SELECT count(*) FROM read_parquet('{pattern}')"
    assert duckdb.sql(query).fetchall() == [(5,)]
    assert polars.read_parquet(pattern).height == 5
    gone.promote()
    assert duckdb.sql(query).fetchall() == [(2,)]
    assert polars.read_parquet(pattern).height == 2


def test_the_file_says_whose_rows_it_holds(sink: ParquetSink, target: Target) -> None:
    job = Job(sink, target, 7).publish(batch(values(3), 7))
    file = Path(target.location, "orders", "f1-plug", job.items[0].files[0])
    metadata = pq.ParquetFile(file).metadata.metadata
    assert json.loads(metadata[b"casparian.jobs"]) == [
        {
            "job_id": 7,
            "file_version_id": 1,
            "source_path": "in/a.csv",
            "content_hash": "c" * 64,
            "plugin": "plug",
            "plugin_hash": "p" * 64,
            "first_row": 0,
            "rows": 3,
        }
    ]


def test_a_large_output_is_several_files_of_bounded_row_groups(target: Target) -> None:
    sink = ParquetSink(target.location, file_bytes=1)
    sink.check()
    rows = GROUP_ROWS + 10
    whole = batch({"id": pa.array(range(rows))}, 1)
    job = Job(sink, target, 1).publish(whole, batch(values(1).fromkeys(["id"], [5]), 1, first=rows))
    slot = Path(target.location, "orders", "f1-plug")
    files = [slot / name for name in job.items[0].files]
    assert len(files) == 2
    groups = [
        pq.ParquetFile(file).metadata.row_group(i).num_rows
        for file in files
        for i in range(pq.ParquetFile(file).num_row_groups)
    ]
    assert groups == [GROUP_ROWS, 10, 1]
    assert job.items[0].digest == digest_of(map(str, files))
    assert published(target) == numbered(1, rows + 1)


# --- what may stop where ----------------------------------------------------------------


class Crash(BaseException):
    """The process ends here."""


class Steps:
    """Counts the calls by which a promoter reads and changes the disk; runs `action` before
    the call number `at`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.at = -1
        self.action: Callable[[], None] = lambda: None
        self.log: list[str] = []
        places = [
            (_marked, "exchange"),
            (_marked, "rename_new"),
            (parquet, "read_marker"),
            (_places, "rename_new"),
            (_durable.Syncer, "sync"),
        ]
        for owner, name in places:
            monkeypatch.setattr(owner, name, self._wrapped(getattr(owner, name)))

    def _wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            number, self.count = self.count, self.count + 1
            if number == self.at:
                self.log.append(function.__name__)
                self.action()
            return function(*arguments)

        return call

    def each(self) -> Iterator[int]:
        """Every number of a step, until one is not reached any more."""
        at = 0
        while True:
            self.log.clear()
            yield at
            if not self.log:
                return
            at += 1

    def arm(self, at: int, action: Callable[[], None]) -> None:
        def once() -> None:
            self.at = -1
            action()

        self.count, self.at, self.action = 0, at, once


@pytest.mark.parametrize("replacing", [True, False])
def test_a_promoter_may_stop_at_any_step_and_the_next_one_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replacing: bool
) -> None:
    def stop() -> None:
        raise Crash

    steps = Steps(monkeypatch)
    seen: list[str] = []
    for at in steps.each():
        target = Target("parquet", str(tmp_path / str(at)), "orders")
        sink = ParquetSink(target.location)
        sink.check()
        if replacing:
            Job(sink, target, 1).publish(batch(values(2), 1))
        job = Job(sink, target, 2, ordinal=2)
        job.stage(batch(values(3), 2))
        job.plan()
        steps.arm(at, stop)
        try:
            job.promote()
        except Crash:
            seen += steps.log
        steps.arm(-1, stop)
        assert published(target) in (numbered(1, 2) if replacing else [], numbered(2, 3))
        fresh = ParquetSink(target.location)
        fresh.check()
        holder = replace_key(job, fresh)
        fresh.rekey(holder.key)
        assert holder.promote()[0].error is None
        assert published(target) == numbered(2, 3)
        fresh.discard(holder.key)
        fresh.clean(2**62)
        assert fresh.stagings() == []
        assert below(tmp_path / f".{at}.casparian") == ["place", "replaced", "staging"]
    expected = {"read_marker", "sync"} | ({"exchange"} if replacing else {"rename_new"})
    assert expected <= set(seen)


@pytest.mark.parametrize("replacing", [True, False])
def test_a_promoter_overtaken_at_any_step_changes_nothing_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replacing: bool
) -> None:
    """The stale one sleeps at the step; meanwhile the job is taken over and promoted, and a
    newer job replaces its rows."""
    steps = Steps(monkeypatch)
    seen: list[str] = []
    for at in steps.each():
        target = Target("parquet", str(tmp_path / str(at)), "orders")
        sink = ParquetSink(target.location)
        sink.check()
        if replacing:
            Job(sink, target, 1).publish(batch(values(2), 1))
        stale = Job(sink, target, 2, ordinal=2)
        stale.stage(batch(values(3), 2))
        stale.plan()

        def overtake(stale: Job = stale, target: Target = target) -> None:
            fresh = ParquetSink(target.location)
            holder = replace_key(stale, fresh)
            fresh.rekey(holder.key)
            assert holder.promote()[0].error is None
            fresh.discard(holder.key)
            Job(fresh, target, 3, ordinal=3).publish(batch(values(4), 3))

        steps.arm(at, overtake)
        (receipt,) = stale.promote()
        seen += steps.log
        if not steps.log:
            assert receipt.case is InstallCase.INSTALLED
            continue
        assert published(target) == numbered(3, 4)
        assert (
            receipt.case is not InstallCase.INSTALLED
            or "sync" in steps.log
            or ("rename_new" in steps.log and replacing)
        )
    assert {"read_marker", "sync"} <= set(seen)


def test_a_displaced_directory_stays_for_the_grace_period(
    sink: ParquetSink, target: Target
) -> None:
    Job(sink, target, 1).publish(batch(values(2), 1))
    Job(sink, target, 2, ordinal=2).publish(batch(values(2), 2))
    replaced = Path(target.location).parent / ".out.casparian" / "replaced"
    (kept,) = replaced.iterdir()
    assert read_marker(str(kept)).job_id == 1  # type: ignore[union-attr]
    sink.clean(1_000 + GRACE_US - 1)
    assert kept.exists()
    sink.clean(1_000 + GRACE_US)
    assert list(replaced.iterdir()) == []


# --- what is refused --------------------------------------------------------------------


@pytest.mark.parametrize("marker", [None, "{", '{"a": 1}'])
def test_a_directory_that_was_not_published_is_left_alone(
    sink: ParquetSink, target: Target, marker: str | None
) -> None:
    stranger = Path(target.location, "orders", "f1-plug")
    stranger.mkdir(parents=True)
    (stranger / "mine.txt").write_text("mine")
    if marker is not None:
        (stranger / MARKER).write_text(marker)
    before = below(target.location)
    job = Job(sink, target, 1)
    job.stage(batch(values(1), 1))
    job.plan()
    (receipt,) = job.promote()
    assert "was not published by Casparian" in (receipt.error or "")
    assert not receipt.transient
    assert below(target.location) == before


def test_what_was_staged_must_be_what_was_decided(sink: ParquetSink, target: Target) -> None:
    job = Job(sink, target, 1)
    job.stage(batch(values(1), 1))
    job.plan()
    staged = next(Path(target.location).parent.rglob(f"*.staged/{MARKER}"))
    changed = Marker.from_json(staged.read_text()).to_json().replace('"rows": 1', '"rows": 2')
    staged.write_text(changed)
    assert "not what the manifest decided" in (job.promote()[0].error or "")
    assert published(target) == []


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EINVAL, "does not exchange directories"),
        (errno.EXDEV, "different file systems"),
        (errno.EACCES, "cannot work in"),
    ],
)
def test_check_refuses_where_replacing_is_not_one_step(
    target: Target, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    def refuse(*_: str) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_probe, "exchange", refuse)
    with pytest.raises(ConfigurationError, match=said) as caught:
        ParquetSink(target.location).check()
    assert "SQL sink" in str(caught.value)
    assert below(target.location) == []


def test_check_removes_what_a_killed_check_left(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: str) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(_probe, "exchange", killed)
        patch.setattr(_probe, "_remove_leftovers", lambda *_: None)
        with pytest.raises(Killed):
            ParquetSink(target.location).check()
    assert below(target.location) != []
    ParquetSink(target.location).check()
    assert below(target.location) == []


def test_check_refuses_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="needs to write into"):
        ParquetSink(str(tmp_path / "file")).check()


@pytest.mark.parametrize(
    "column",
    [
        pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
        pa.array([{}], pa.struct([])),
        pa.array([b""], pa.binary(0)),
    ],
)
def test_types_that_parquet_cannot_hold_are_refused(
    sink: ParquetSink, target: Target, column: pa.Array
) -> None:
    with pytest.raises(JobError, match=r"column 'bad' is .*format cannot hold") as caught:
        Job(sink, target, 1).stage(batch({"good": ["x"], "bad": column}, 1))
    assert caught.value.error_class is ErrorClass.DATA


# --- disks that fail --------------------------------------------------------------------


def test_after_a_failed_syncfs_nothing_begun_before_it_counts_as_durable(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    sink = ParquetSink(target.location)
    sink.check()
    jobs = [Job(sink, target, n, location_id=n) for n in range(1, 30)]
    for job in jobs:
        job.stage(batch(values(1), job.job_id))
    keys = [job.key for job in jobs]
    assert _durable.syncfs_reports_errors(target.location)
    monkeypatch.setattr(_durable, "syncfs", fail)
    with pytest.raises(JobError, match="durable failed") as caught:
        sink.sync(keys)
    assert caught.value.error_class is ErrorClass.INFRASTRUCTURE
    monkeypatch.setattr(_durable, "syncfs", lambda descriptor: None)
    with pytest.raises(JobError, match="failed meanwhile"):
        sink.sync(keys)
    for key in keys:
        sink.discard(key)
    for job in jobs:
        job.items = ()
        job.stage(batch(values(1), job.job_id))
    sink.sync(keys)


def test_rows_whose_publication_could_not_be_made_durable_are_an_error(
    sink: ParquetSink, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    job = Job(sink, target, 1)
    job.stage(batch(values(1), 1))
    job.plan()
    monkeypatch.setattr(os, "fsync", fail)
    (receipt,) = job.promote()
    assert "durable failed" in (receipt.error or "")
    assert receipt.transient


def test_a_full_disk_while_promoting_is_worth_another_try(
    sink: ParquetSink, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    job = Job(sink, target, 1)
    job.stage(batch(values(1), 1))
    job.plan()
    with monkeypatch.context() as patched:
        patched.setattr(_marked, "rename_new", full)
        (receipt,) = job.promote()
        assert receipt.transient
    assert outcomes(job.promote()) == [InstallCase.INSTALLED]


def test_a_file_whose_end_has_no_room_can_be_thrown_away(
    sink: ParquetSink, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Parquet file has its description at its end."""
    monkeypatch.setattr(_parquet_staging, "GROUP_ROWS", 10)
    origin = JobLineage(1, 1, "in/a.csv", "c" * 64, "plug", "p" * 64)
    staging = sink.stage(StageRequest(Job(sink, target, 1).key, target, origin), None)
    staging.write(batch(values(100), 1))
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, most))
    try:
        staging.discard()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert below(Path(target.location).parent / ".out.casparian" / "staging") == []


def test_want_of_memory_is_not_the_rows_fault(
    sink: ParquetSink, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow's error of it is one of its exceptions, as what it says of values."""

    def full(*_: object, **__: object) -> None:
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(MemoryError):
        Job(sink, target, 1).stage(batch(values(3), 1))
