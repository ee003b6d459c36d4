"""Files as the engine knows them: a location is a path, a version is its content at one time.

Paths are bytes below their source root, joined by `/`; nothing folds their case or Unicode form.
Times are integers: microseconds since the epoch (`*_us`), or nanoseconds where the
file system gives them (`*_ns`).
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

DEFAULT_IGNORED_SUFFIXES = (".tmp", ".part", ".crdownload", "~")
SECOND_NS = 1_000_000_000
RECENT_NS = 2 * SECOND_NS
DAY_S = 24 * 3600
DAY_US = DAY_S * 1_000_000
REHASH_AFTER_US = 7 * DAY_US
SCANS_UNTIL_DELETED = 2
LISTED_AT_MOST = 10_000


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


class FileLocation(NamedTuple):
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
        return path.endswith(_encoded(self.ignored_suffixes))

    def settled_in_ns(
        self, identity: StatIdentity, now_ns: int, unchanged_since_ns: int | None = None
    ) -> int:
        """Nanoseconds until the file may be taken as settled; 0 when it is.

        It is settled when both timestamps are older than the settle time. A timestamp in the
        future (a producer's clock, a server's clock) says nothing of the file's age: such a
        file is settled when its identity was met unchanged for the settle time, that is since
        `unchanged_since_ns` (None: it is met for the first time).
        """
        youngest = max(identity.mtime_ns, identity.ctime_ns)
        by_timestamps = youngest + self.settle_ns - now_ns
        if by_timestamps <= 0:
            return 0
        if not self.in_future(identity, now_ns) and unchanged_since_ns is None:
            return by_timestamps
        since = now_ns if unchanged_since_ns is None else unchanged_since_ns
        return min(by_timestamps, max(0, since + self.settle_ns - now_ns))

    @staticmethod
    def in_future(identity: StatIdentity, now_ns: int) -> bool:
        return max(identity.mtime_ns, identity.ctime_ns) > now_ns

    def judge(
        self,
        identity: StatIdentity,
        known: FileLocation | None,
        now_ns: int,
        unchanged_since_ns: int | None = None,
    ) -> ScanCase:
        """Decide on one regular file that is not ignored.

        A file changed shortly before it was last hashed is hashed again, since a second
        write within a timestamp's grain, or through mmap, may leave every timestamp alone;
        and each file is hashed again once a week.
        """
        if known is not None and not known.deleted and known.identity == identity:
            # Either of them: an mtime far from now says nothing of when the file was written.
            recent = any(
                abs(known.hashed_at_us * 1000 - changed_ns) < RECENT_NS
                for changed_ns in (identity.mtime_ns, identity.ctime_ns)
            )
            if not recent and not _rehash_due(known, now_ns // 1000):
                return ScanCase.UNCHANGED
        if self.settled_in_ns(identity, now_ns, unchanged_since_ns) > 0:
            return ScanCase.SETTLING
        return ScanCase.HASH


@lru_cache(maxsize=16)
def _encoded(suffixes: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(path_bytes(suffix) for suffix in suffixes)


def _rehash_due(known: FileLocation, now_us: int) -> bool:
    """True once a week, up to a day early by path, so that files first met together are
    not all read again in one scan. A time of hashing in the future is of a clock that was wrong
    then: nobody knows how long ago it was."""
    age_us = now_us - known.hashed_at_us
    if age_us < -DAY_US:
        return True
    if age_us < REHASH_AFTER_US - DAY_US:
        return False
    return now_us >= rehash_due_us(known)


def rehash_due_us(known: FileLocation) -> int:
    """When a file that does not change is hashed again, by a clock that was right when it was
    hashed."""
    return known.hashed_at_us + REHASH_AFTER_US - crc32(known.path) % DAY_S * 1_000_000


class Sighting(NamedTuple):
    """One file hashed by a scan: what the catalog turns into a version, or a refreshed stat."""

    path: bytes
    identity: StatIdentity
    content_hash: str


@dataclass(slots=True)
class ScanReport:
    """Counts of one scan. `complete` is false when something in the root could not be met.

    `jobs` is how many jobs were enqueued. `look_again_us` says when each deferred file may be
    settled, `next_look_us` is the earliest of these times. Of deferred files, of errors and of
    files that wait for their done marker, each LISTED_AT_MOST are listed by path, and all are
    counted.
    """

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    deferred: int = 0
    deleted: int = 0
    unreadable: int = 0
    waiting: int = 0
    complete: bool = True
    deferred_paths: dict[bytes, str] = field(default_factory=dict)
    errors: dict[bytes, str] = field(default_factory=dict)
    waiting_paths: dict[bytes, str] = field(default_factory=dict)
    jobs: int = 0
    look_again_us: dict[bytes, int] = field(default_factory=dict)
    next_look_us: int | None = None

    def counts(self) -> Mapping[str, int]:
        names = ("new", "changed", "unchanged", "deferred", "deleted", "unreadable", "waiting")
        return {name: getattr(self, name) for name in names}

    def defer(self, path: bytes, reason: str, look_again_us: int) -> None:
        self.deferred += 1
        if self.next_look_us is None or look_again_us < self.next_look_us:
            self.next_look_us = look_again_us
        if len(self.deferred_paths) < LISTED_AT_MOST:
            self.deferred_paths[path] = reason
            self.look_again_us[path] = look_again_us

    def wait(self, path: bytes, reason: str) -> None:
        """Count what is no input yet, since its done marker does not stand."""
        self.waiting += 1
        if len(self.waiting_paths) < LISTED_AT_MOST:
            self.waiting_paths[path] = reason

    def fail(self, path: bytes, error: str) -> None:
        """Count what could not be read."""
        self.unreadable += 1
        if len(self.errors) < LISTED_AT_MOST:
            self.errors[path] = error

    def add(self, other: ScanReport) -> None:
        for name, value in other.counts().items():
            setattr(self, name, getattr(self, name) + value)
        self.complete = self.complete and other.complete
        self.jobs += other.jobs
        self.deferred_paths.update(other.deferred_paths)
        self.look_again_us.update(other.look_again_us)
        self.errors.update(other.errors)
        self.waiting_paths.update(other.waiting_paths)
        times = (t for t in (self.next_look_us, other.next_look_us) if t is not None)
        self.next_look_us = min(times, default=None)


def path_text(path: bytes) -> str:
    """A path as text; bytes that are not UTF-8 survive as lone surrogates."""
    return path.decode("utf-8", "surrogateescape")


def path_bytes(text: str) -> bytes:
    """The inverse of `path_text`."""
    return text.encode("utf-8", "surrogateescape")
