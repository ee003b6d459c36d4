"""One pass over a source root: walk, compare with the catalog, hash what may have changed, record.

The walk and the catalog's locations are both in byte order, so they are joined as they come:
neither is held whole. Files that are as the last scan found them are not compared one by one
(`scout_quiet`). What was recorded stays recorded, whatever ends the scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from casparian.app.scout_batches import Batches
from casparian.app.scout_missing import Missing
from casparian.app.scout_parts import ScoutParts
from casparian.app.scout_quiet import Alongside, Compared, directories_above
from casparian.app.scout_reading import Reading, describe
from casparian.app.scout_unpack import Archives
from casparian.domain.files import FileLocation, ScanCase, ScanReport, SourceRoot, StatIdentity
from casparian.domain.ports import FileEntry, FileRun, WalkError

MISSED_TOGETHER = 500


class ScanPass:
    """The state of one scan or look; used once."""

    def __init__(
        self,
        parts: ScoutParts,
        root: SourceRoot,
        stopped: Callable[[], bool],
        on_progress: Callable[[ScanReport], None],
    ) -> None:
        self._parts, self._root, self._stopped = parts, root, stopped
        self._root_rules = parts.rules_of(root)
        self._unpacks = self._root_rules.unpack is not None
        self._began_us = parts.clock()
        self._report = ScanReport()
        self._batches = Batches(parts, root, self._report, on_progress)
        self._archives = Archives(parts.archives, parts.catalog, root, self._root_rules, parts.keep)
        self._reading = Reading(parts, root, self._report, self._batches, self._archives)
        self._missing = Missing()
        self._interrupted = False

    # --- what is looked at ---------------------------------------------------------------

    def whole(self) -> ScanReport:
        before = self._root_identity()
        with self._reading, self._batches:
            self._join_all()
            self._finish()
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
        with self._reading, self._batches:
            for path in chosen:
                if self._must_stop():
                    break
                self._one(path)
            self._finish()
        return self._report

    def _meant(self, path: bytes) -> bytes:
        """The file that is looked at: for a done marker the one that it is about."""
        done = self._root_rules.done
        return done.about(path) if path and done is not None and done.is_marker(path) else path

    def _one(self, path: bytes) -> None:
        if not path:
            self._join_all()
            return
        try:
            identity = self._parts.source.stat(self._root.path, path)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            self._join(path)
        except OSError as error:
            self._report.fail(path, describe(error))
        else:
            known = self._parts.catalog.find(self._root.id, path)
            self._reading.meet(path, identity, known)

    def _join_all(self) -> None:
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
                self._batches.flush_if_due(parts.clock())
                if not self._must_stop():
                    continue
            compared = Compared()
            if not self._compare(run, rows, compared):
                return
            if not self._unpacks:
                quiet.keep(run, compared)
        self._reading.open_again()

    def _compare(self, run: FileRun, rows: Alongside, compared: Compared) -> bool:
        """Hold a run against the catalog; False when the scan is to end."""
        for entry in run.files:
            if self._must_stop():
                return False
            known = None
            if rows.reaches(entry.path):
                self._miss_up_to(entry.path, rows, compared)
                known = rows.take(entry.path)
            case = self._meet(entry, known)
            if compared.calm:
                compared.add(case, entry.identity, known)
        self._miss_up_to(run.end, rows, compared)
        return True

    def _miss_up_to(self, path: bytes | None, rows: Alongside, compared: Compared) -> None:
        """Note what the catalog has before `path` (None: all that is left) as missing."""
        for known in rows.before(path):
            compared.calm = compared.calm and known.deleted
            self._miss_one(known)

    def _join(self, below: bytes) -> None:
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
                self._meet(entry, known)
                known = next(locations, None)
            else:
                self._meet(entry, None)
        while known is not None:
            self._miss_one(known)
            known = next(locations, None)
        self._reading.open_again()

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

    def _meet(self, entry: FileEntry, known: FileLocation | None) -> ScanCase | None:
        if entry.identity is None:
            self._report.fail(entry.path, entry.error or "it could not be examined")
            return None
        self._missing.met(entry.identity, known)
        return self._reading.meet(entry.path, entry.identity, known, entry.linked)

    # --- what becomes of it ---------------------------------------------------------------

    def _finish(self) -> None:
        self._reading.finish()
        self._batches.finish()

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
