"""`casparian check --deep`: each invariant broken by hand, and seen with what it is broken at."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from casparian.adapters.sink.parquet import ParquetSink
from casparian.app.audit import audit
from casparian.app.targets import Targets
from casparian.domain.audit import account
from casparian.domain.ports import Sink
from tests.support.audit import audited, violations
from tests.support.project import Project
from tests.support.stepped import Engine, Stage

ROWS = {"rows": {"v": ["x0", "x1", "x2"]}}
Break = Callable[[Stage], None]


@pytest.fixture(params=["parquet", "sqlite"])
def surroundings(request: pytest.FixtureRequest) -> tuple[str, str]:
    return "sqlite", request.param


@pytest.fixture
def filled(stage: Stage, one: Engine) -> Stage:
    """Two files, each published by itself, the first of them twice."""
    stage.spoilt = True
    one.new(b"a.csv", "v1", ROWS)
    one.publish()
    if stage.kind == "parquet":
        shutil.copytree(stage.directory / "out", stage.directory / "before")
    else:
        shutil.copy(stage.directory / "out.db", stage.directory / "before.db")
    one.new(b"b.csv", "other", ROWS)
    one.publish()
    one.new(b"a.csv", "v2", ROWS)
    one.publish()
    one.keeper.sweep()
    assert violations(stage.stores) == []
    return stage


def queue(statement: str) -> Break:
    def change(stage: Stage) -> None:
        run(stage.directory / "queue.db", statement)

    return change


def sink(statement: str) -> Break:
    def change(stage: Stage) -> None:
        run(stage.directory / "out.db", statement)

    return change


def run(database: Path, statement: str) -> None:
    with closing(sqlite3.connect(database)) as db:
        assert db.execute(statement).rowcount > 0, statement
        db.commit()


def slot(stage: Stage) -> Path:
    return stage.directory / "out" / "rows" / "f1-lines"


def file_of(stage: Stage) -> Path:
    (file,) = slot(stage).glob("*.parquet")
    return file


def edit_marker(stage: Stage, **values: object) -> None:
    marker = slot(stage) / "_casparian.json"
    marker.write_text(json.dumps(json.loads(marker.read_text()) | values))


def orphan(stage: Stage) -> None:
    installation = stage.stores.ledger.installation[:12]
    place = stage.directory / (".out.casparian" if stage.kind == "parquet" else ".out.db.casparian")
    (place / "staging" / f"{installation}.99.1.{'0' * 12}").mkdir()


def check(stage: Stage, found: set[tuple[str, str]]) -> None:
    """Every one of these is seen, and whatever else is seen is of one of their invariants."""
    seen = violations(stage.stores)
    for invariant, text in found:
        assert [v for v in seen if v.startswith(f"{invariant} ") and text in v], (text, seen)
    assert {v.split()[0] for v in seen} == {invariant for invariant, _ in found}, seen


# --- the queue --------------------------------------------------------------------------


def name_of(given: Any) -> str:
    """Of a case: the same in every process, whatever the order of a set there."""
    return getattr(given, "__name__", str(sorted(given) if isinstance(given, set) else given))[:60]


IN_THE_QUEUE = [
    ("update processing_job set attempt = 2 where id = 3",
     {("I1", "at attempt 2; decided was attempt 1"), ("I5", "attempt 1 of job 3")}),
    ("update processing_job set manifest = null where id = 3",
     {("I2", "nothing says what was decided"), ("I3", "a marker of job 3")}),
    ("delete from published_slot where location_id = 1",
     {("I2", "does not know that slot f1-lines holds rows of job 3")}),
    ("update processing_job set status = 'FAILED' where id = 3",
     {("I3", "a marker of job 3, which is FAILED")}),
    ("update publish_slot set ordinal = 1, enqueue = 1 where location_id = 1",
     {("I4", "at generation (1, 1), but job 3 was decided at (2, 3)")}),
    ("update processing_job set token = 'abc' where id = 3", {("I7", "COMPLETED and has a token")}),
    ("update processing_job set finished_at_us = null where id = 3", {("I7", "has not ended")}),
    ("update publish_slot set holder = 3 where location_id = 1",
     {("I8", "Job 3 holds it, and is COMPLETED")}),
    ("update file_version set content_hash = 'f00d' where id = 3",
     {("I10", "its file version has f00d")}),
    ("update file_version set ordinal = 7 where id = 3", {("I10", "number 7 of location 1")}),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "found"), IN_THE_QUEUE, ids=name_of)
def test_in_the_queue(filled: Stage, statement: str, found: set[tuple[str, str]]) -> None:
    queue(statement)(filled)
    check(filled, found)


def test_a_decided_job_without_its_lock(filled: Stage, one: Engine) -> None:
    one.new(b"c.csv", "v1", ROWS)
    one.decide()
    assert violations(filled.stores) == []
    queue("update publish_slot set holder = null where location_id = 3")(filled)
    check(filled, {("I8", "PROMOTING without the lock of lines on location 3")})


def test_a_lease_that_nobody_reaped(filled: Stage, one: Engine) -> None:
    filled.world.record((b"c.csv", "v1"))
    one.claim()
    filled.clock.advance(120)
    targets = Targets({})
    assert audit(filled.stores, targets, (), filled.clock()).violations == []
    one.keeper.beat()
    (late,) = audit(filled.stores, targets, (), filled.clock()).violations
    assert (late.invariant, late.where) == ("I8", "job 4")
    assert "should have been taken over 80.0 s ago" in late.what


def test_an_orphaned_staging(filled: Stage) -> None:
    orphan(filled)
    check(filled, {("I9", ".99.1.000000000000")})


# --- an SQLite file ---------------------------------------------------------------------

IN_SQLITE = [
    ("delete from rows where _casparian_job_id = 3 and _casparian_row = 1",
     {("I2", "2 rows are there, 3 were published. Missing are 1")}),
    ("delete from rows where _casparian_job_id = 3",
     {("I2", "0 rows are there, 3 were published")}),
    ("update rows set v = 'y' where _casparian_job_id = 3 and _casparian_row = 1",
     {("I2", "its 3 rows are not those that were published")}),
    ("insert into rows select * from rows where _casparian_job_id = 3 and _casparian_row = 1",
     {("I1", "rows 1 are there more than once"), ("I2", "4 rows are there, 3 were published")}),
    ("insert into rows select v, 77, 1, _casparian_row from rows where _casparian_job_id = 3",
     {("I6", "3 rows of job 77 lie there, and no marker is for them")}),
    ("update rows set _casparian_file_version_id = 1 where _casparian_job_id = 3",
     {("I2", "not those that were published"), ("I10", "of file versions 1, the job read 3")}),
    ("delete from _casparian_publish where job_id = 3",
     {("I2", "Slot f1-lines is gone: job 3 published 3 rows of 'a.csv'"),
      ("I6", "3 rows of job 3 lie there")}),
    ("update _casparian_publish set marker = json_set(marker, '$.attempt', 2) where job_id = 3",
     {("I5", "attempt 2 of job 3")}),
    ("update _casparian_publish set marker = json_set(marker, '$.installation', 'f00d') "
     "where job_id = 3", {("I3", "is of installation f00d")}),
    ("update _casparian_publish set marker = json_set(marker, '$.content_hash', 'f00d') "
     "where job_id = 3", {("I10", "Job 3 read content f00d")}),
    ("drop table rows", {("I6", "The table is gone"), ("I2", "0 rows are there")}),
]  # fmt: skip


@pytest.mark.parametrize("surroundings", [("sqlite", "sqlite")])
@pytest.mark.parametrize(("statement", "found"), IN_SQLITE, ids=name_of)
def test_in_an_sqlite_file(filled: Stage, statement: str, found: set[tuple[str, str]]) -> None:
    if statement.startswith("drop"):
        with closing(sqlite3.connect(filled.directory / "out.db")) as db:
            db.execute(statement)
    else:
        sink(statement)(filled)
    check(filled, found)


# --- Parquet ----------------------------------------------------------------------------


def lose_a_row(stage: Stage) -> None:
    file = file_of(stage)
    pq.write_table(pq.ParquetFile(file).read().slice(0, 2), file)


def double_the_file(stage: Stage) -> None:
    shutil.copy(file_of(stage), slot(stage) / "copy.parquet")


def change_a_value(stage: Stage) -> None:
    file = file_of(stage)
    file.write_bytes(file.read_bytes().replace(b"x1", b"y1"))


def cut_off(stage: Stage) -> None:
    file = file_of(stage)
    file.write_bytes(file.read_bytes()[:-9])


def remove_the_file(stage: Stage) -> None:
    file_of(stage).unlink()


def remove_the_marker(stage: Stage) -> None:
    (slot(stage) / "_casparian.json").unlink()


def remove_the_slot(stage: Stage) -> None:
    shutil.rmtree(slot(stage))


def stray(stage: Stage) -> None:
    shutil.copy(file_of(stage), slot(stage).parent / "stray.parquet")


def hidden(stage: Stage) -> None:
    shutil.copytree(slot(stage), slot(stage).parent / ".staging")


IN_PARQUET: list[tuple[Break, set[tuple[str, str]]]] = [
    (lose_a_row, {("I2", "2 rows are there, 3 were published. Missing are 2")}),
    (double_the_file, {("I1", "rows 0, 1, 2 are there more than once"), ("I2", "6 rows")}),
    (change_a_value, {("I2", "its 3 rows are not those that were published")}),
    (cut_off, {("I6", "cannot be read as Parquet"), ("I2", "0 rows are there")}),
    (remove_the_file, {("I2", "0 rows are there, 3 were published")}),
    (remove_the_marker, {("I6", "There is no marker"), ("I2", "f1-lines is gone")}),
    (remove_the_slot, {("I2", "f1-lines is gone: job 3 published 3 rows of 'a.csv'")}),
    (stray, {("I6", "It was not published by Casparian")}),
    (hidden, {("I6", "It was not published by Casparian")}),
    (lambda stage: edit_marker(stage, attempt=2), {("I5", "attempt 2 of job 3")}),
    (lambda stage: edit_marker(stage, digest="f00d"), {("I2", "digest f00d")}),
    (lambda stage: edit_marker(stage, job_id=77),
     {("I3", "a marker of job 77, which is not known"), ("I6", "3 rows of job 3"),
      ("I2", "0 rows are there")}),
]  # fmt: skip


@pytest.mark.parametrize("surroundings", [("sqlite", "parquet")])
@pytest.mark.parametrize(("change", "found"), IN_PARQUET, ids=name_of)
def test_in_parquet(filled: Stage, change: Break, found: set[tuple[str, str]]) -> None:
    change(filled)
    check(filled, found)


def test_an_older_version_that_came_back(filled: Stage) -> None:
    """From a backup: rows and marker agree with each other, and not with the queue."""
    if filled.kind == "parquet":
        shutil.rmtree(slot(filled))
        shutil.copytree(filled.directory / "before" / "rows" / "f1-lines", slot(filled))
        check(filled, {("I4", "holds job 1 at generation (1, 1); job 3 was completed at (2, 3)")})
    else:
        shutil.copy(filled.directory / "before.db", filled.directory / "out.db")
        check(
            filled,
            {("I4", "job 3 was completed at (2, 3)"), ("I2", "Slot f2-lines is gone: job 2")},
        )


@pytest.mark.parametrize("surroundings", [("sqlite", "parquet")])
def test_in_a_bundle(stage: Stage, one: Engine) -> None:
    stage.spoilt = True
    one.new(b"a.csv", "a1", ROWS)
    one.new(b"b.csv", "b1", ROWS)
    one.publish()
    (bundle,) = (stage.directory / "out" / "rows").glob("b*")
    (file,) = bundle.glob("*.parquet")
    content = file.read_bytes()
    assert violations(stage.stores) == []
    pq.write_table(pq.ParquetFile(file).read().slice(0, 5), file)
    check(stage, {("I6", "somebody changed it"), ("I2", "Missing are 2")})
    file.write_bytes(content)
    shutil.copy(file, bundle / "copy.parquet")
    check(stage, {("I6", "copy.parquet is no file of the bundle"), ("I1", "0, 1, 2"), ("I2", "6")})
    (bundle / "copy.parquet").unlink()
    file.unlink()
    check(stage, {("I6", "is gone"), ("I2", "0 rows are there, 3 were published")})
    file.write_bytes(content)
    queue("update target_bundle set revision = revision + 1")(stage)
    check(stage, {("I8", "no job is left to install it")})


# --- the command ------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_names_what_is_wrong(project: Project) -> None:
    project.csv_to("parquet://./output")
    project.drop("a.csv", "n\n1\n2\n")
    assert project.drain() == 0, project.log()
    told = project.casparian("check", "--deep").stdout
    assert "ok\tpublished rows\t2 rows in 1 place are those of 1 job." in told
    (file,) = (project.directory / "output" / "output").glob("*/*.parquet")
    file.unlink()
    told = project.casparian("check", "--deep", code=1).stdout
    assert "problem\t" in told
    assert "I2: Job 1, slot f1-csv_table: 0 rows are there, 2 were published." in told
    assert "casparian forget" in told


# --- while engines run ------------------------------------------------------------------


def test_what_is_being_published_is_not_judged(
    filled: Stage, one: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that publishes between the two looks at the queue is let be; all else is judged."""
    kind = type(one.sinks()[0])
    read = kind.holdings

    def holdings(sink: Sink) -> object:
        monkeypatch.setattr(kind, "holdings", read)
        one.new(b"a.csv", "v3", {"rows": {"v": ["x3"]}})
        one.publish()
        return read(sink)

    monkeypatch.setattr(kind, "holdings", holdings)
    found = audited(filled.stores)
    assert (found.violations, found.moving, found.jobs) == ([], 1, 3)


def test_a_directory_that_is_exchanged_while_it_is_read(
    filled: Stage, one: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read again: rows and marker are of one moment."""
    if filled.kind != "parquet":
        return
    from casparian.adapters.sink import _parquet_audit as module

    read = module._rows

    def rows(*arguments: object) -> object:
        monkeypatch.setattr(module, "_rows", read)
        one.new(b"a.csv", "v3", {"rows": {"v": ["x3"]}})
        one.publish()
        return read(*arguments)

    (sink,) = one.sinks()
    assert isinstance(sink, ParquetSink)
    monkeypatch.setattr(module, "_rows", rows)
    told = {holding.place[-8:]: holding for holding in sink.holdings()}
    assert [m.rows for m in told["f1-lines"].markers] == [1]
    assert {job: found.rows for job, found in told["f1-lines"].rows.items()} == {4: 1}


@pytest.mark.parametrize(
    ("numbers", "expected", "found"),
    [
        ([0, 1, 2], 3, ((), ())),
        ([], 2, ((), (0, 1))),
        ([0, 0, 0, 1, 2, 2], 3, ((0, 2), ())),
        ([1, 3], 4, ((), (0, 2))),
        ([0, 1, 9], 4, ((), (2, 3))),
        ([0], 900, ((), (1, 2, 3, 4, 5))),
        ([500], 900, ((), (0, 1, 2, 3, 4))),
    ],
)
def test_which_rows_are_there_once(
    numbers: list[int], expected: int, found: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    assert account(iter(numbers), expected) == found
