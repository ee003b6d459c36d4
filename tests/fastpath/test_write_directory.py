"""write_directory, both twins: a directory and its files, whole or an error that names its path."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from casparian._fastpath import _pure

try:
    from casparian._fastpath import _speed
except ImportError as error:
    COMPILED, WHY_NOT = None, str(error)
else:
    COMPILED, WHY_NOT = _speed, ""

# Bytes beyond the limit do not fit: the first write is short, the next one fails.
TOO_LARGE = """
import resource, sys
from importlib import import_module
twin = import_module(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    twin.write_directory(sys.argv[2], [("a", bytes(1000)), ("b", bytes(1001)), ("c", b"")])
except OSError as error:
    print(error.errno, error.filename)
"""


@pytest.fixture(params=["cython", "pure"])
def twin(request: pytest.FixtureRequest) -> ModuleType:
    if request.param == "pure":
        return _pure
    if COMPILED is None:
        pytest.skip(f"the compiled twin is not here: {WHY_NOT}")
    return COMPILED


def content_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_files_of_every_kind_of_buffer(twin: ModuleType, tmp_path: Path) -> None:
    files: list[tuple[str, Any]] = [
        ("bytes", b"123"),
        ("empty", b""),
        ("arrow é", pa.py_buffer(b"xyz" * 100_000)),
        ("view", memoryview(b"0123456789")[2:5]),
    ]
    twin.write_directory(str(tmp_path / "new"), files)
    assert content_of(tmp_path / "new") == {name: bytes(content) for name, content in files}


def test_none_at_all(twin: ModuleType, tmp_path: Path) -> None:
    twin.write_directory(str(tmp_path / "new"), [])
    assert content_of(tmp_path / "new") == {}


def test_modes_are_what_the_umask_leaves(twin: ModuleType, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        twin.write_directory(str(tmp_path / "new"), [("a", b"1")])
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "new" / "a").stat().st_mode & 0o777 == 0o640


def test_a_directory_that_is_there_is_left_alone(twin: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    with pytest.raises(FileExistsError) as caught:
        twin.write_directory(str(tmp_path), [("old", b"new")])
    assert caught.value.filename == str(tmp_path)
    assert content_of(tmp_path) == {"old": b"old"}


def test_without_its_parent(twin: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        twin.write_directory(str(tmp_path / "no" / "new"), [])
    assert caught.value.filename == str(tmp_path / "no" / "new")


def test_the_same_name_twice(twin: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError) as caught:
        twin.write_directory(str(tmp_path / "new"), [("a", b"1"), ("a", b"2")])
    assert caught.value.filename == str(tmp_path / "new" / "a")
    assert content_of(tmp_path / "new") == {"a": b"1"}


def test_what_is_no_buffer_makes_nothing(twin: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        twin.write_directory(str(tmp_path / "new"), [("a", b"1"), ("b", "text")])
    assert not (tmp_path / "new").exists()


def test_a_short_write_goes_on_and_its_error_names_the_file(
    twin: ModuleType, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    command = [sys.executable, "-c", TOO_LARGE, twin.__name__, str(new)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.split() == [str(errno.EFBIG), str(new / "b")]
    assert {name: len(content) for name, content in content_of(new).items()} == {
        "a": 1000,
        "b": 1000,
    }


def test_many_leave_no_descriptor_open(twin: ModuleType, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    twin.write_directory(str(tmp_path / "new"), [(str(n), b"x") for n in range(300)])
    assert len(os.listdir("/proc/self/fd")) == before
