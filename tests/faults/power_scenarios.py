"""What is made durable, and which calls do it: each step followed by a power cut.

Queue and output are on disks of their own: what one makes durable does nothing for the other.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from casparian.adapters.files import LocalFileSource, leaving
from casparian.adapters.files.archive import VersionArchive
from casparian.adapters.files.leaving import LocalLeaving
from casparian.adapters.queue import QueueStores, open_sqlite
from casparian.adapters.sink._durable import make_directories
from casparian.adapters.sink._slot_names import SLOTS, read_names, write_names
from casparian.domain.departures import Action, CannotLeave, Departure
from casparian.testing.world import VirtualClock
from tests.support.disks import Disk, cut
from tests.support.outputs import output_of
from tests.support.stepped import Engine, Stage

FEW, MANY = 2, 9
"""Stagings that are made durable one by one, and all at once: see SYNCFS_FROM."""


class PowerLoss(Exception):
    """Ends what ran when the power went."""


class Machine:
    """A queue and its output, each on a disk of its own."""

    def __init__(self, queue: Disk, out: Disk, clock: VirtualClock) -> None:
        self.queue, self.out, self.clock = queue, out, clock
        self._open: list[QueueStores] = []

    def start(self, name: str, kind: str) -> tuple[Stage, Engine]:
        stores = open_sqlite(str(self.queue.path / "queue.db"), self.clock)
        self._open.append(stores)
        stage = Stage(stores, self.clock, output_of(kind, self.out.path, self.clock))
        return stage, stage.engine(name)

    def power_off(self) -> None:
        cut([self.out, self.queue])

    def power_on(self) -> None:
        """What ran is gone, with its open files."""
        for stores in self._open:
            with contextlib.suppress(Exception):
                stores.close()
        self._open.clear()
        gc.collect()
        for disk in (self.queue, self.out):
            disk.power_up()

    def remove(self) -> None:
        for stores in self._open:
            with contextlib.suppress(Exception):
                stores.close()
        gc.collect()
        for disk in (self.queue, self.out):
            disk.remove()


Scenario = Callable[[Machine], None]

# --- publishing -------------------------------------------------------------------------

AT_LEAST = {"decided": "PROMOTING", "promoted": "PROMOTING", "completed": "COMPLETED"}


def published(machine: Machine, kind: str, moment: str, files: int, version: int) -> None:
    """The power goes right after a step of the last version; what was said is still so, and
    another engine ends what was begun."""
    jobs = _lose_power(machine, kind, moment, files, version)
    expected = sorted(f"{n}, version {version}" for n in range(files))
    machine.power_on()
    stage, engine = machine.start("after", kind)
    assert {stage.status(job) for job in jobs} == {AT_LEAST[moment]}
    if moment == "completed":
        assert stage.rows() == expected
    machine.clock.advance(31)
    engine.recover()
    engine.publish()
    assert {stage.status(job) for job in jobs} == {"COMPLETED"}
    assert stage.rows() == expected
    assert stage.violations() == []


def _lose_power(machine: Machine, kind: str, moment: str, files: int, version: int) -> list[int]:
    stage, engine = machine.start("before", kind)
    for number in range(1, version):
        _stage(engine, number, files)
        engine.publish()
    jobs = _stage(engine, version, files)

    def off() -> None:
        machine.power_off()
        raise PowerLoss

    if moment == "promoted":
        engine.ledger.before("complete", off)
    else:
        engine.ledger.after({"decided": "decide", "completed": "complete"}[moment], off)
    with _reader(stage), pytest.raises(PowerLoss):
        engine.publish()
    return jobs


def _stage(engine: Engine, version: int, files: int) -> list[int]:
    return [engine.new(b"%d.csv" % n, f"{n}, version {version}").job_id for n in range(files)]


@contextlib.contextmanager
def _reader(stage: Stage) -> Iterator[None]:
    """Somebody who has the SQLite file open: without one, each transaction of the engine would
    end with a checkpoint, which syncs whatever it is told."""
    if stage.kind == "parquet":
        yield
        return
    with contextlib.closing(sqlite3.connect(stage.directory / "out.db")) as db:
        db.execute("select count(*) from sqlite_master").fetchone()
        yield


def directories_made(machine: Machine) -> None:
    # By themselves: beside a new sink its place is written down next, which takes them along.
    root = machine.out.path / "above" / "root"
    make_directories(str(root))
    machine.power_off()
    machine.power_on()
    assert root.is_dir()


# --- adopted directories ----------------------------------------------------------------


def names_written(machine: Machine) -> None:
    topic = machine.out.path / "topic"
    topic.mkdir()
    os.sync()
    write_names(str(topic), {"slot": "elsewhere"})
    machine.power_off()
    machine.power_on()
    assert (topic / SLOTS).exists()
    assert read_names(str(topic)) == {"slot": "elsewhere"}


# --- files that leave -------------------------------------------------------------------

CONTENT = b"n\n1\n2\n" * 1000


@dataclass
class Leaving:
    """A file of version 1 on the machine's output disk, which has its private name by now."""

    machine: Machine
    action: Action
    place: bytes = b""

    def __post_init__(self) -> None:
        self.inbox = self.machine.out.path / "inbox"
        self.inbox.mkdir()
        (self.inbox / "a.csv").write_bytes(CONTENT)
        if self.place:
            os.makedirs(os.path.dirname(self.place))
        self.root = os.fsencode(self.inbox)
        source = LocalFileSource()
        self.files = LocalLeaving(source)
        identity = source.stat(self.root, b"a.csv")
        content_hash = hashlib.sha256(CONTENT).hexdigest()
        self.departure = Departure(
            1, 1, b"a.csv", content_hash, identity, self.action, self.place, 0
        )
        assert self.files.set_aside(self.root, self.departure)
        os.sync()

    def names(self) -> list[str]:
        return sorted(os.listdir(self.inbox))


def deleted(machine: Machine) -> None:
    case = Leaving(machine, Action.DELETE)
    case.files.send_off(case.root, case.departure)
    machine.power_off()
    machine.power_on()
    assert case.names() == []


def archived_on(disk: str, machine: Machine) -> None:
    """On the disk of the inbox, or on another."""
    where = machine.out if disk == "out" else machine.queue
    place = where.path / "archive" / "a.csv"
    case = Leaving(machine, Action.ARCHIVE, os.fsencode(place))
    case.files.send_off(case.root, case.departure)
    machine.power_off()
    machine.power_on()
    assert case.names() == []
    assert place.read_bytes() == CONTENT


def archived_and_cut_at_the_removal(machine: Machine) -> None:
    """The archive's disk goes right after the file was removed from the other one."""
    place = machine.queue.path / "archive" / "a.csv"
    case = Leaving(machine, Action.ARCHIVE, os.fsencode(place))
    unlink = os.unlink

    def last(path: bytes, *, dir_fd: int) -> None:
        unlink(path, dir_fd=dir_fd)
        machine.power_off()
        raise PowerLoss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaving.os, "unlink", last)
        with contextlib.suppress(PowerLoss, OSError):
            case.files.send_off(case.root, case.departure)
    machine.power_on()
    assert place.read_bytes() == CONTENT


def put_back(machine: Machine) -> None:
    """What cannot be archived has its own name again."""
    place = machine.out.path / "archive" / "a.csv"
    case = Leaving(machine, Action.ARCHIVE, os.fsencode(place))
    place.write_bytes(b"another")
    with pytest.raises(CannotLeave):
        case.files.send_off(case.root, case.departure)
    machine.power_off()
    machine.power_on()
    assert case.names() == ["a.csv"]


# --- kept versions ----------------------------------------------------------------------


def kept(machine: Machine) -> None:
    root = machine.queue.path / "inbox"
    root.mkdir()
    (root / "a.csv").write_bytes(CONTENT)
    archive = VersionArchive(str(machine.out.path / "versions"))
    content_hash, _ = archive.keep(LocalFileSource(), os.fsencode(root), b"a.csv")
    machine.power_off()
    machine.power_on()
    with open(archive.path_of(content_hash), "rb") as file:
        assert file.read() == CONTENT


# --- the table --------------------------------------------------------------------------


def _published(moment: str) -> dict[str, Scenario]:
    return {
        f"{kind}, {moment}, {files} files, version {version}": partial(
            published, kind=kind, moment=moment, files=files, version=version
        )
        for kind in ("parquet", "sqlite")
        for files in (FEW, MANY)
        for version in (1, 2)
    }


SCENARIOS: dict[str, Scenario] = {
    **_published("decided"),
    **_published("promoted"),
    **_published("completed"),
    "directories made": directories_made,
    "names written": names_written,
    "deleted": deleted,
    "archived": partial(archived_on, "out"),
    "archived on another disk": partial(archived_on, "queue"),
    "archived on another disk, cut at the removal": archived_and_cut_at_the_removal,
    "put back": put_back,
    "kept": kept,
}
