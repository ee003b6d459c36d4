"""LocalFileSource keeps the promises of FileSource."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from casparian.adapters.files import LocalFileSource, listing, local
from casparian.domain.ports import FileSource
from casparian.testing.file_walks import write
from casparian.testing.files import FileSourceContract

AS_NOBODY = """
import json, os, sys
from casparian.adapters.files import LocalFileSource
from casparian.domain.ports import WalkError
root = os.fsencode(sys.argv[1])
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
source = LocalFileSource()
found = []
for entry in source.walk(root):
    found.append([os.fsdecode(entry.path), isinstance(entry, WalkError), entry.error])
try:
    source.read_hash(root, b"unreadable")
except PermissionError as error:
    found.append(["unreadable", "PermissionError", error.strerror])
print(json.dumps(found))
"""


class TestLocalFileSource(FileSourceContract):
    @pytest.fixture
    def source(self) -> FileSource:
        return LocalFileSource()


class TestLocalFileSourceInPython(FileSourceContract):
    """With the walk's pure twin, whichever runs otherwise."""

    @pytest.fixture
    def source(self, monkeypatch: pytest.MonkeyPatch) -> FileSource:
        monkeypatch.setattr(local, "list_directory", listing.list_in_python)
        monkeypatch.setattr(local, "read_files", listing.read_in_python)
        return LocalFileSource()


@pytest.mark.parametrize("twin", [listing.list_directory, listing.list_in_python])
def test_a_file_of_one_name_is_not_linked(twin: listing.ListDirectory, tmp_path: Path) -> None:
    (tmp_path / "alone").write_bytes(b"x")
    (tmp_path / "one").write_bytes(b"x")
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        (files,) = twin(fd, b"in/")
    finally:
        os.close(fd)
    assert not isinstance(files, bytes)
    assert [(entry.path, entry.linked) for entry in files] == [
        (b"in/alone", False), (b"in/one", True), (b"in/two", True),
    ]  # fmt: skip


@pytest.mark.parametrize("twin", [listing.list_directory, listing.list_in_python])
def test_a_listing_is_gone_with_its_parts(twin: listing.ListDirectory, tmp_path: Path) -> None:
    """No circle keeps it until the collector comes by, which in an engine is rarely."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "z").write_bytes(b"x")
    fd = os.open(tmp_path, os.O_RDONLY)
    gc.collect()
    gc.disable()
    try:
        parts = twin(fd, b"")
        kind = type(parts[0])
        assert any(type(one) is kind for one in gc.get_objects())
        before = sum(type(one) is kind for one in gc.get_objects()) - 2
        del parts
        assert sum(type(one) is kind for one in gc.get_objects()) == before
    finally:
        gc.enable()
        os.close(fd)


@pytest.mark.parametrize("twin", [listing.read_files, listing.read_in_python])
def test_small_files_are_read_together(twin: listing.ReadFiles, tmp_path: Path) -> None:
    """By the port, any of them may be left to be asked for one by one."""
    names = [b"a", b"b", b"c", b"d"]
    for name in names:
        write(os.fsencode(tmp_path) + b"/" + name, name * 100)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        found = twin(fd, [*names, b"none"], 100)
        assert [one and one[0] for one in found] == [*(name * 100 for name in names), None]
        assert [one and one[1].inode for one in found] == [
            *(os.stat(name, dir_fd=fd).st_ino for name in names), None,
        ]  # fmt: skip
        assert twin(fd, names, 99) == [None] * 4
        assert twin(fd, [], 99) == []
    finally:
        os.close(fd)


def test_unreadable_directories_and_files(tmp_path: Path) -> None:
    """Promises 3 and 6, in a process without root's rights."""
    root = os.fsencode(tmp_path)
    # Somebody else must get here, through every private directory that pytest made above.
    for above in (tmp_path, *tmp_path.parents):
        if not above.stat().st_mode & 0o001:
            above.chmod(0o755)
    write(root + b"/a", b"")
    write(root + b"/locked/file", b"")
    write(root + b"/listed_only/file", b"")
    write(root + b"/unreadable", b"x")
    os.chmod(root + b"/locked", 0)
    os.chmod(root + b"/listed_only", 0o444)
    os.chmod(root + b"/unreadable", 0)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, tmp_path], capture_output=True, text=True, timeout=30
    )
    os.chmod(root + b"/locked", 0o755)
    os.chmod(root + b"/listed_only", 0o755)
    assert done.returncode == 0, done.stderr
    denied = "Permission denied"
    assert json.loads(done.stdout) == [
        ["a", False, None],
        ["listed_only/file", False, denied],
        ["locked", True, denied],
        ["unreadable", False, None],
        ["unreadable", "PermissionError", denied],
    ]
