"""The queue's file, or what SQLite keeps beside it, cannot be opened for writing for a moment, as
when a process has too many files open. SQLite opens it for reading then."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from casparian.adapters.queue import open_sqlite
from casparian.adapters.queue.sqlite import open_database
from casparian.domain.errors import UnavailableError

HOLDER = """
import sys
from casparian.adapters.queue.sqlite import open_database
from casparian.domain.errors import UnavailableError

database = open_database(sys.argv[1])
database.waiters.wait(0.2)  # From here on it is watched, by a connection of its own.
met = []
for _ in range(5):
    try:
        with database.write() as connection:
            connection.exec_driver_sql("UPDATE installation SET uuid = uuid")
        met.append("written")
    except UnavailableError as error:
        # Remembered with all that it refers to.
        met.append(error)
print(*("written" if entry == "written" else "refused" for entry in met))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "queue.sqlite3"
    open_sqlite(str(path)).close()
    return path


def writes(path: Path, shim: Path, **faults: object) -> list[str]:
    """What became of each of five writes."""
    variables = {name: str(value) for name, value in faults.items()}
    done = subprocess.run(
        [sys.executable, "-c", HOLDER, path],
        env={**os.environ, "LD_PRELOAD": str(shim), "FAIL_ERRNO": str(errno.EIO), **variables},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()


def test_it_is_written_to_as_soon_as_it_can_be(path: Path, shim: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    # Whatever one process finds beside the file another one has left there.
    with closing(open_database(str(path))) as other, other.read():
        assert writes(path, shim, CRASH_LOG=calls) == ["written"] * 5
        opened = [line.split() for line in calls.read_text().splitlines() if " open " in line]
        for at, _, of in opened:
            assert writes(path, shim, FAIL_AT=at)[1:] == ["written"] * 4, of
        first = next(at for at, _, of in opened if of.endswith("-shm"))
        assert writes(path, shim, FAIL_AT=first)[0] == "refused", "nothing failed: no shim at work?"


def test_a_file_that_cannot_be_looked_at_is_out_of_reach(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on XFS, once the disk has failed: not even `stat` says anything of an open file."""

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with closing(open_database(str(path))) as database:
        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", broken)
            patch.setattr(os, "statvfs", broken)
            with pytest.raises(UnavailableError, match="Input/output error"), database.write():
                pass
            with pytest.raises(UnavailableError, match="Input/output error"), database.read():
                pass
            with (
                pytest.raises(UnavailableError, match="Input/output error"),
                database.engine.connect() as connection,
            ):
                database.dialect.begin_trial(connection)
        with database.write() as connection:
            connection.exec_driver_sql("UPDATE installation SET uuid = uuid")
