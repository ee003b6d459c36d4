"""Private files for jobs: a member of an archive, or what a compressed file holds.

The bytes are hashed while they are written, so that the plugin reads what its version says,
whatever `[worker] verify` asks for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from casparian.adapters.files.archive import VersionArchive
from casparian.adapters.files.unpacking import Unpacker
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.files import path_text
from casparian.domain.jobs import Claim
from casparian.domain.unpacking import (
    Refused,
    UnpackLimits,
    compression,
    split_member,
    unpacked_name,
)


class Unpacked:
    """`limits` by the path of each root that unpacks."""

    def __init__(self, limits: Mapping[bytes, UnpackLimits]) -> None:
        self._limits = limits
        self._unpacker = Unpacker()

    def name_of(self, claim: Claim) -> str | None:
        """What the private file of a job is called; None where the file itself is read."""
        if claim.root_path not in self._limits:
            return None
        if split_member(claim.path) is None and compression(claim.path) is None:
            return None
        return path_text(unpacked_name(claim.path))

    def write(self, claim: Claim, to: str) -> None:
        """Raises JobError (DATA, SOURCE_CHANGED), OSError, FileChangedError."""
        try:
            content_hash = self._write(claim, to)
        except Refused as error:
            raise _not_unpacked(claim, error) from error
        if content_hash != claim.content_hash:
            raise JobError(
                ErrorClass.SOURCE_CHANGED,
                f"{path_text(claim.source)} has the content {content_hash[:12]}, version "
                f"{claim.file_version_id} has {claim.content_hash[:12]}; the next scan records "
                "what it is now.",
            )

    def _write(self, claim: Claim, to: str) -> str:
        """The SHA-256 by which the version is known: of a member, or of a compressed file."""
        root, limits = claim.root_path, self._limits[claim.root_path]
        member = split_member(claim.path)
        if member is not None:
            return self._unpacker.extract(root, *member, limits, to)
        return self._decompress(claim, root, claim.path, to)

    def write_kept(self, claim: Claim, archive: VersionArchive, to: str) -> bool:
        """The same from the archive of versions; False where it does not have this one."""
        if self.name_of(claim) is None or compression(claim.path) is None:
            return archive.restore(claim.content_hash, to)
        compressed = to + ".compressed"
        if not archive.restore(claim.content_hash, compressed):
            return False
        directory, _, name = os.fsencode(compressed).rpartition(b"/")
        try:
            self._decompress(claim, directory, name, to)
        except Refused as error:
            raise _not_unpacked(claim, error) from error
        finally:
            os.unlink(compressed)
        return True

    def _decompress(self, claim: Claim, root: bytes, path: bytes, to: str) -> str:
        kind = compression(claim.path)
        assert kind is not None
        limits = self._limits[claim.root_path]
        return self._unpacker.decompress(root, path, kind, limits, to)[0]


def _not_unpacked(claim: Claim, error: Refused) -> JobError:
    return JobError(ErrorClass.DATA, f"{path_text(claim.source)} was not unpacked: {error}.")
