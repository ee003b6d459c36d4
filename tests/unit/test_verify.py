"""What a job reads is its version's content, as far as each mode of `verify` goes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from casparian.adapters.files import LocalFileSource
from casparian.app.verify import ContentCheck, Verify
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.jobs import Claim
from casparian.domain.ports import FileSource
from tests.support.router import claim

MODES: list[Verify] = ["stat", "hash", "snapshot"]
CONTENT = b"a,b\n1,2\n"


class World:
    """One file, and the claim of a job of the version that it is now."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "in"
        self.root.mkdir()
        self.file = self.root / "caf\udce9 1.csv"
        self.file.write_bytes(CONTENT)
        self.snapshots = directory / "run" / "snapshots"
        self.source: FileSource = LocalFileSource()

    def claim(self) -> Claim:
        root, path = os.fsencode(self.root), os.fsencode(self.file.name)
        return claim(7)._replace(
            root_path=root,
            path=path,
            content_hash=hashlib.sha256(self.file.read_bytes()).hexdigest(),
            identity=self.source.stat(root, path),
        )

    def check(self, mode: Verify) -> ContentCheck:
        return ContentCheck(self.source, mode, str(self.snapshots))

    def change_unseen(self) -> None:
        """Other bytes of the same size and times, in place."""
        before = self.file.stat()
        self.file.write_bytes(CONTENT.replace(b"1", b"9"))
        os.utime(self.file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def refusal(step: object, job: Claim) -> JobError:
    with pytest.raises(JobError) as caught:
        step(job)  # type: ignore[operator]
    return caught.value


@pytest.mark.parametrize("mode", MODES)
class TestEveryMode:
    def test_what_is_unchanged_is_read(self, world: World, mode: Verify) -> None:
        check = world.check(mode)
        prepared = check.prepare(world.claim())
        opened = Path(prepared.input_path or world.file)
        assert opened.read_bytes() == CONTENT
        check.confirm(prepared)
        check.release(prepared)

    def test_what_changed_before_is_not(self, world: World, mode: Verify) -> None:
        job = world.claim()
        world.file.write_bytes(CONTENT + b"3,4\n")
        error = refusal(world.check(mode).prepare, job)
        assert error.error_class is ErrorClass.SOURCE_CHANGED
        assert "size 8 became 12" in error.message
        assert f"version {job.file_version_id}" in error.message
        assert not list(world.snapshots.glob("*/*"))

    def test_what_is_gone_is_said_to_be(self, world: World, mode: Verify) -> None:
        job = world.claim()
        world.file.unlink()
        error = refusal(world.check(mode).prepare, job)
        assert error.error_class is ErrorClass.SOURCE_GONE
        assert "put it back under this name" in error.message

    def test_what_cannot_be_read_waits_for_the_operator(self, world: World, mode: Verify) -> None:
        job = world.claim()
        world.root.rename(world.root.with_name("elsewhere"))
        world.root.symlink_to(world.root)
        error = refusal(world.check(mode).prepare, job)
        assert error.error_class is ErrorClass.INFRASTRUCTURE
        assert "cannot be read" in error.message

    def test_a_directory_in_its_place_is_no_file(self, world: World, mode: Verify) -> None:
        job = world.claim()
        world.file.unlink()
        world.file.mkdir()
        error = refusal(world.check(mode).prepare, job)
        assert error.error_class in (ErrorClass.SOURCE_GONE, ErrorClass.SOURCE_CHANGED)


@pytest.mark.parametrize("mode", ["stat", "hash"])
class TestInPlace:
    def test_the_plugin_opens_the_file_itself(self, world: World, mode: Verify) -> None:
        assert world.check(mode).prepare(world.claim()).input_path == ""

    def test_what_changed_meanwhile_is_not_published(self, world: World, mode: Verify) -> None:
        check, job = world.check(mode), world.claim()
        check.prepare(job)
        world.file.write_bytes(b"other")
        assert refusal(check.confirm, job).error_class is ErrorClass.SOURCE_CHANGED

    def test_nor_what_was_replaced_by_the_same_content(self, world: World, mode: Verify) -> None:
        """Another file: nobody knows which of the two the plugin read."""
        check, job = world.check(mode), world.claim()
        check.prepare(job)
        other = world.root / "other"
        other.write_bytes(CONTENT)
        os.replace(other, world.file)
        assert refusal(check.confirm, job).error_class is ErrorClass.SOURCE_CHANGED

    def test_nor_what_is_gone(self, world: World, mode: Verify) -> None:
        check, job = world.check(mode), world.claim()
        check.prepare(job)
        world.file.unlink()
        assert refusal(check.confirm, job).error_class is ErrorClass.SOURCE_GONE


class TestHash:
    @pytest.mark.parametrize("mode", ["hash", "snapshot"])
    def test_other_bytes_under_the_same_stat_are_seen(self, world: World, mode: Verify) -> None:
        job = world.claim()
        world.change_unseen()
        job = job._replace(identity=world.source.stat(job.root_path, job.path))
        world.check("stat").prepare(job)
        error = refusal(world.check(mode).prepare, job)
        assert error.error_class is ErrorClass.SOURCE_CHANGED
        assert "although its stat is the same" in error.message
        assert not list(world.snapshots.glob("*"))

    def test_also_after_the_plugin_has_read(self, world: World) -> None:
        check, job = world.check("hash"), world.claim()
        check.prepare(job)
        world.change_unseen()
        job = job._replace(identity=world.source.stat(job.root_path, job.path))
        assert refusal(check.confirm, job).error_class is ErrorClass.SOURCE_CHANGED


class TestSnapshot:
    def test_is_private_and_keeps_the_name(self, world: World) -> None:
        prepared = world.check("snapshot").prepare(world.claim())
        copy = Path(prepared.input_path)
        assert copy.name == world.file.name
        assert copy.parent.stat().st_mode & 0o777 == 0o700
        assert copy.is_relative_to(world.snapshots)

    def test_does_not_care_what_becomes_of_the_file(self, world: World) -> None:
        check = world.check("snapshot")
        prepared = check.prepare(world.claim())
        world.file.unlink()
        assert Path(prepared.input_path).read_bytes() == CONTENT
        check.confirm(prepared)

    def test_is_removed_whatever_the_plugin_left_beside_it(self, world: World) -> None:
        check = world.check("snapshot")
        prepared = check.prepare(world.claim())
        copy = Path(prepared.input_path)
        (copy.parent / "index").mkdir()
        (copy.parent / "index" / "notes").write_text("left by a plugin")
        check.release(prepared)
        assert list(world.snapshots.iterdir()) == []
        check.release(prepared)

    def test_two_jobs_of_one_file_have_two(self, world: World) -> None:
        check = world.check("snapshot")
        one, two = check.prepare(world.claim()), check.prepare(world.claim())
        check.release(one)
        assert Path(two.input_path).read_bytes() == CONTENT
