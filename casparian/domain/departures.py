"""Files that the engine itself takes away once all jobs of their version are COMPLETED.

A departure is planned in the database before the file is touched, and ended there when the file
is gone or back in its place; whoever finds an open one after a crash goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from casparian.domain.errors import CasparianError, ConfigurationError
from casparian.domain.files import StatIdentity
from casparian.domain.unpacking import INSIDE, is_archive, split_member

PRIVATE = b".casparian-leaving-"
"""What the names of files begin with that are about to leave; they are no input."""


class Action(StrEnum):
    """What is done with a file."""

    ARCHIVE = "archive"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class After:
    """What a root wants done. `directory` is absolute, and empty for DELETE."""

    action: Action
    directory: bytes = b""

    def place_of(self, path: bytes, ordinal: int) -> bytes:
        """Where version `ordinal` of the file at `path` goes: each has a place of its own."""
        if self.action is Action.DELETE:
            return b""
        above, slash, name = path.rpartition(b"/")
        stem, dot, ending = name.rpartition(b".")
        if not stem:
            stem, dot, ending = name, b"", b""
        numbered = name if ordinal == 1 else b"%b.v%d%b%b" % (stem, ordinal, dot, ending)
        return self.directory + b"/" + above + slash + numbered


def parse_after(text: str) -> tuple[Action | None, str]:
    """`keep`, `delete` or `archive:DIR`: the action, and the directory as written."""
    if text == "keep":
        return None, ""
    if text == "delete":
        return Action.DELETE, ""
    kind, colon, directory = text.partition(":")
    if kind == "archive" and colon and directory:
        return Action.ARCHIVE, directory
    raise ConfigurationError(
        f'after = {text!r}: write "keep", "delete", or "archive:DIR" with the directory.'
    )


class Outcome(StrEnum):
    """How a departure ended."""

    GONE = "gone"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Departure:
    """One version on its way out. `identity` is what the last scan saw of its file, `place` where
    it is archived; `outcome` is None while it is open."""

    version_id: int
    location_id: int
    path: bytes
    content_hash: str
    identity: StatIdentity
    action: Action
    place: bytes
    planned_at_us: int
    ended_at_us: int | None = None
    outcome: Outcome | None = None
    message: str | None = None

    @property
    def private(self) -> bytes:
        """The name that the file has on its way, in its own directory."""
        above, slash, _ = self.path.rpartition(b"/")
        return b"%b%b%b%d" % (above, slash, PRIVATE, self.version_id)

    def of_member(self, path: bytes) -> bytes:
        """Where a member of this archive lies then; empty where the archive is deleted."""
        return self.place and self.place + INSIDE + path.partition(INSIDE)[2]


class CannotLeave(CasparianError):
    """The file stays where it is, and the message says why."""


class Standing(NamedTuple):
    """A file that is there, and how far its current version is: `done` is true when at least one
    run of a plugin is COMPLETED, `in_the_way` when anything keeps the file from leaving."""

    path: bytes
    done: bool
    in_the_way: bool


def may_leave(files: Iterable[Standing], unpacks: bool) -> set[bytes]:
    """Of all files of a root, the paths of those that may leave.

    Where the root unpacks, a member leaves with its archive, and an archive when all of its
    members that are there may leave as well.
    """
    done: set[bytes] = set()
    kept: set[bytes] = set()
    for path, is_done, in_the_way in files:
        inside = split_member(path) if unpacks else None
        whole = path if inside is None else inside[0]
        if in_the_way or not (is_done or inside is not None or (unpacks and is_archive(path))):
            kept.add(whole)
        elif is_done:
            done.add(whole)
    return done - kept


class Departures(Protocol):
    """Kept with the catalog.

    1. `plan_departures` plans, in one transaction, for current versions of a root's files that
       are there, have at least one run of a plugin and none that is not COMPLETED. It plans none
       that is open, none that was kept after `not_since_us`, and none whose rows were purged,
       or are being: the file may be all that is left of them. With `unpacks`, an archive takes
       its members along: all of this holds for each of them too, of which one run is enough,
       and none is planned by itself.
    2. `end_departure` with GONE also ends the location as deleted, unless it has a newer version
       or was forgotten, and so the members of an archive, with departures of their own; it
       changes nothing that has ended.
    3. A sighting of a file as it was before it left (all of its identity is the same) adds no
       version: a scan met it then, and records it only now.
    """

    def plan_departures(
        self,
        root_id: int,
        action: Action,
        place_of: Callable[[bytes, int], bytes],
        not_since_us: int,
        limit: int,
        unpacks: bool = False,
    ) -> Sequence[Departure]: ...

    def open_departures(self, root_id: int) -> Sequence[Departure]: ...

    def end_departure(
        self, version_id: int, outcome: Outcome, message: str | None = None
    ) -> None: ...

    def departures_of(self, location_id: int) -> Sequence[Departure]:
        """Of all versions, in their order."""
        ...
