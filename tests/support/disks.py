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
    """A file system below `path` whose content is in one image."""

    def __init__(self, path: Path, image: Path) -> None:
        self.path, self._image = path, image

    @classmethod
    def made(cls, path: Path, kind: str) -> Disk:
        """Skips the test, with the reason, where a disk cannot be made or cut."""
        _need(kind)
        image = path.with_name(f"{path.name}.image")
        with image.open("wb") as file:
            file.truncate(SIZE)
        _run(f"mkfs.{kind}", "-q", str(image))
        path.mkdir()
        disk = cls(path, image)
        failed = disk._mount()
        if failed:
            pytest.skip(f"an image cannot be mounted here: {failed}")
        return disk

    def cut(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, NOT_EVEN_THE_LOG)
        finally:
            os.close(descriptor)

    def power_up(self) -> None:
        """Mount it again; nobody may have a file of it open."""
        self.unmount()
        failed = self._mount()
        assert not failed, failed

    def unmount(self) -> None:
        wait_for(lambda: _tried("umount", str(self.path)) is None, timeout=10)

    def _mount(self) -> str | None:
        return _tried("mount", "-o", "loop", str(self._image), str(self.path))


def cut(disks: Sequence[Disk]) -> None:
    """All of them at once, as far as one call after another is."""
    for disk in disks:
        disk.cut()


def _need(kind: str) -> None:
    for program in ("mount", f"mkfs.{kind}"):
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
