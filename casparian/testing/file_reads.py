"""What every FileSource must do when it reads: hashes and copies of one content (promise 4)."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from casparian.domain.ports import FileChangedError, FileSource
from casparian.testing.file_walks import write


class ReadContract:
    """Hold a source to what it promises of what it reads."""

    @pytest.mark.parametrize("size", [0, 1, 65_536, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
    def test_4_the_hash_is_the_sha256(self, source: FileSource, root: bytes, size: int) -> None:
        content = os.urandom(size)
        write(root + b"/file", content)
        digest, identity = source.read_hash(root, b"file")
        assert digest == hashlib.sha256(content).hexdigest()
        assert identity.size == size

    def test_4_a_sparse_file(self, source: FileSource, root: bytes) -> None:
        write(root + b"/file", b"")
        os.truncate(root + b"/file", 5 << 20)
        assert source.read_hash(root, b"file")[0] == hashlib.sha256(bytes(5 << 20)).hexdigest()

    def test_4_a_snapshot_is_what_was_hashed(
        self, source: FileSource, root: bytes, tmp_path: Path
    ) -> None:
        content = os.urandom((2 << 20) + 17)
        write(root + b"/d/file", content)
        copy = tmp_path / "copy"
        assert source.snapshot(root, b"d/file", str(copy)) == source.read_hash(root, b"d/file")
        assert copy.read_bytes() == content

    def test_4_a_snapshot_overwrites_nothing_and_leaves_nothing(
        self, source: FileSource, root: bytes, tmp_path: Path
    ) -> None:
        write(root + b"/file", b"new")
        copy = tmp_path / "copy"
        copy.write_text("kept")
        with pytest.raises(FileExistsError):
            source.snapshot(root, b"file", str(copy))
        assert copy.read_text() == "kept"
        with pytest.raises(FileNotFoundError):
            source.snapshot(root, b"gone", str(tmp_path / "other"))
        assert not (tmp_path / "other").exists()

    def test_4_small_files_together(self, source: FileSource, root: bytes, tmp_path: Path) -> None:
        """What `read_hash` says, or nothing."""
        contents = {
            b"a": b"",
            b"b": b"1",
            b"d/a": os.urandom(2000),
            b"d/e/\xff": os.urandom(70_000),
        }
        for path, content in contents.items():
            write(root + b"/" + path, content)
        write(root + b"/large", bytes(1 << 20))
        write(os.fsencode(tmp_path / "secret"), b"secret")
        os.symlink(os.fsencode(tmp_path / "secret"), root + b"/d/link")
        os.symlink(b"d", root + b"/linked")
        os.mkfifo(root + b"/d/fifo")
        others = [b"d", b"d/e", b"d/fifo", b"d/link", b"gone", b"gone/a", b"large", b"linked/a"]
        paths = [*contents, *others, b"a"]
        found = dict(zip(paths, source.read_hashes(root, paths), strict=True))
        for path, content in contents.items():
            if found[path] is not None:
                assert found[path] == (hashlib.sha256(content).hexdigest(), source.stat(root, path))
        for path in others:
            assert found[path] in (None, path == b"large" and source.read_hash(root, path))
        assert source.read_hashes(root, []) in ([], ())

    def test_4_small_files_that_grow_while_they_are_read(
        self, source: FileSource, root: bytes
    ) -> None:
        write(root + b"/file", b"")
        stop = threading.Event()

        def grow() -> None:
            with open(root + b"/file", "ab", buffering=0) as file:
                while not stop.is_set():
                    file.write(b"x")
                    if file.tell() > 4000:
                        file.truncate(0)

        writer = threading.Thread(target=grow)
        writer.start()
        try:
            for _ in range(50):
                for found in source.read_hashes(root, [b"file"] * 20):
                    if found is not None:
                        content = b"x" * found[1].size
                        assert found[0] == hashlib.sha256(content).hexdigest()
        finally:
            stop.set()
            writer.join()

    @pytest.mark.parametrize("change", ["append", "truncate", "touch", "overwrite"])
    @pytest.mark.parametrize("size", [1000, 3 << 20])
    def test_4_a_file_that_changes_while_it_is_read(
        self,
        source: FileSource,
        root: bytes,
        monkeypatch: pytest.MonkeyPatch,
        change: str,
        size: int,
    ) -> None:
        path = root + b"/file"
        write(path, bytes(size))
        os.utime(path, ns=(1, 1))
        real = hashlib.sha256

        def while_reading(data: bytes = b"") -> object:
            if change == "append":
                with open(path, "ab") as file:
                    file.write(b"more")
            elif change == "truncate":
                os.truncate(path, size // 2)
            elif change == "touch":
                os.utime(path, ns=(2, 2))
            else:
                with open(path, "r+b") as file:
                    file.write(b"other")
            return real(data)

        monkeypatch.setattr(hashlib, "sha256", while_reading)
        with pytest.raises(FileChangedError, match="file"):
            source.read_hash(root, b"file")
