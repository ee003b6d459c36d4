"""What every FileSource must do in a walk: what is met, and what is not (promises 1 to 3, 5, 7)."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections.abc import Hashable
from pathlib import Path

import pytest

from casparian.domain.files import StatIdentity
from casparian.domain.ports import FileEntry, FileRun, FileSource, WalkError

HARD_NAMES = [
    b"plain.csv",
    b" leading and trailing ",
    b"line\nbreak",
    b"\"double\" and 'single' \\ back",
    b"-rf",
    b"*[?]{a,b}",
    "\N{PILE OF POO}\N{SNOWMAN}".encode(),
    "e\u0301".encode(),
    "\u00e9".encode(),
    b"\xff\xfe not utf-8 \x80",
    b"\x01\x7f\r",
    b"n" * 255,
    b"...",
]


def write(path: bytes, content: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


class WalkContract:
    """Hold a source to what it promises of its walks, and of the pieces of a walk."""

    def entries(self, source: FileSource, root: bytes, below: bytes = b"") -> list[FileEntry]:
        met = list(source.walk(root, below))
        entries = [entry for entry in met if not isinstance(entry, WalkError)]
        assert entries == met
        return entries

    def paths(self, source: FileSource, root: bytes, below: bytes = b"") -> list[bytes]:
        return [entry.path for entry in self.entries(source, root, below)]

    # 1. every regular file, once, in byte order

    def test_1_walk_yields_every_file_in_byte_order(self, source: FileSource, root: bytes) -> None:
        made = [
            b"a", b"a.b/x", b"a-b", b"b/c/d/e", b"b/c.d", b"b/c/d.e", b"b0", b"B", b"b/c/\xff",
            b"z/1", b"z/10", b"z/2", b"z.z",
        ]  # fmt: skip
        for path in made:
            write(root + b"/" + path, path)
        os.mkdir(root + b"/empty")
        assert self.paths(source, root) == sorted(made)

    def test_1_walk_below_a_directory(self, source: FileSource, root: bytes) -> None:
        for path in (b"a/x", b"a/y/z", b"a.x", b"ab/x", b"x"):
            write(root + b"/" + path, b"")
        assert self.paths(source, root, b"a") == [b"a/x", b"a/y/z"]
        assert self.paths(source, root, b"a/y") == [b"a/y/z"]
        assert self.paths(source, root, b"gone") == []

    def test_1_walk_gives_the_identity_that_stat_gives(
        self, source: FileSource, root: bytes
    ) -> None:
        write(root + b"/d/file", b"12345")
        os.utime(root + b"/d/file", ns=(1, 1_600_000_000_123_456_789))
        found = os.stat(root + b"/d/file")
        expected = StatIdentity(
            5, 1_600_000_000_123_456_789, found.st_ctime_ns, found.st_ino, found.st_dev
        )
        (entry,) = self.entries(source, root)
        assert entry[:3] == (b"d/file", expected, None)
        assert source.stat(root, b"d/file") == expected
        assert source.read_hash(root, b"d/file")[1] == expected

    def test_1_every_name_of_a_hard_link_is_linked(self, source: FileSource, root: bytes) -> None:
        write(root + b"/d/file", b"12345")
        os.link(root + b"/d/file", root + b"/e")
        assert [(e.path, e.linked) for e in self.entries(source, root)] == [
            (b"d/file", True), (b"e", True),
        ]  # fmt: skip

    def test_1_a_tree_deeper_than_descriptors_and_path_limits(
        self, source: FileSource, root: bytes
    ) -> None:
        depth, name = 300, b"directory-with-a-long-name"
        fd = os.open(root, os.O_RDONLY)
        try:
            for _ in range(depth):
                os.mkdir(name, dir_fd=fd)
                inner = os.open(name, os.O_RDONLY, dir_fd=fd)
                os.close(fd)
                fd = inner
            os.close(os.open(b"leaf", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        finally:
            os.close(fd)
        path = b"/".join([name] * depth + [b"leaf"])
        try:
            assert self.paths(source, root) == [path]
            assert source.read_hash(root, path)[0] == hashlib.sha256().hexdigest()
        finally:
            # Too deep for tools that use whole paths, the tests' own clean-up among them.
            shutil.rmtree(root)

    # 2. only regular files, nothing outside

    def test_2_links_and_special_files_are_not_met(
        self, source: FileSource, root: bytes, tmp_path: Path
    ) -> None:
        write(os.fsencode(tmp_path / "outside/secret"), b"secret")
        write(root + b"/real/file", b"x")
        os.symlink(os.fsencode(tmp_path / "outside"), root + b"/linked_directory")
        os.symlink(os.fsencode(tmp_path / "outside/secret"), root + b"/linked_file")
        os.symlink(b"real/file", root + b"/inner_link")
        os.symlink(b".", root + b"/loop")
        os.symlink(b"nowhere", root + b"/dangling")
        os.mkfifo(root + b"/fifo")
        # A socket's address is short; a path below a test's directory need not be.
        at = os.getcwd()
        os.chdir(root)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(b"socket")
            os.chdir(at)
            assert self.paths(source, root) == [b"real/file"]
            for path in (
                b"linked_file", b"inner_link", b"dangling", b"fifo", b"socket", b"loop/real/file",
                b"linked_directory/secret", b"real/file/below", b"loop",
            ):  # fmt: skip
                with pytest.raises(FileNotFoundError):
                    source.stat(root, path)
                with pytest.raises(FileNotFoundError):
                    source.read_hash(root, path)
            assert self.paths(source, root, b"linked_directory") == []

    def test_2_a_directory_replaced_by_a_link_during_the_walk(
        self, source: FileSource, root: bytes, tmp_path: Path
    ) -> None:
        write(os.fsencode(tmp_path / "outside/secret"), b"secret")
        write(root + b"/a", b"")
        write(root + b"/b/file", b"")
        write(root + b"/c", b"")
        walk = source.walk(root)
        assert next(walk).path == b"a"
        os.rename(root + b"/b", os.fsencode(tmp_path / "moved"))
        os.symlink(os.fsencode(tmp_path / "outside"), root + b"/b")
        assert [entry.path for entry in walk] == [b"c"]

    def test_2_the_root_itself_may_be_a_link(
        self, source: FileSource, root: bytes, tmp_path: Path
    ) -> None:
        write(root + b"/file", b"x")
        link = os.fsencode(tmp_path / "link")
        os.symlink(root, link)
        assert self.paths(source, link) == [b"file"]
        assert source.read_hash(link, b"file") == source.read_hash(root, b"file")

    # 3. a directory that cannot be listed

    def test_3_a_missing_root_is_a_walk_error(self, source: FileSource, root: bytes) -> None:
        (error,) = source.walk(root + b"/none")
        assert isinstance(error, WalkError)
        assert error.path == b""
        assert error.error

    # 5. names

    @pytest.mark.parametrize("name", HARD_NAMES, ids=range(len(HARD_NAMES)))
    def test_5_every_name_survives(self, source: FileSource, root: bytes, name: bytes) -> None:
        path = name + b"/" + name
        write(root + b"/" + path, name)
        assert self.paths(source, root) == [path]
        assert source.stat(root, path).size == len(name)
        assert source.read_hash(root, path)[0] == hashlib.sha256(name).hexdigest()

    def test_5_no_folding(self, source: FileSource, root: bytes) -> None:
        names = ["\u00e9".encode(), "e\u0301".encode(), b"A", b"a"]
        for name in names:
            write(root + b"/" + name, name)
        assert self.paths(source, root) == sorted(names)

    # 7. pieces of a walk

    @pytest.mark.parametrize("below", [b"", b"b"])
    def test_7_runs_leave_no_path_out(self, source: FileSource, root: bytes, below: bytes) -> None:
        made = [
            b"a", b"a.b/x", b"a-b", b"b/c/d/e", b"b/c.d", b"b/c/d.e", b"b/\x01", b"b0", b"c/x/y/z",
            b"d/1", b"d/2/3", b"d/4", b"d/5/6",
        ]  # fmt: skip
        for path in made:
            write(root + b"/" + path, path)
        for path in (b"0", b"b/c/empty/empty", b"e"):
            os.makedirs(root + b"/" + path)
        runs = [run for run in source.runs(root, below) if not isinstance(run, WalkError)]
        assert runs[0].begin == (b"b/" if below else b"")
        assert runs[-1].end == (b"b0" if below else None)
        assert [run.begin for run in runs[1:]] == [run.end for run in runs[:-1]]
        for run in runs:
            paths = [entry.path for entry in run.files]
            assert all(run.begin <= p and (run.end is None or p < run.end) for p in paths)
            assert len({p.rpartition(b"/")[0] for p in paths}) <= 1
            assert len(run.files) == len(paths)
        entries = [entry for run in runs for entry in run.files]
        assert entries == list(source.walk(root, below))
        assert [e.path for e in entries] == [
            p for p in sorted(made) if p.startswith(below + b"/" * bool(below))
        ]

    def test_7_runs_of_an_empty_root_and_of_one_that_is_not_there(
        self, source: FileSource, root: bytes
    ) -> None:
        (run,) = source.runs(root)
        assert isinstance(run, FileRun)
        assert (run.begin, run.end, len(run.files)) == (b"", None, 0)
        *before, error = source.runs(root + b"/none")
        assert isinstance(error, WalkError)
        assert sum(len(run.files) for run in before if isinstance(run, FileRun)) == 0

    @pytest.mark.parametrize(
        "change", ["append", "touch", "chmod", "replace", "rename", "new", "remove", "swap"]
    )
    def test_7_a_digest_tells_every_change(
        self, source: FileSource, root: bytes, change: str
    ) -> None:
        for name in (b"a", b"b", b"c"):
            write(root + b"/d/" + name, b"content")
            os.utime(root + b"/d/" + name, ns=(1, 1))

        def digest() -> Hashable:
            (run,) = [r for r in source.runs(root) if isinstance(r, FileRun) and len(r.files)]
            return run.files.digest()

        before = digest()
        assert before is not None
        assert digest() == before
        path, other = root + b"/d/b", root + b"/d/other"
        ticked = os.stat(path).st_ctime_ns
        while os.stat(root).st_ctime_ns <= ticked:
            # Two changes within one tick of the kernel's clock have the same ctime.
            os.utime(root)
        if change == "append":
            with open(path, "ab") as file:
                file.write(b"x")
        elif change == "touch":
            os.utime(path)
        elif change == "chmod":
            os.chmod(path, 0o600)
        elif change == "replace":
            write(other, b"CONTENT")
            os.utime(other, ns=(1, 1))
            os.rename(other, path)
        elif change == "rename":
            os.rename(path, other)
        elif change == "new":
            write(other, b"")
        elif change == "remove":
            os.unlink(path)
        else:
            os.rename(path, other)
            os.rename(root + b"/d/c", path)
            os.rename(other, root + b"/d/c")
        assert digest() != before
