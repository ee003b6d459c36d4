"""Taking over published rows: whose they are, and what a sink and a queue need to be able to do.

A queue that was made anew, or restored from a backup, does not know rows that its targets
hold. Adopting them gives the queue a new installation, and the markers of these rows to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable

from casparian.domain.jobs import JobStatus
from casparian.domain.publish import JobFate, Marker, Target
from casparian.domain.schemas import TargetSchema

DECIDED = frozenset(
    {JobStatus.PROMOTING, JobStatus.BLOCKED, JobStatus.COMPLETED, JobStatus.SUPERSEDED}
)
"""Only a job that is one of these has a marker in a target."""


class Owner(StrEnum):
    """Whose the rows of a slot are, as a queue sees it."""

    MINE = "mine"
    FORMERLY_MINE = "formerly mine"
    """Of an installation that this queue once was: its takeover did not come to its end."""
    RESTORED = "restored"
    """The marker names this installation, but the queue knows nothing of the job."""
    FOREIGN = "foreign"


def owner_of(
    marker: Marker, installation: str, former: frozenset[str], fates: Mapping[int, JobFate]
) -> Owner:
    """`former`: the installations this queue once was; `fates`: those of its jobs.

    Every takeover makes a new installation. So a marker of this one that was adopted was
    adopted by this queue, and by no other that was restored from the same backup.
    """
    fate = fates.get(marker.job_id)
    known = marker.adopted or (fate is not None and fate.status in DECIDED)
    if marker.installation == installation:
        return Owner.MINE if known else Owner.RESTORED
    return Owner.FORMERLY_MINE if marker.installation in former and known else Owner.FOREIGN


class StandingSlot(NamedTuple):
    """A slot of a target with its marker. `bundle` names the bundle that it lies in, which is
    of this `revision`; empty where it has a place of its own."""

    target: Target
    marker: Marker
    bundle: str = ""
    revision: int = 0


class Renewal(NamedTuple):
    """A slot's marker before and after its change of owner; the rows stay as they are."""

    target: Target
    before: Marker
    after: Marker


@runtime_checkable
class RenewingSink(Protocol):
    """What a sink can do besides: let its rows be taken over.

    1. `standing` tells every slot with its marker, emptied ones too.
    2. `renew` gives each slot named the marker `after`, under whose slot key it is found from
       then on, whatever keys change places. Slots that are not named stay as they are.
    3. No reader sees a difference, at any moment: no row is gone, doubled or in another file.
    4. Killed half way, each slot has one of its two markers. A call with what `standing` then
       says comes to the end. A slot that has its new marker already is left alone.
    5. What was renewed survives a power cut once `renew` has returned, and is replaced as a
       whole, in one step, by the next publication to the slot `after` names.

    Nobody publishes to the sink meanwhile.
    """

    def standing(self) -> Iterator[StandingSlot]: ...

    def schema_of(self, target: Target) -> TargetSchema | None:
        """The columns that the target's rows have; None where it has none."""
        ...

    def renew(self, renewals: Sequence[Renewal]) -> None:
        """Raises JobError where a marker could not be written."""
        ...


@dataclass(frozen=True, slots=True)
class Takeover:
    """What a queue is to take over. `adopted`: rows of others, or not known any more;
    `own`: slots that stay this queue's, under its new installation; `idle`: ids of the worker
    nodes that are known not to run."""

    adopted: Sequence[StandingSlot]
    own: Sequence[StandingSlot]
    schemas: Mapping[Target, TargetSchema]
    idle: frozenset[str]
    actor: str


class TakenOver(NamedTuple):
    """What became of it: the queue's new installation, the markers to be written, and how many
    jobs got other numbers, are done again, or were enqueued since their rows were taken over."""

    installation: str
    renewals: list[Renewal]
    renumbered: int = 0
    again: int = 0
    enqueued: int = 0


class AdoptingQueue(Protocol):
    """What a queue's database can do besides: become another installation.

    1. `take_over` is one transaction: a new installation, ids beyond all that the slots name,
       and every adopted slot known as published, below every generation. The installation is
       new each time, so that a backup from before it is told from what stands.
    2. An adopted slot belongs to the file of its root and path; one that is not known is
       recorded as deleted, so that it is new when it is found.
    3. In mode append the newest of a file's adopted versions is the one that the file has now,
       or else the next to be recorded, where that has the same content (unknown content counts
       as the same). All others stay: no version here is one of them.
    4. No job that is not decided keeps an id that the slots name; decided ones that are not
       completed are done again under a new id.
    5. After a crash, `take_over` with what then stands gives the same slots the same keys.
    6. It changes nothing, and raises CasparianError, where another worker has come up.
    """

    def former(self) -> frozenset[str]:
        """The installations that this queue once was."""
        ...

    def targets(self) -> list[Target]:
        """All targets that it knows to hold rows of its own."""
        ...

    def take_over(self, takeover: Takeover) -> TakenOver: ...
