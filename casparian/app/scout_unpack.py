"""Archives in a scan: members become sightings of their own, recorded before the archive itself.

So an archive that is known as it is has been opened to its end, and is not opened again until it
changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from casparian.adapters.files.archive import VersionArchive
from casparian.adapters.files.unpacking import Expanded, Unpacker
from casparian.app.scout_memory import ArchiveMemory, remember
from casparian.domain.files import (
    SCANS_UNTIL_DELETED,
    FileLocation,
    Sighting,
    SourceRoot,
    StatIdentity,
)
from casparian.domain.ports import FileCatalog
from casparian.domain.roots import RootRules
from casparian.domain.unpacking import INSIDE, Refused, is_archive, member_path, split_member

REMEMBERED = 10_000
CLASH = "its path is that of a member of an archive: rename the directory whose name ends in '!'"


class Archives:
    """The archives that one pass meets in a root that unpacks."""

    def __init__(
        self,
        memory: ArchiveMemory,
        catalog: FileCatalog,
        root: SourceRoot,
        rules: RootRules,
        keep: VersionArchive | None,
    ) -> None:
        self._memory, self._catalog, self._root, self._rules = memory, catalog, root, rules
        self._unpacker = Unpacker(keep)
        self._met: set[bytes] = set()
        self.forgotten: set[bytes] = set()

    def holds(self, path: bytes) -> bool:
        return is_archive(path)

    def clashes(self, path: bytes) -> bool:
        """True for a file on the disk that is called as a member would be."""
        return split_member(path) is not None

    def meet(self, path: bytes) -> None:
        """The archive is there; whatever it holds by now, its members are not missing."""
        self._met.add(path)

    def stands(self, known: FileLocation) -> bool:
        """Whether a location is a member of an archive that was met. A member that was forgotten
        puts its archive among the `forgotten`, to be opened again."""
        found = split_member(known.path) if INSIDE in known.path else None
        if found is None or found[0] not in self._met:
            return False
        if known.identity is None and not known.deleted:
            self.forgotten.add(found[0])
        return True

    def never_opened(self, path: bytes) -> bool:
        """True once for an archive that was recorded before its root was to unpack."""
        key = (self._root.id, path)
        if key in self._memory.opened:
            return False
        remember(self._memory.opened, key, None, REMEMBERED)
        return next(iter(self._members(path)), None) is None

    def expand(self, path: bytes, identity: StatIdentity) -> list[Sighting]:
        """Of the members, and of the archive as the last.

        Raises Refused, at once where the same file was refused before; FileChangedError, OSError.
        """
        key, limits = (self._root.id, path), self._rules.unpack
        assert limits is not None
        known = self._memory.refused.get(key)
        if known is not None and known[0] == identity:
            raise Refused(known[1])
        try:
            found = self._unpacker.expand(self._root.path, path, limits, self._wanted(path))
        except Refused as error:
            remember(self._memory.refused, key, (identity, str(error)), REMEMBERED)
            raise
        remember(self._memory.opened, key, None, REMEMBERED)
        return self._sightings(path, found)

    def _sightings(self, path: bytes, found: Expanded) -> list[Sighting]:
        sightings = [
            Sighting(
                member_path(path, member.name),
                found.identity._replace(size=member.size),
                member.content_hash,
            )
            for member in found.members
        ]
        return [*sightings, Sighting(path, found.identity, found.content_hash)]

    def end_removed(self, path: bytes, sightings: Iterable[Sighting]) -> int:
        """Members that are no longer in the archive are deleted: it has been read to its end."""
        there = {sighting.path for sighting in sightings}
        gone = [k.id for k in self._members(path) if not k.deleted and k.path not in there]
        return sum(self._catalog.missed(gone) for _ in range(SCANS_UNTIL_DELETED)) if gone else 0

    def _members(self, path: bytes) -> Iterable[FileLocation]:
        return self._catalog.locations(self._root.id, path + INSIDE[:1])

    def _wanted(self, path: bytes) -> Callable[[bytes], bool]:
        return lambda name: self._rules.left_out(member_path(path, name)) is None
