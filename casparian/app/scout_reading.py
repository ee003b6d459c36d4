"""One file after the other: judged by its stat, read where it may have changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from casparian.adapters.files import Hashed, ParallelFileScanner
from casparian.app.scout_batches import BATCH_US, Batches
from casparian.app.scout_markers import lacks_marker
from casparian.app.scout_memory import remember
from casparian.app.scout_parts import ScoutParts
from casparian.app.scout_unpack import CLASH, Archives
from casparian.domain.files import (
    FileLocation,
    ScanCase,
    ScanReport,
    Sighting,
    SourceRoot,
    StatIdentity,
)
from casparian.domain.ports import FileChangedError
from casparian.domain.unpacking import Refused

REMEMBERED_LINKS = 65_536

NOT_SETTLED = "it changed too short a time ago to be taken as whole"
CHANGED_WHILE_READ = "it changed while it was read"


class Reading:
    """The files of one scan. What is found goes into `batches`, why something is not there into
    `report`. Files are read in threads, which end with the context."""

    def __init__(
        self,
        parts: ScoutParts,
        root: SourceRoot,
        report: ScanReport,
        batches: Batches,
        archives: Archives,
    ) -> None:
        self._parts, self._root = parts, root
        self._report, self._batches, self._archives = report, batches, archives
        self._root_rules = parts.rules_of(root)
        self._rules = self._root_rules.scan
        self._unpacks = self._root_rules.unpack is not None
        self._files = ParallelFileScanner(parts.source, root.path)
        self._hashing: dict[StatIdentity, list[bytes]] = {}
        self._hashed: OrderedDict[StatIdentity, str] = OrderedDict()

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *raised: object) -> None:
        self._files.__exit__(*raised)

    def meet(
        self,
        path: bytes,
        identity: StatIdentity,
        known: FileLocation | None,
        linked: bool = True,
    ) -> ScanCase | None:
        """Look at one file. What was made of it; None where it is no file for the catalog."""
        if known is not None and known.missed_scans and not known.deleted:
            self._batches.seen_again(known.id)
        if self._root_rules.left_out(path) is not None:
            return ScanCase.IGNORED
        archive = self._unpacks and self._archives.holds(path)
        if archive:
            self._archives.meet(path)
        elif self._unpacks and self._archives.clashes(path):
            self._report.fail(path, CLASH)
            return None
        rules = self._rules
        now_us = self._parts.clock()
        now_ns = now_us * 1000
        case = rules.judge(identity, known, now_ns)
        if case is ScanCase.SETTLING and rules.in_future(identity, now_ns):
            since = self._parts.futures.unchanged_since_ns((self._root.id, path), identity, now_ns)
            case = rules.judge(identity, known, now_ns, since)
        if case is ScanCase.UNCHANGED and archive and self._archives.never_opened(path):
            case = ScanCase.HASH
        if case is ScanCase.UNCHANGED:
            self._report.unchanged += 1
        elif case is ScanCase.SETTLING:
            self._defer(path, identity, NOT_SETTLED)
        elif case is ScanCase.HASH:
            taken = known is not None and not known.deleted and known.identity == identity
            if not taken and not self._is_done(path, identity):
                pass
            elif archive:
                self._open(path, identity)
            else:
                self._hash(path, identity, linked)
        self._batches.flush_if_due(now_us)
        return case

    def _is_done(self, path: bytes, identity: StatIdentity) -> bool:
        """Whether the file's marker stands, where the root wants one."""
        lacks = self._root_rules.done and lacks_marker(
            self._parts.source, self._root, self._root_rules.done, path, identity
        )
        if lacks:
            self._report.wait(path, lacks)
        return not lacks

    def _open(self, path: bytes, identity: StatIdentity) -> None:
        """An archive: its members first, so that it is known only when they are."""
        try:
            sightings = self._archives.expand(path, identity)
        except Refused as error:
            self._report.fail(path, f"refused: {error}")
        except FileChangedError:
            self._defer(path, None, CHANGED_WHILE_READ)
        except FileNotFoundError:
            return
        except OSError as error:
            self._report.fail(path, describe(error))
        else:
            if sightings[-1].identity != identity:
                self._defer(path, sightings[-1].identity, CHANGED_WHILE_READ)
                return
            self._report.deleted += self._archives.end_removed(path, sightings)
            self._batches.extend(s for s in sightings if not self._is_too_long(s.path))

    def open_again(self) -> None:
        """Archives of members that were forgotten."""
        for path in sorted(self._archives.forgotten):
            try:
                identity = self._parts.source.stat(self._root.path, path)
            except OSError:
                # The next walk tells.
                continue
            self._open(path, identity)
            self._batches.flush_if_due(self._parts.clock())

    def _hash(self, path: bytes, identity: StatIdentity, linked: bool) -> None:
        """Another name of a file that this scan has read, or is reading, is not read again."""
        if self._is_too_long(path):
            return
        if linked:
            content_hash = self._hashed.get(identity)
            if content_hash is not None:
                self._batches.add(Sighting(path, identity, content_hash))
                return
            if identity in self._hashing:
                self._hashing[identity].append(path)
                return
            self._hashing[identity] = []
        self._files.submit(path, identity)
        while self._files.full:
            self._take(self._files.collect(timeout_s=BATCH_US / 1e6))

    def _is_too_long(self, path: bytes) -> bool:
        most: int | None = getattr(self._parts.catalog, "longest_path", None)
        if most is None or len(path) <= most:
            return False
        self._report.fail(
            path,
            f"its path has {len(path)} bytes, and the queue's database keeps {most}: give it a "
            "shorter one",
        )
        return True

    def _take(self, results: Iterable[Hashed]) -> None:
        for hashed in results:
            path, met, identity, content_hash, _ = hashed
            taken = self._may_take(hashed)
            if taken and identity is not None:
                self._parts.futures.forget((self._root.id, path))
                self._batches.add(Sighting(path, identity, content_hash))
            if met in self._hashing:
                self._take_links(hashed, taken)
        self._batches.look()
        self._batches.flush_if_due(self._parts.clock())

    def _may_take(self, hashed: Hashed) -> bool:
        """Whether what was read is to be recorded; where it is not, the report says why."""
        path, met, identity, _, error = hashed
        if identity == met:
            return True
        if identity is not None:
            # A change between walk and read may have brought content that is not settled.
            if self._rules.settled_in_ns(identity, self._parts.clock() * 1000):
                self._defer(path, identity, CHANGED_WHILE_READ)
                return False
            return self._is_done(path, identity)
        if isinstance(error, FileChangedError):
            self._defer(path, None, CHANGED_WHILE_READ)
        elif error is not None and not isinstance(error, FileNotFoundError):
            self._report.fail(path, describe(error))
        return False

    def _take_links(self, hashed: Hashed, taken: bool) -> None:
        """Other names of a file that was read: those met so far, and those to come."""
        if taken and hashed.identity is not None:
            remember(self._hashed, hashed.identity, hashed.content_hash, REMEMBERED_LINKS)
        for path in self._hashing.pop(hashed.met):
            if hashed.identity == hashed.met:
                self._batches.add(Sighting(path, hashed.met, hashed.content_hash))
            else:
                self._defer(path, None, CHANGED_WHILE_READ)

    def _defer(self, path: bytes, identity: StatIdentity | None, reason: str) -> None:
        rules = self._rules
        now_us = self._parts.clock()
        wait_ns = rules.settle_ns
        if identity is not None:
            since = self._since(path, identity, now_us * 1000)
            wait_ns = rules.settled_in_ns(identity, now_us * 1000, since)
        # Rounded up: a look one nanosecond early would be in vain.
        self._report.defer(path, reason, now_us - (-wait_ns // 1000))

    def _since(self, path: bytes, identity: StatIdentity, now_ns: int) -> int | None:
        if not self._rules.in_future(identity, now_ns):
            return None
        return self._parts.futures.unchanged_since_ns((self._root.id, path), identity, now_ns)

    def finish(self) -> None:
        """Returns when all that was begun is read."""
        for results in self._files.finish(timeout_s=BATCH_US / 1e6):
            self._take(results)


def describe(error: OSError) -> str:
    return error.strerror or str(error)
