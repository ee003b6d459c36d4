"""Disks of a test's own, whose power can be cut: a file system in an image, mounted by a loop.

A cut is the file system's own shutdown: nothing that is not on the disk at that moment gets there
any more, its journal neither, and every call fails until it is mounted again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.project import wait_for

SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN."""
NOT_EVEN_THE_LOG = struct.pack("I", 2)
SIZE = 320 << 20
"""The least that mkfs.xfs makes is 300 MB; the image has holes."""


class Disk:
    """A file system below `path` whose content is in one image.

    The loop device is this disk's until its end: one that `mount` looks for itself goes with each
    unmount, and may be somebody else's when it is mounted again.
    """

    def __init__(self, path: Path, device: str) -> None:
        self.path, self._device = path, device

    @classmethod
    def made(cls, path: Path, kind: str) -> Disk:
        """Skips the test, with the reason, where a disk cannot be made or cut."""
        _need(kind)
        image = path.with_name(f"{path.name}.image")
        with image.open("wb") as file:
            file.truncate(SIZE)
        _run(f"mkfs.{kind}", "-q", str(image))
        path.mkdir()
        found = subprocess.run(
            ["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=False
        )
        if found.returncode:
            pytest.skip(f"there is no loop device: {found.stderr.strip()}")
        disk = cls(path, found.stdout.strip())
        failed = disk._mount()
        if failed:
            disk._detach()
            pytest.skip(f"an image cannot be mounted here: {failed}")
        return disk

    def cut(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, NOT_EVEN_THE_LOG)
        finally:
            os.close(descriptor)

    def turn_read_only(self) -> None:
        """As ext4 does by itself at an error in its own structures: with all files of it open.
        Only another mount takes that back."""
        failed = _tried("mount", "-o", "remount,errors=remount-ro", str(self.path))
        assert not failed, failed
        trigger = Path("/sys/fs/ext4") / Path(self._device).name / "trigger_fs_error"
        if not trigger.exists():
            pytest.skip(f"this kernel has no {trigger}")
        trigger.write_text("the test")

    def power_up(self) -> None:
        """Mount it again; nobody may have a file of it open."""
        self.unmount()
        self.mount()

    def mount(self) -> None:
        failed = self._mount()
        assert not failed, failed

    def unmount(self, lazily: bool = False) -> None:
        """Lazily: also while files of it are open, and for those later."""
        how = ["-l"] if lazily else []
        wait_for(lambda: _tried("umount", *how, str(self.path)) is None, timeout=10)

    def remove(self) -> None:
        if os.path.ismount(self.path):
            self.unmount()
        self._detach()

    def _detach(self) -> None:
        _run("losetup", "--detach", self._device)

    def _mount(self) -> str | None:
        return _tried("mount", self._device, str(self.path))


class SmallDisk:
    """A small file system in memory, to be filled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        if shutil.which("mount") is None:
            pytest.skip("there is no mount")
        failed = _tried("mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(path))
        if failed:
            pytest.skip(f"a small file system cannot be mounted here: {failed}")

    def fill(self, leaving: int = 0) -> None:
        room = os.statvfs(self.path)
        size = room.f_bavail * room.f_frsize - leaving
        with (self.path / "ballast").open("wb") as file:
            file.write(b"\0" * size)

    def make_room(self) -> None:
        (self.path / "ballast").unlink()

    def remount(self, how: str) -> None:
        """`ro` or `rw`."""
        failed = _tried("mount", "-o", f"remount,{how}", str(self.path))
        assert not failed, failed

    def remove(self) -> None:
        _run("umount", "-l", str(self.path))


def cut(disks: Sequence[Disk]) -> None:
    """All of them at once, as far as one call after another is."""
    for disk in disks:
        disk.cut()


def _need(kind: str) -> None:
    for program in ("losetup", f"mkfs.{kind}"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}")
    if os.geteuid() != 0:
        pytest.skip("only root can mount an image")
    if not os.path.exists("/dev/loop-control"):
        pytest.skip("there are no loop devices")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _tried(*command: str) -> str | None:
    """What went wrong."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip() or "it failed"
