"""Files as the engine knows them: a location is a path, a version is its content at one time.

Paths are bytes below their source root, joined by `/`; nothing folds their case or Unicode form.
Times are integers: microseconds since the epoch (`*_us`), or nanoseconds where the
file system gives them (`*_ns`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

DEFAULT_IGNORED_SUFFIXES = (".tmp", ".part", ".crdownload", "~")
SECOND_NS = 1_000_000_000
RECENT_NS = 2 * SECOND_NS
REHASH_AFTER_US = 7 * 24 * 3600 * 1_000_000
SCANS_UNTIL_DELETED = 2


class StatIdentity(NamedTuple):
    """What `stat` says of a file's content; equal identities let hashing be skipped."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int


@dataclass(frozen=True, slots=True)
class SourceRoot:
    """A watched directory. `path` is absolute; `id` is the database's."""

    id: int
    path: bytes


@dataclass(frozen=True, slots=True)
class FileLocation:
    """A persistent path within a source root, with what the last scan saw there."""

    id: int
    source_root_id: int
    path: bytes
    identity: StatIdentity | None
    content_hash: str | None
    current_version_id: int | None
    versions: int
    hashed_at_us: int
    missed_scans: int = 0
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class FileVersion:
    """An immutable snapshot: this content was at this location from `seen_at_us` on.

    `ordinal` counts the versions of one location from 1. A, then B, then A again are three.
    """

    id: int
    location_id: int
    ordinal: int
    content_hash: str
    size: int
    seen_at_us: int
    identity: StatIdentity


@dataclass(frozen=True, slots=True)
class FileHashRegistry:
    """One content, wherever it was seen: its SHA-256, size and first sighting."""

    content_hash: str
    size: int
    first_seen_us: int


class ScanCase(StrEnum):
    """What a scan makes of one file, before any hashing."""

    IGNORED = "ignored"
    SETTLING = "settling"
    UNCHANGED = "unchanged"
    HASH = "hash"


@dataclass(frozen=True, slots=True)
class ScanRules:
    """When a file is looked at, and when its hash may be taken as known.

    `settle_ns`: mtime and ctime must both be older than this.
    """

    settle_ns: int = 2 * SECOND_NS
    ignored_suffixes: tuple[str, ...] = DEFAULT_IGNORED_SUFFIXES

    def ignores(self, path: bytes) -> bool:
        name = path.rsplit(b"/", 1)[-1]
        return name.endswith(tuple(s.encode() for s in self.ignored_suffixes))

    def settled_in_ns(self, identity: StatIdentity, now_ns: int) -> int:
        """Nanoseconds until both timestamps are older than the settle time; 0 when they are."""
        youngest = max(identity.mtime_ns, identity.ctime_ns)
        return max(0, youngest + self.settle_ns - now_ns)

    def judge(self, identity: StatIdentity, known: FileLocation | None, now_ns: int) -> ScanCase:
        """Decide on one regular file that is not ignored.

        A file changed shortly before it was last hashed is hashed again, since a second
        write within a timestamp's grain, or through mmap, may leave every timestamp alone;
        and each file is hashed again once a week.
        """
        if known is not None and not known.deleted and known.identity == identity:
            changed_ns = max(identity.mtime_ns, identity.ctime_ns)
            recent = changed_ns + RECENT_NS > known.hashed_at_us * 1000
            stale = known.hashed_at_us + REHASH_AFTER_US < now_ns // 1000
            if not recent and not stale:
                return ScanCase.UNCHANGED
        if self.settled_in_ns(identity, now_ns) > 0:
            return ScanCase.SETTLING
        return ScanCase.HASH


@dataclass(frozen=True, slots=True)
class Sighting:
    """One file hashed by a scan: what the catalog turns into a version, or a refreshed stat."""

    path: bytes
    identity: StatIdentity
    content_hash: str


@dataclass(slots=True)
class ScanReport:
    """Counts of one scan. `complete` is false when a directory could not be listed."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    deferred: int = 0
    deleted: int = 0
    unreadable: int = 0
    complete: bool = True
    deferred_paths: dict[bytes, str] = field(default_factory=dict)
    errors: dict[bytes, str] = field(default_factory=dict)

    def counts(self) -> Mapping[str, int]:
        names = ("new", "changed", "unchanged", "deferred", "deleted", "unreadable")
        return {name: getattr(self, name) for name in names}

    def add(self, other: ScanReport) -> None:
        for name, value in other.counts().items():
            setattr(self, name, getattr(self, name) + value)
        self.complete = self.complete and other.complete
        self.deferred_paths.update(other.deferred_paths)
        self.errors.update(other.errors)


def path_text(path: bytes) -> str:
    """A path as text; bytes that are not UTF-8 survive as lone surrogates."""
    return path.decode("utf-8", "surrogateescape")


def path_bytes(text: str) -> bytes:
    """The inverse of `path_text`."""
    return text.encode("utf-8", "surrogateescape")
