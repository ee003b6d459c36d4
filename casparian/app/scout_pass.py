"""One pass over a source root: walk, compare with the catalog, hash what may have changed, record.

The walk and the catalog's locations are both in byte order, so they are joined as they come:
neither is held whole. Files that are as the last scan found them are not compared one by one
(`scout_quiet`). What was recorded stays recorded, whatever ends the scan.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from casparian.adapters.files import Hashed, ParallelFileScanner
from casparian.adapters.files.archive import VersionArchive
from casparian.app.scout_markers import lacks_marker
from casparian.app.scout_memory import ArchiveMemory, FutureStamps, remember
from casparian.app.scout_missing import Missing
from casparian.app.scout_quiet import Alongside, Compared, QuietRuns, directories_above
from casparian.app.scout_recording import Recording
from casparian.app.scout_unpack import CLASH, Archives
from casparian.domain.files import (
    FileLocation,
    ScanCase,
    ScanReport,
    ScanRules,
    Sighting,
    SourceRoot,
    StatIdentity,
)
from casparian.domain.ports import (
    Clock,
    FileCatalog,
    FileChangedError,
    FileEntry,
    FileRun,
    FileSource,
    RecordOutcome,
    WalkError,
)
from casparian.domain.roots import RootRules
from casparian.domain.routing import RoutingTable
from casparian.domain.unpacking import Refused

# The first batch is small: its jobs can begin while the scan goes on. A large scan's grow to a
# twentieth of it: else each file had a page of the index of hashes written for it alone.
FIRST_BATCH, BATCH, LARGEST_BATCH = 250, 10_000, 50_000
GROWTH = 20
MISSED_TOGETHER = 500
BATCH_US = 1_000_000
REMEMBERED_LINKS = 65_536

NOT_SETTLED = "it changed too short a time ago to be taken as whole"
CHANGED_WHILE_READ = "it changed while it was read"


@dataclass(frozen=True, slots=True)
class ScoutParts:
    """What every pass works with."""

    catalog: FileCatalog
    source: FileSource
    rules: ScanRules
    clock: Clock
    routing: Callable[[], RoutingTable]
    roots: Mapping[bytes, RootRules] = field(default_factory=dict)
    keep: VersionArchive | None = None
    futures: FutureStamps = field(default_factory=FutureStamps)
    archives: ArchiveMemory = field(default_factory=ArchiveMemory)
    quiet: QuietRuns = field(default_factory=QuietRuns)

    def rules_of(self, root: SourceRoot) -> RootRules:
        return self.roots.get(root.path) or RootRules(self.rules)


class ScanPass:
    """The state of one scan or look; used once."""

    def __init__(
        self,
        parts: ScoutParts,
        root: SourceRoot,
        stopped: Callable[[], bool],
        on_progress: Callable[[ScanReport], None],
    ) -> None:
        self._parts, self._root = parts, root
        self._root_rules = parts.rules_of(root)
        self._rules = self._root_rules.scan
        self._unpacks = self._root_rules.unpack is not None
        self._archives = Archives(parts.archives, parts.catalog, root, self._root_rules, parts.keep)
        self._stopped, self._on_progress = stopped, on_progress
        self._report = ScanReport()
        self._sightings: list[Sighting] = []
        self._seen: list[int] = []
        self._batch, self._recorded = min(FIRST_BATCH, BATCH), 0
        self._recording = Recording(parts.catalog, root, parts.routing, self._count)
        self._began_us = self._flushed_us = parts.clock()
        self._hashing: dict[StatIdentity, list[bytes]] = {}
        self._hashed: OrderedDict[StatIdentity, str] = OrderedDict()
        self._missing = Missing()
        self._interrupted = False

    # --- what is looked at ---------------------------------------------------------------

    def whole(self) -> ScanReport:
        before = self._root_identity()
        with self._files() as files, self._recording:
            self._join_all(files)
            self._finish(files)
        after = self._root_identity()
        if before is None or after is None or not same_file(before, after):
            # What the walk met was not one directory from its start to its end.
            self._report.complete = False
        elif not self._interrupted:
            self._miss(after.device)
        return self._report

    def only(self, paths: Iterable[bytes]) -> ScanReport:
        chosen = [self._meant(path) for path in without_nested(paths)]
        if b"" not in chosen:
            self._parts.quiet.looked_at(self._root.id, chosen)
        with self._files() as files, self._recording:
            for path in chosen:
                if self._must_stop():
                    break
                self._one(files, path)
            self._finish(files)
        return self._report

    def _files(self) -> ParallelFileScanner:
        return ParallelFileScanner(self._parts.source, self._root.path)

    def _meant(self, path: bytes) -> bytes:
        """The file that is looked at: for a done marker the one that it is about."""
        done = self._root_rules.done
        return done.about(path) if path and done is not None and done.is_marker(path) else path

    def _one(self, files: ParallelFileScanner, path: bytes) -> None:
        if not path:
            self._join_all(files)
            return
        try:
            identity = self._parts.source.stat(self._root.path, path)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            self._join(files, path)
        except OSError as error:
            self._report.fail(path, describe(error))
        else:
            known = self._parts.catalog.find(self._root.id, path)
            self._meet(files, path, identity, known)

    def _join_all(self, files: ParallelFileScanner) -> None:
        """Walk the root, with the catalog's locations alongside where it is not quiet."""
        parts, root_id = self._parts, self._root.id
        quiet = parts.quiet.of(root_id, parts.catalog.disturbances(root_id), self._began_us)
        rows = Alongside(parts.catalog, root_id)
        for run in parts.source.runs(self._root.path):
            if isinstance(run, WalkError):
                self._report.complete = False
                self._report.fail(run.path, run.error)
                continue
            rows.skip_to(run.begin)
            known = quiet.find(run)
            if known is not None:
                self._report.unchanged += known.unchanged
                self._missing.met_again(known.device)
                self._flush_if_due(self._parts.clock())
                if not self._must_stop():
                    continue
            compared = Compared()
            if not self._compare(files, run, rows, compared):
                return
            if not self._unpacks:
                quiet.keep(run, compared)
        self._open_again()

    def _compare(
        self, files: ParallelFileScanner, run: FileRun, rows: Alongside, compared: Compared
    ) -> bool:
        """Hold a run against the catalog; False when the scan is to end."""
        for entry in run.files:
            if self._must_stop():
                return False
            known = None
            if rows.reaches(entry.path):
                self._miss_up_to(entry.path, rows, compared)
                known = rows.take(entry.path)
            case = self._meet_entry(files, entry, known)
            if compared.calm:
                compared.add(case, entry.identity, known)
        self._miss_up_to(run.end, rows, compared)
        return True

    def _miss_up_to(self, path: bytes | None, rows: Alongside, compared: Compared) -> None:
        """Note what the catalog has before `path` (None: all that is left) as missing."""
        for known in rows.before(path):
            compared.calm = compared.calm and known.deleted
            self._miss_one(known)

    def _join(self, files: ParallelFileScanner, below: bytes) -> None:
        """Walk below a directory, with the catalog's locations alongside."""
        locations = self._parts.catalog.locations(self._root.id, below)
        known = next(locations, None)
        for entry in self._parts.source.walk(self._root.path, below):
            if self._must_stop():
                return
            if isinstance(entry, WalkError):
                self._report.complete = False
                self._report.fail(entry.path, entry.error)
                known = self._miss_before(locations, known, below_of(entry.path))
                known = skip_below(locations, known, entry.path)
                continue
            known = self._miss_before(locations, known, entry.path)
            if known is not None and known.path == entry.path:
                self._meet_entry(files, entry, known)
                known = next(locations, None)
            else:
                self._meet_entry(files, entry, None)
        while known is not None:
            self._miss_one(known)
            known = next(locations, None)
        self._open_again()

    def _miss_one(self, known: FileLocation) -> None:
        if not (self._unpacks and self._archives.stands(known)):
            self._missing.add(known)

    def _miss_before(
        self, locations: Iterator[FileLocation], known: FileLocation | None, path: bytes
    ) -> FileLocation | None:
        """Note what the catalog has before `path` as missing; the first that is not before."""
        while known is not None and known.path < path:
            self._miss_one(known)
            known = next(locations, None)
        return known

    # --- one file ------------------------------------------------------------------------

    def _meet_entry(
        self, files: ParallelFileScanner, entry: FileEntry, known: FileLocation | None
    ) -> ScanCase | None:
        if entry.identity is None:
            self._report.fail(entry.path, entry.error or "it could not be examined")
            return None
        self._missing.met(entry.identity, known)
        return self._meet(files, entry.path, entry.identity, known, entry.linked)

    def _meet(
        self,
        files: ParallelFileScanner,
        path: bytes,
        identity: StatIdentity,
        known: FileLocation | None,
        linked: bool = True,
    ) -> ScanCase | None:
        """Look at one file. What was made of it; None where it is no file for the catalog."""
        if known is not None and known.missed_scans and not known.deleted:
            self._seen.append(known.id)
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
                self._hash(files, path, identity, linked)
        self._flush_if_due(now_us)
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
            self._sightings += [s for s in sightings if not self._is_too_long(s.path)]

    def _open_again(self) -> None:
        """Archives of members that were forgotten."""
        for path in sorted(self._archives.forgotten):
            try:
                identity = self._parts.source.stat(self._root.path, path)
            except OSError:
                # The next walk tells.
                continue
            self._open(path, identity)
            self._flush_if_due(self._parts.clock())

    def _hash(
        self, files: ParallelFileScanner, path: bytes, identity: StatIdentity, linked: bool
    ) -> None:
        """Another name of a file that this scan has read, or is reading, is not read again."""
        if self._is_too_long(path):
            return
        if linked:
            content_hash = self._hashed.get(identity)
            if content_hash is not None:
                self._sightings.append(Sighting(path, identity, content_hash))
                return
            if identity in self._hashing:
                self._hashing[identity].append(path)
                return
            self._hashing[identity] = []
        files.submit(path, identity)
        while files.full:
            self._take(files.collect(timeout_s=BATCH_US / 1e6))

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
                self._sightings.append(Sighting(path, identity, content_hash))
            if met in self._hashing:
                self._take_links(hashed, taken)
        self._recording.look()
        self._flush_if_due(self._parts.clock())

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
                self._sightings.append(Sighting(path, hashed.met, hashed.content_hash))
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

    # --- what becomes of it ---------------------------------------------------------------

    def _finish(self, files: ParallelFileScanner) -> None:
        for results in files.finish(timeout_s=BATCH_US / 1e6):
            self._take(results)
        self._recording.finish(self._sightings)
        self._flush_seen()

    def _flush_if_due(self, now_us: int) -> None:
        waiting = len(self._sightings) + len(self._seen)
        if not waiting:
            return
        if waiting >= self._batch or now_us >= self._flushed_us + BATCH_US:
            self._flush()

    def _flush(self) -> None:
        """Record what is known so far, in one short transaction."""
        if self._sightings:
            self._recording.put(self._sightings)
            self._recorded += len(self._sightings)
            self._sightings = []
            at_most = min(max(BATCH, self._recorded // GROWTH), LARGEST_BATCH)
            self._batch = min(2 * self._batch, at_most)
        self._flush_seen()
        self._flushed_us = self._parts.clock()

    def _flush_seen(self) -> None:
        seen, self._seen = self._seen, []
        if seen:
            self._parts.catalog.seen(seen)

    def _count(self, outcome: RecordOutcome) -> None:
        self._report.new += outcome.new
        self._report.changed += outcome.changed
        self._report.unchanged += outcome.touched
        self._report.jobs += outcome.jobs
        self._parts.quiet.disturbed(self._root.id, outcome.disturbed)
        self._on_progress(self._report)

    def _root_identity(self) -> StatIdentity | None:
        try:
            return self._parts.source.stat(self._root.path, b"")
        except OSError:
            # The walk says why.
            return None

    def _must_stop(self) -> bool:
        if self._stopped():
            self._interrupted = True
            self._report.complete = False
        return self._interrupted

    def _miss(self, root_device: int) -> None:
        ids, withheld = self._missing.ids(root_device)
        for start in range(0, len(ids), MISSED_TOGETHER):
            part = ids[start : start + MISSED_TOGETHER]
            self._report.deleted += self._parts.catalog.missed(part)
            self._parts.quiet.disturbed(self._root.id)
        if withheld:
            self._report.complete = False
            self._report.errors[b""] = (
                f"{withheld} known files were on a file system that was not met in this scan; "
                "they are not taken as deleted."
            )


def same_file(one: StatIdentity, other: StatIdentity) -> bool:
    return (one.device, one.inode) == (other.device, other.inode)


def without_nested(paths: Iterable[bytes]) -> list[bytes]:
    """Paths once each, in order, less those below another of them."""
    given = set(paths)
    if b"" in given:
        return [b""]
    return sorted(p for p in given if given.isdisjoint(directories_above(p)))


def below_of(directory: bytes) -> bytes:
    """What the paths below a directory begin with."""
    return directory + b"/" if directory else b""


def skip_below(
    locations: Iterator[FileLocation], known: FileLocation | None, directory: bytes
) -> FileLocation | None:
    """The first location that is not below a directory which could not be listed."""
    while known is not None and known.path.startswith(below_of(directory)):
        known = next(locations, None)
    return known


def describe(error: OSError) -> str:
    return error.strerror or str(error)
