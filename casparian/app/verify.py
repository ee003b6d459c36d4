"""What a plugin reads is what its file version says (I10), as strongly as `verify` asks."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import structlog

from casparian.adapters.files.archive import VersionArchive
from casparian.adapters.files.plain_access import directory_id, is_privileged, readable_plainly
from casparian.app.unpacked import Unpacked
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.files import StatIdentity, path_text
from casparian.domain.jobs import Claim
from casparian.domain.plugins import DirectoryId, LivePlugin
from casparian.domain.ports import FileChangedError, FileSource

Verify = Literal["stat", "hash", "snapshot"]
Roots: TypeAlias = Mapping[bytes, DirectoryId | None]
NO_ROOTS: Roots = {}

log = structlog.get_logger("casparian.worker")


class ContentCheck:
    """`prepare` before a job runs, `confirm` before it is decided, `release` when it is over.

    stat: size, times, inode and device are the version's, before and after. hash: the SHA-256
    too, before and after. snapshot: the plugin reads a private copy that was hashed while it
    was made. So it does, in every mode, of what was unpacked for it, of what the `archive` of
    versions has where the file is gone or another, and, where plugins are `sandboxed`, of what a
    sidecar could not open in its place.
    """

    def __init__(
        self,
        source: FileSource,
        verify: Verify,
        directory: str,
        unpacked: Unpacked | None = None,
        archive: VersionArchive | None = None,
        sandboxed: bool = False,
    ) -> None:
        self._source = source
        self._sandboxed = sandboxed
        self._archive = archive
        self._unpacked = unpacked or Unpacked({})
        self._verify = verify
        self._directory = directory

    def sweep(self, is_alive: Callable[[str], bool]) -> None:
        """Remove the copies of processes that are gone; each has a directory named after it."""
        home = os.path.dirname(self._directory)
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(home):
                if not is_alive(name):
                    shutil.rmtree(os.path.join(home, name), ignore_errors=True)

    def readable(self, plugin: LivePlugin) -> tuple[str, ...]:
        """The directories in which a sidecar of the plugin finds its input: its copies, and the
        source roots, unless there is a copy of everything."""
        if not self._sandboxed:
            return ()
        copies = self._copies_of(plugin.name)
        os.makedirs(copies, mode=0o700, exist_ok=True)
        roots = () if self._verify == "snapshot" else plugin.roots
        return (copies, *(os.fsdecode(root) for root in roots))

    def _copies_of(self, plugin: str) -> str:
        """A sidecar is shown the copies of its plugin alone."""
        return os.path.join(self._directory, plugin) if self._sandboxed else self._directory

    def close(self) -> None:
        """Remove the directories that are empty, as they are when nothing runs."""
        with contextlib.suppress(OSError):
            for name in os.listdir(self._directory):
                os.rmdir(os.path.join(self._directory, name))
            os.rmdir(self._directory)

    def prepare(self, claim: Claim, roots: Roots = NO_ROOTS) -> Claim:
        """The claim, with the path to be opened where that is a copy. `roots`: those that a
        sidecar reads, where it is sandboxed.

        Raises JobError (SOURCE_GONE, SOURCE_CHANGED, DATA) when the version's bytes are neither in
        their place nor archived, (INFRASTRUCTURE) when they cannot be read for another reason.
        """
        try:
            return self._from_its_place(claim, roots)
        except JobError as error:
            kept = error.error_class is not ErrorClass.INFRASTRUCTURE and self._from_archive(claim)
            if not kept:
                raise
            log.info("reading the archived bytes", job=claim.job_id, reason=error.message)
            return kept

    def look(self, claim: Claim, current: bool) -> None:
        """Raise JobError as `prepare` would, by what can be told without reading the bytes.

        `current`: the claim's version is what the last scan found in its place.
        """
        try:
            if not current:
                raise JobError(
                    ErrorClass.SOURCE_GONE,
                    f"{path_text(claim.source)} no longer has the content of version "
                    f"{claim.file_version_id}, and [archive] has not kept it.",
                )
            with _translated(claim):
                if self._unpacked.name_of(claim) is None:
                    self._check_stat(claim, self._source.stat(claim.root_path, claim.path))
        except JobError:
            if self._archive is None or not self._archive.has(claim.content_hash):
                raise

    def _from_archive(self, claim: Claim) -> Claim | None:
        if self._archive is None:
            return None
        archive, found = self._archive, False

        def write(claim: Claim, to: str) -> None:
            nonlocal found
            found = self._unpacked.write_kept(claim, archive, to)

        with _translated(claim):
            name = self._unpacked.name_of(claim) or _last_name(claim)
            prepared = self._private(claim, name, write)
        if not found:
            self.release(prepared)
            return None
        return prepared

    def _from_its_place(self, claim: Claim, roots: Roots) -> Claim:
        with _translated(claim):
            name = self._unpacked.name_of(claim)
            if name is not None:
                return self._private(claim, name, self._unpacked.write)
            self._check_stat(claim, self._source.stat(claim.root_path, claim.path))
            if self._verify == "hash":
                self._check_hash(claim, *self._source.read_hash(claim.root_path, claim.path))
            if self._verify == "snapshot" or self._out_of_reach(claim, roots):
                # The plugin may look at the name's ending, so the copy keeps the name.
                return self._private(claim, _last_name(claim), self._snapshot)
        return claim

    def _out_of_reach(self, claim: Claim, roots: Roots) -> bool:
        """Of a root, or a directory there, that its sidecar was not started with; or only root's
        to read."""
        if not self._sandboxed:
            return False
        root = claim.root_path
        if root not in roots or roots[root] is None or roots[root] != directory_id(root):
            return True
        return is_privileged() and not readable_plainly(claim.source)

    def _private(self, claim: Claim, name: str, write: Callable[[Claim, str], None]) -> Claim:
        copies = self._copies_of(claim.plugin)
        os.makedirs(copies, mode=0o700, exist_ok=True)
        place = tempfile.mkdtemp(prefix=f"job-{claim.job_id}-", dir=copies)
        claim = claim._replace(input_path=os.path.join(place, name))
        try:
            write(claim, claim.input_path)
        except BaseException:
            self.release(claim)
            raise
        return claim

    def _snapshot(self, claim: Claim, to: str) -> None:
        self._check_hash(claim, *self._source.snapshot(claim.root_path, claim.path, to))

    def confirm(self, claim: Claim) -> None:
        """Raise JobError unless the version's bytes still were there while the plugin read."""
        if claim.input_path:
            return
        with _translated(claim):
            self._check_stat(claim, self._source.stat(claim.root_path, claim.path))
            if self._verify == "hash":
                self._check_hash(claim, *self._source.read_hash(claim.root_path, claim.path))

    def release(self, claim: Claim) -> None:
        """Remove the copy, if there is one, with what the plugin may have put beside it."""
        if claim.input_path:
            try:
                shutil.rmtree(os.path.dirname(claim.input_path))
            except FileNotFoundError:
                return
            except OSError as error:
                # A job does not depend on it: it is over already.
                log.warning("snapshot not removed", job=claim.job_id, error=str(error))

    def _check_stat(self, claim: Claim, identity: StatIdentity) -> None:
        if identity != claim.identity:
            raise JobError(
                ErrorClass.SOURCE_CHANGED,
                f"{path_text(claim.source)} is no longer what version "
                f"{claim.file_version_id} was ({_difference(claim.identity, identity)}); "
                "the next scan records what it is now.",
            )

    def _check_hash(self, claim: Claim, content_hash: str, identity: StatIdentity) -> None:
        self._check_stat(claim, identity)
        if content_hash != claim.content_hash:
            raise JobError(
                ErrorClass.SOURCE_CHANGED,
                f"{path_text(claim.source)} has the content {content_hash[:12]}, version "
                f"{claim.file_version_id} has {claim.content_hash[:12]}, although its stat is "
                "the same; the next scan records what it is now.",
            )


def _last_name(claim: Claim) -> str:
    return path_text(claim.path).rsplit("/", 1)[-1]


class _translated(contextlib.AbstractContextManager[None]):
    """File errors as the job's."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        name = path_text(self._claim.source)
        match error:
            case FileChangedError():
                raise JobError(
                    ErrorClass.SOURCE_CHANGED, f"{name} changed while it was read."
                ) from error
            case FileNotFoundError() | NotADirectoryError() | IsADirectoryError():
                raise JobError(
                    ErrorClass.SOURCE_GONE,
                    f"{name} is gone, and with it the content of version "
                    f"{self._claim.file_version_id}; put it back under this name and retry.",
                ) from error
            case OSError():
                raise JobError(
                    ErrorClass.INFRASTRUCTURE, f"{name} cannot be read: {error}"
                ) from error


def _difference(old: StatIdentity, new: StatIdentity) -> str:
    return ", ".join(
        f"{name} {before} became {after}"
        for name, before, after in zip(StatIdentity._fields, old, new, strict=True)
        if before != after
    )
