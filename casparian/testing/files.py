"""What every FileSource must do, over real files. Subclass, and give the fixture `source`.

Test names begin with the number of the promise in `casparian.domain.ports.FileSource`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from casparian.domain.ports import FileEntry, FileSource, WalkError
from casparian.testing.file_reads import ReadContract
from casparian.testing.file_walks import WalkContract, write


class FileSourceContract(WalkContract, ReadContract):
    """Hold an adapter to the promises of FileSource: of walks, of reads, and of errors."""

    @pytest.fixture
    def source(self) -> FileSource:
        raise NotImplementedError("Give the FileSource under test as the fixture `source`.")

    @pytest.fixture
    def root(self, tmp_path: Path) -> bytes:
        root = os.fsencode(tmp_path / "root")
        os.mkdir(root)
        return root

    # 6. errors

    def test_6_vanished_files(self, source: FileSource, root: bytes) -> None:
        for path in (b"none", b"none/none"):
            with pytest.raises(FileNotFoundError):
                source.stat(root, path)
            with pytest.raises(FileNotFoundError):
                source.read_hash(root, path)

    def test_6_what_vanishes_during_the_walk(self, source: FileSource, root: bytes) -> None:
        """A listed file may still be met, and is then not there to be read."""
        for name in (b"a", b"b", b"c", b"d/e", b"f"):
            write(root + b"/" + name, b"")
        walk: Iterator[FileEntry | WalkError] = source.walk(root)
        assert next(walk).path == b"a"
        os.unlink(root + b"/b")
        shutil.rmtree(root + b"/d")
        assert [entry.path for entry in walk if entry.path != b"b"] == [b"c", b"f"]
        with pytest.raises(FileNotFoundError):
            source.read_hash(root, b"b")

    def test_6_a_directory_is_no_file(self, source: FileSource, root: bytes) -> None:
        os.mkdir(root + b"/directory")
        with pytest.raises(IsADirectoryError):
            source.stat(root, b"directory")
        with pytest.raises(OSError, match="directory"):
            source.read_hash(root, b"directory")
        found = os.stat(root)
        assert source.stat(root, b"")[3:] == (found.st_ino, found.st_dev)

    def test_6_no_descriptor_is_left_open(self, source: FileSource, root: bytes) -> None:
        write(root + b"/d/file", b"x")
        before = len(os.listdir("/proc/self/fd"))
        walk = source.walk(root)
        next(walk)
        del walk
        source.read_hash(root, b"d/file")
        source.stat(root, b"d/file")
        for path in (b"gone", b"d", b"d/file/x"):
            with pytest.raises(OSError):  # noqa: PT011 - whichever it is
                source.read_hash(root, path)
        assert len(os.listdir("/proc/self/fd")) == before
