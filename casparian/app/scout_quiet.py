"""Runs of files that an earlier scan found to be as the catalog has them, and that nobody has
touched since: they are told by a digest, and their locations are not read again.

A run is quiet when each of its files was unchanged, or no input by the root's rules, and the
catalog had nothing else there. So nothing is settling in it, waits for a marker, was written
shortly before it was hashed, or was missed before. What changes with time alone is the weekly
hashing: a run is quiet until the first of its files is due. What the catalog is told by others
ends the quiet of a whole root. Some 400 bytes are held for a run, however many files are in it;
what is forgotten is compared again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from casparian.domain.files import FileLocation, ScanCase, StatIdentity, rehash_due_us
from casparian.domain.ports import FileCatalog, FileRun

REMEMBERED_RUNS = 100_000


class Quiet(NamedTuple):
    """What is known of a run: `device` is that of all of its files, None where it has none."""

    end: bytes | None
    digest: Hashable
    unchanged: int
    device: int | None
    due_us: int | None


@dataclass(slots=True)
class Compared:
    """What a scan made of a run so far; `calm` is false where the next must look again."""

    calm: bool = True
    unchanged: int = 0
    device: int | None = None
    due_us: int | None = None

    def add(
        self, case: ScanCase | None, identity: StatIdentity | None, known: FileLocation | None
    ) -> None:
        if case not in (ScanCase.UNCHANGED, ScanCase.IGNORED) or identity is None:
            self.calm = False
            return
        if self.device is None:
            self.device = identity.device
        if self.device != identity.device or (known is not None and known.missed_scans):
            self.calm = False
        elif case is ScanCase.UNCHANGED and known is not None:
            self.unchanged += 1
            due_us = rehash_due_us(known)
            self.due_us = due_us if self.due_us is None else min(self.due_us, due_us)


@dataclass(slots=True)
class QuietRoot:
    """The quiet runs of one root by their begin: those of the last scan, and of this one so far."""

    disturbances: int
    began_us: int
    last: dict[bytes, Quiet] = field(default_factory=dict)
    now: dict[bytes, Quiet] = field(default_factory=dict)

    def find(self, run: FileRun) -> Quiet | None:
        known = self.last.pop(run.begin, None)
        if known is None or (known.due_us is not None and self.began_us >= known.due_us):
            return None
        if known.end != run.end or known.digest != run.files.digest():
            return None
        self.now[run.begin] = known
        return known

    def keep(self, run: FileRun, compared: Compared) -> None:
        if not compared.calm or len(self.now) >= REMEMBERED_RUNS:
            return
        digest = run.files.digest()
        if digest is not None:
            self.now[run.begin] = Quiet(
                run.end, digest, compared.unchanged, compared.device, compared.due_us
            )


class QuietRuns:
    """The memory of one scout, for all of its roots."""

    def __init__(self) -> None:
        self._roots: dict[int, QuietRoot] = {}

    def of(self, root_id: int, disturbances: int, now_us: int) -> QuietRoot:
        """The root's runs, at the begin of a scan. None of them is quiet when the
        catalog was disturbed by somebody else, or the clock was set back: other files may then
        be due for hashing."""
        known = self._roots.get(root_id)
        if known is None or known.disturbances != disturbances or now_us < known.began_us:
            known = self._roots[root_id] = QuietRoot(disturbances, now_us)
        known.began_us = now_us
        # What the last scan did not meet is not there any more.
        known.last, known.now = known.now, {}
        return known

    def disturbed(self, root_id: int, times: int = 1) -> None:
        """This scout itself told the catalog of files that are in no quiet run: it missed them,
        or has just met them."""
        if root_id in self._roots:
            self._roots[root_id].disturbances += times

    def looked_at(self, root_id: int, paths: Sequence[bytes]) -> None:
        """These, and what is below them, were looked at beside the scans (the root itself is never
        one of them, since a look at it compares as a scan does). What the catalog has there by
        now may be gone before the next scan, which then finds nothing changed."""
        root, ordered = self._roots.get(root_id), sorted(paths)
        if root is None:
            return

        def touched(begin: bytes, end: bytes | None) -> bool:
            at = bisect_left(ordered, begin)
            if at < len(ordered) and (end is None or ordered[at] < end):
                return True
            return any(above in given for above in directories_above(begin))

        given = set(ordered)
        root.now = {
            begin: quiet for begin, quiet in root.now.items() if not touched(begin, quiet.end)
        }


class Alongside:
    """The catalog's locations beside a walk: taken in order, and read only where they are."""

    def __init__(self, catalog: FileCatalog, root_id: int) -> None:
        self._catalog, self._root_id = catalog, root_id
        self._begin = b""
        # None: to be read from `_begin` on, when somebody asks.
        self._rows: Iterator[FileLocation] | None = None
        self._next: FileLocation | None = None

    def skip_to(self, begin: bytes) -> None:
        """Leave out what is before `begin`, and was not taken."""
        if self._rows is None:
            self._begin = begin
        elif self._next is not None and self._next.path < begin:
            self._begin, self._rows = begin, None

    def before(self, path: bytes | None) -> Iterator[FileLocation]:
        """Take what is before `path` (None: all of it)."""
        known = self._peek()
        while known is not None and (path is None or known.path < path):
            self._step()
            yield known
            known = self._next

    def reaches(self, path: bytes) -> bool:
        """Whether there is something at `path` or before it."""
        known = self._next if self._rows is not None else self._peek()
        return known is not None and known.path <= path

    def take(self, path: bytes) -> FileLocation | None:
        """The location at `path`, when nothing is before it."""
        known = self._next
        if known is None or known.path != path:
            return None
        self._step()
        return known

    def _peek(self) -> FileLocation | None:
        if self._rows is None:
            self._rows = self._catalog.locations(self._root_id, begin=self._begin)
            self._step()
        return self._next

    def _step(self) -> None:
        assert self._rows is not None
        self._next = next(self._rows, None)


def directories_above(path: bytes) -> Iterator[bytes]:
    above = path.rpartition(b"/")[0]
    while above:
        yield above
        above = above.rpartition(b"/")[0]
