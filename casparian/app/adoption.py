"""Takes over rows that this queue did not publish, or does not know any more.

First the queue becomes another installation, in one transaction; then the targets' markers are
written. Whatever interrupts it, rows that are not done yet are of another installation, so that
no engine starts and the next call goes on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from casparian.adapters.queue import QueueStores
from casparian.app.context import EtlContext
from casparian.app.targets import Targets
from casparian.domain.adoption import (
    AdoptingQueue,
    Owner,
    Renewal,
    RenewingSink,
    StandingSlot,
    TakenOver,
    Takeover,
    owner_of,
)
from casparian.domain.errors import ConfigurationError, JobError
from casparian.domain.plugins import REJECTS_TOPIC, LivePlugin
from casparian.domain.ports import Clock, Sink
from casparian.domain.publish import SHORT, Marker, Target
from casparian.domain.schemas import TargetSchema

BATCH = 500
ALIVE_US = 30_000_000
"""A worker that was heard of so lately runs, unless it is known to have ended."""


class Rows(NamedTuple):
    """Rows of one topic that one installation published to one target."""

    topic: str
    plugin: str
    target: Target
    installation: str
    owner: Owner
    files: int
    rows: int
    newest_job: int


@dataclass
class Found:
    """What stands in all targets, by owner."""

    slots: dict[Owner, list[StandingSlot]] = field(default_factory=lambda: defaultdict(list))

    @property
    def own(self) -> list[StandingSlot]:
        return [*self.slots[Owner.MINE], *self.slots[Owner.FORMERLY_MINE]]

    @property
    def others(self) -> list[StandingSlot]:
        return [*self.slots[Owner.RESTORED], *self.slots[Owner.FOREIGN]]

    def chosen(self, topics: Collection[str] | None) -> list[StandingSlot]:
        """Rows of others in the targets of these topics (None: of all), and what the plugins
        concerned have rejected."""
        if topics is None:
            return self.others
        named = [slot for slot in self.others if slot.marker.topic in topics]
        targets = {slot.target for slot in named}
        plugins = {slot.marker.plugin for slot in named}
        return [
            slot
            for slot in self.others
            if slot.target in targets
            or (slot.marker.topic == REJECTS_TOPIC and slot.marker.plugin in plugins)
        ]

    def rows(self, slots: Iterable[StandingSlot], owners: Collection[Owner]) -> list[Rows]:
        """What these slots are, for a person who is to decide."""
        groups: dict[tuple[str, str, Target, str, Owner], list[StandingSlot]] = defaultdict(list)
        wanted = {id(slot) for slot in slots}
        for owner in owners:
            for slot in self.slots[owner]:
                if id(slot) in wanted:
                    m = slot.marker
                    groups[m.topic, m.plugin, slot.target, m.installation, owner].append(slot)
        return [
            Rows(
                *group,
                len({(s.marker.root_path, s.marker.path) for s in members}),
                sum(s.marker.rows for s in members),
                max(s.marker.job_id for s in members),
            )
            for group, members in sorted(groups.items())
        ]


class Adoption:
    """`plugins`: those of the configuration, whose sinks are looked at beside all that the
    queue has published to."""

    def __init__(
        self,
        stores: QueueStores,
        targets: Targets,
        plugins: Sequence[LivePlugin],
        context: EtlContext,
        clock: Clock,
    ) -> None:
        if stores.adoption is None:
            raise ConfigurationError(
                "This queue's adapter cannot take over rows: [queue] adapter must be one that "
                "can, such as sqlite."
            )
        self._stores = stores
        self._queue: AdoptingQueue = stores.adoption
        self._targets = targets
        self._context = context
        self._clock = clock
        self._sinks = self._all_sinks(plugins)

    def _all_sinks(self, plugins: Sequence[LivePlugin]) -> list[Sink]:
        sinks = self._targets.configured(plugins)
        known = [self._targets.sink(target) for target in self._queue.targets()]
        return list({id(sink): sink for sink in (*sinks, *known)}.values())

    def look(self) -> Found:
        """Read every marker. Raises ConfigurationError for a sink whose rows nobody can take
        over, where it holds any."""
        found = Found()
        former, installation = self._queue.former(), self._stores.ledger.installation
        for sink in self._sinks:
            slots = list(_renewing(sink).standing()) if any(sink.markers()) else []
            for start in range(0, len(slots), BATCH):
                some = slots[start : start + BATCH]
                fates = self._stores.ledger.fates(sorted({s.marker.job_id for s in some}))
                for slot in some:
                    owner = owner_of(slot.marker, installation, former, fates)
                    found.slots[owner].append(slot)
        return found

    def idle_workers(self) -> frozenset[str]:
        """The worker nodes that do not run. Raises ConfigurationError where one does."""
        now = self._clock()
        nodes = [node for node in self._stores.queue.workers() if not node.stopped]
        for node in nodes:
            fresh = node.heartbeat_at_us > now - ALIVE_US
            if fresh and not self._context.is_dead(node):
                raise ConfigurationError(
                    f"An engine runs on this queue: {node.id}, as {node.user}. Nothing was "
                    "changed. Stop every engine, then run the command again."
                )
        return frozenset(node.id for node in nodes)

    def take_over(self, found: Found, chosen: Sequence[StandingSlot], actor: str) -> TakenOver:
        """Take these over; without any, finish what an earlier call began.

        Raises ConfigurationError, with nothing changed, where an engine runs.
        """
        idle = self.idle_workers()
        if chosen:
            schemas = self._schemas({slot.target for slot in chosen})
            done = self._queue.take_over(Takeover(chosen, found.own, schemas, idle, actor))
        else:
            mine = self._stores.ledger.installation
            left = found.slots[Owner.FORMERLY_MINE]
            done = TakenOver(mine, [Renewal(s.target, s.marker, _under(s, mine)) for s in left])
        self._renew(done.renewals)
        before = {slot.marker.installation for slot in (*chosen, *found.own)}
        self._clear(before - {done.installation})
        return done

    def _schemas(self, targets: set[Target]) -> dict[Target, TargetSchema]:
        """Of the targets whose schema the queue does not know."""
        known = self._stores.ledger.schemas(sorted(targets))
        schemas: dict[Target, TargetSchema] = {}
        for target in targets - set(known):
            try:
                schema = _renewing(self._targets.sink(target)).schema_of(target)
            except JobError:
                continue  # Its files have no schema in common: the next publication sets one.
            if schema is not None:
                schemas[target] = schema
        return schemas

    def _renew(self, renewals: Sequence[Renewal]) -> None:
        by_sink: dict[int, tuple[RenewingSink, list[Renewal]]] = {}
        for renewal in renewals:
            sink = self._targets.sink(renewal.target)
            by_sink.setdefault(id(sink), (_renewing(sink), []))[1].append(renewal)
        for renewing, mine in by_sink.values():
            renewing.renew(mine)

    def _clear(self, installations: set[str]) -> None:
        """What these had staged is nobody's any more."""
        short = {installation[:SHORT] for installation in installations}
        for sink in self._sinks:
            for key in sink.stagings():
                if key.installation[:SHORT] in short:
                    sink.discard(key)


def _under(slot: StandingSlot, installation: str) -> Marker:
    return replace(slot.marker, installation=installation)


def _renewing(sink: Sink) -> RenewingSink:
    if isinstance(sink, RenewingSink):
        return sink
    raise ConfigurationError(
        f"The rows in {sink.scheme}://{sink.location} cannot change their installation, which "
        "taking over rows does to all that this queue has published: the sink's adapter has no "
        "`renew`. Nothing was changed. Point its topics elsewhere, or restore the queue database "
        "that published them."
    )
