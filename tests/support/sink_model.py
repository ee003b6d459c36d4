"""What a sink ought to show, without one: slots with their rows, and whose staging lies where.

It knows the rules of the publish protocol and nothing of any format. Sinks are held against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from casparian.domain.plugins import Mode
from casparian.domain.publish import InstallCase, SlotKey, slot_for
from casparian.testing.sink import PLUGIN

MODES = {"orders": Mode.REPLACE, "log": Mode.APPEND}
"""The topics, and how each is published."""

Row = tuple[int, int, str, int | None]
"""Job, row number, and the two columns of a row."""


@dataclass(frozen=True)
class File:
    """A version of a file."""

    location: int
    ordinal: int

    @property
    def version_id(self) -> int:
        return self.location * 1000 + self.ordinal

    def slot(self, topic: str) -> SlotKey:
        return slot_for(MODES[topic], PLUGIN, topic, self.location, self.version_id)


@dataclass
class Standing:
    """What a slot holds. `generation`: the version's ordinal, and the job."""

    generation: tuple[int, int]
    rows: list[Row]


@dataclass
class Planned:
    """A job of the model: the rows of each topic, the slots that it empties, the token in the name
    of its staging, None where it has none."""

    job_id: int
    file: File
    rows: dict[str, list[Row]]
    emptied: list[SlotKey] = field(default_factory=list)
    staged_by: str | None = None
    decided: bool = False

    @property
    def generation(self) -> tuple[int, int]:
        return (self.file.ordinal, self.job_id)

    def slots(self) -> Iterator[tuple[SlotKey, list[Row]]]:
        """In the order of the manifest's items."""
        for topic, rows in self.rows.items():
            yield self.file.slot(topic), rows
        for slot in self.emptied:
            yield slot, []


class SinkModel:
    """Slots by key, and the jobs that were staged."""

    def __init__(self) -> None:
        self.slots: dict[SlotKey, Standing] = {}
        self.jobs: list[Planned] = []

    def to_empty(self, job: Planned) -> list[SlotKey]:
        """What a job newer than all that stands of its file leaves out, and so empties."""
        mine = {job.file.slot(topic) for topic in job.rows}
        here = {slot: s for slot, s in self.slots.items() if slot.location_id == job.file.location}
        if any(standing.generation > job.generation for standing in here.values()):
            return []
        return [s for s in here if s not in mine and s.version_id in (0, job.file.version_id)]

    def promote(self, job: Planned, token: str) -> list[InstallCase | None]:
        """What each item's receipt must say; None: that the staging was taken over."""
        return [self._install(job, token, slot, rows) for slot, rows in job.slots()]

    def _install(
        self, job: Planned, token: str, slot: SlotKey, rows: list[Row]
    ) -> InstallCase | None:
        standing = self.slots.get(slot)
        if standing is not None and standing.generation[1] == job.job_id:
            return InstallCase.ALREADY
        if standing is not None and standing.generation > job.generation:
            return InstallCase.OLDER
        if job.staged_by != token:
            return None
        self.slots[slot] = Standing(job.generation, rows)
        return InstallCase.INSTALLED

    def installed(self, job: Planned) -> bool:
        """Whether nothing of a job is left to be installed."""
        return all(
            slot in self.slots and self.slots[slot].generation >= job.generation
            for slot, _ in job.slots()
        )

    def rows(self, topic: str) -> list[Row]:
        return sorted(
            row for slot, standing in self.slots.items() if slot.topic == topic
            for row in standing.rows
        )  # fmt: skip

    def markers(self) -> set[tuple[str, int, int, int, int]]:
        """Topic, location and version of each slot, its job, and how many rows."""
        return {
            (slot.topic, slot.location_id, slot.version_id, s.generation[1], len(s.rows))
            for slot, s in self.slots.items()
        }

    def owners(self) -> set[int]:
        """The jobs whose stagings nobody may have taken away."""
        return {j.job_id for j in self.jobs if j.staged_by and j.decided and not self.installed(j)}


def pick(jobs: Iterable[Planned], number: int) -> Planned | None:
    """One of them, by a number of any size; the newest for 0."""
    some = list(jobs)
    return some[-1 - number % len(some)] if some else None
