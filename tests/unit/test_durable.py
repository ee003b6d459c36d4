"""Directories that are made are there after a power cut: each is synced into the one above it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from casparian.adapters.sink import _durable
from casparian.adapters.sink._durable import Syncer, make_directories


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The directories that are synced, while this test looks on."""
    found: set[str] = set()

    def note(descriptor: int) -> None:
        found.add(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(_durable.os, "fsync", note)
    return found


def test_all_that_were_missing_and_the_one_above_them_are_synced(
    tmp_path: Path, synced: set[str]
) -> None:
    make_directories(str(tmp_path / "a" / "b" / "c"))
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert synced == {str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")}


def test_one_that_is_there_is_synced_once_more(tmp_path: Path, synced: set[str]) -> None:
    (tmp_path / "a").mkdir()
    make_directories(str(tmp_path / "a"))
    assert synced == {str(tmp_path)}


def test_a_file_in_place_of_one_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(FileExistsError):
        make_directories(str(tmp_path / "a"))
    with pytest.raises(FileExistsError):
        make_directories(str(tmp_path / "a" / "b"))


def test_what_a_file_system_can_is_asked_again_where_it_could_not_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where no more files can be opened: one call would never stand for many."""
    failing = iter([OSError(errno.EMFILE, os.strerror(errno.EMFILE))])

    def reports(path: str) -> bool:
        for error in failing:
            raise error
        return True

    called: list[int] = []
    monkeypatch.setattr(_durable, "syncfs_reports_errors", reports)
    monkeypatch.setattr(_durable, "syncfs", called.append)
    syncer = Syncer(str(tmp_path), syncfs_from=1)
    with pytest.raises(OSError, match="Too many open files"):
        syncer.epoch()
    syncer.sync([str(tmp_path)], syncer.epoch())
    assert len(called) == 1
