"""What one publication replaces as a whole: slots, in targets, with generations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from casparian.domain.plugins import Mode


class Generation(NamedTuple):
    """Which of two publications of a slot is the newer: compared in this order.

    `ordinal` is the file version's at its location; `enqueue` is the job's id, which grows
    with every enqueueing. So backfilling an old version cannot bring old content back.
    """

    ordinal: int
    enqueue: int


class Target(NamedTuple):
    """Where a topic's rows live: `location` is a directory, file or database; `name` the
    topic directory or table in it."""

    scheme: str
    location: str
    name: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.location}/{self.name}"


class BundleKey(NamedTuple):
    """A directory that several slots of a target share: see `casparian.domain.bundles`."""

    target: Target
    name: str


class SlotKey(NamedTuple):
    """What one publication replaces as a whole, within a target.

    `version_id` is 0 in replace mode, where the slot belongs to the file's location.
    """

    plugin: str
    topic: str
    location_id: int
    version_id: int = 0

    @property
    def name(self) -> str:
        """The slot as a directory name; never starts with `.` or `_`, never holds `=`."""
        version = f"v{self.version_id}" if self.version_id else ""
        return f"f{self.location_id}{version}-{self.plugin}"


def slot_for(mode: Mode, plugin: str, topic: str, location_id: int, version_id: int) -> SlotKey:
    return SlotKey(plugin, topic, location_id, version_id if mode is Mode.APPEND else 0)


@dataclass(frozen=True, slots=True)
class PublishedSlot:
    """One slot that may hold rows of a (plugin, location), as the queue database knows it.
    `bundle` names the bundle it lies in; empty where it has a place of its own."""

    target: Target
    mode: Mode
    slot: SlotKey
    bundle: str = ""


@dataclass(frozen=True, slots=True)
class SlotState:
    """The lock row of one (plugin, location): its generation, holder and published slots."""

    generation: Generation | None = None
    holder: int | None = None
    published: tuple[PublishedSlot, ...] = ()
