"""Every call that makes something durable, and the scenario that fails without it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.mutations import Lines


@dataclass(frozen=True, slots=True)
class Fsync:
    """A call that makes something durable, and the scenario that fails without it."""

    name: str
    without: Lines
    scenario: str


def _out(function: str, call: str, instead: str = "pass") -> Lines:
    return Lines(f"casparian.adapters.{function}", ((call, instead),))


# Left out, for ext4 and XFS make a rename durable with whatever else is in the same transaction of
# their journal: the directory of an SQLite file (a commit follows), and the archive on the disk of
# the inbox (the inbox is synced, too). Other file systems may need both.
FSYNCS = [
    Fsync(
        "commits of the queue",
        _out("queue.sqlite_engine:_on_connect", "synchronous = FULL", "synchronous = NORMAL"),
        "parquet, completed, 2 files, version 1",
    ),
    Fsync(
        "stagings, one by one",
        _out("sink._durable:Syncer.sync_all", "    fsync_all(listed)", "    pass"),
        "parquet, decided, 2 files, version 1",
    ),
    Fsync(
        "stagings, at once",
        _out("sink._durable:Syncer.sync_all", "syncfs(self._descriptor)"),
        "parquet, decided, 9 files, version 1",
    ),
    Fsync(
        "stagings of an SQLite file",
        _out("sink._durable:Syncer.sync_all", "    fsync_all(listed)", "    pass"),
        "sqlite, decided, 2 files, version 1",
    ),
    Fsync(
        "exchanged directories",
        _out("sink.parquet:ParquetSink.promote", ".sync(todo.still_there(), began)", ""),
        "parquet, completed, 2 files, version 2",
    ),
    Fsync(
        "commits of an SQLite file",
        _out("sink.sqlite:_prepare", "synchronous=FULL", "synchronous=NORMAL"),
        "sqlite, completed, 2 files, version 2",
    ),
    Fsync(
        "the directories of a Parquet sink",
        _out("sink._durable:make_directories", "    fsync_all(", "    list("),
        "directories made",
    ),
    Fsync(
        "the names of adopted directories",
        _out("sink._slot_names:write_names", "os.fsync(file.fileno())"),
        "names written",
    ),
    Fsync(
        "the directory of the names of adopted directories",
        _out("sink._slot_names:write_names", "fsync_all([directory])"),
        "names written",
    ),
    Fsync(
        "the directory that a file left",
        _out("files.leaving:LocalLeaving.send_off", "os.fsync(directory)"),
        "deleted",
    ),
    Fsync(
        "the directory of a file that was put back",
        _out("files.leaving:LocalLeaving._put_back", "os.fsync(directory)"),
        "put back",
    ),
    Fsync(
        "the archive, before the file is removed from another disk",
        _out("files.leaving:_archive", f"os.fsync(target)\n{' ' * 16}os.unlink", "os.unlink"),
        "archived on another disk, cut at the removal",
    ),
    Fsync(
        "a copy in the archive",
        _out("files.leaving:_copy", "os.fsync(copy)"),
        "archived on another disk",
    ),
    Fsync(
        "a version that is kept",
        _out("files.archive:VersionArchive.adopt", "_sync(copy)"),
        "kept",
    ),
    Fsync(
        "the directory of a version that is kept",
        _out("files.archive:VersionArchive.adopt", "_sync(os.path.dirname(place))"),
        "kept",
    ),
]  # fmt: skip
