"""Engines that are stepped by hand: real queue, real sinks, real publisher, no thread, no clock.

A test moves the time, and decides in which order the steps of several engines are done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest

from casparian.adapters.queue import QueueStores
from casparian.app.context import EtlContext
from casparian.app.decider import Staged
from casparian.app.keeper import Keeper
from casparian.app.leases import Leases
from casparian.app.promoter import Decided
from casparian.app.publisher import Publisher
from casparian.app.targets import Targets
from casparian.app.waiting import Waits
from casparian.app.worker_context import WorkerContext
from casparian.domain.errors import UnavailableError
from casparian.domain.invariants import Invariant
from casparian.domain.jobs import Claim, JobStatus, RetryPolicy
from casparian.domain.messages import TopicTotals
from casparian.domain.plugins import LivePlugin, Mode, PluginConfig, TopicConfig
from casparian.domain.ports import Promoting, PublishLedger, Sink
from casparian.domain.publish import Target
from casparian.domain.schemas import TargetSchema
from casparian.domain.wire import Flag
from casparian.testing.world import HASH, LEASE_US, PLUGIN, VirtualClock, World, applied, plugin
from tests.support.audit import violations
from tests.support.outputs import Output

GIVE_UP_S = 20.0
POLICY = RetryPolicy(backoff_us=1_000_000)
Tables = Mapping[str, Mapping[str, Any]]
"""Topic to columns."""


class Stage:
    """One queue, one place for output, and the engines that share them."""

    def __init__(
        self,
        stores: QueueStores,
        clock: VirtualClock,
        output: Output,
        modes: Mapping[str, Mode] | None = None,
    ) -> None:
        self.stores, self.clock, self.output = stores, clock, output
        self.directory, self.kind = output.directory, output.kind
        self.world = World(stores, clock)
        self.dead: set[str] = set()
        modes = modes or {"rows": Mode.REPLACE, "more": Mode.REPLACE}
        topics = [TopicConfig(t, output.uri(t), mode) for t, mode in modes.items()]
        self.config = plugin(topics=topics)
        self.world.apply(applied(plugins=[self.config]))

        self.spoilt = False
        """Somebody else changed what was published: the invariants are no longer judged."""

    def engine(self, name: str) -> Engine:
        return Engine(self, name)

    def targets(self) -> Targets:
        return Targets({self.kind: self.output.factory})

    def violations(self) -> list[str]:
        """What the audit finds, but for stagings: a schedule need not end with a sweep."""
        found = violations(self.stores, self.targets())
        return [v for v in found if not v.startswith(Invariant.NO_ORPHANS)]

    def rows(self, topic: str = "rows", column: str = "v") -> list[Any]:
        """One column of what readers see, sorted."""
        return sorted(self.output.column(topic, column))

    def stagings(self) -> list[str]:
        return self.output.stagings()

    def status(self, job_id: int) -> str:
        return self.world.statuses()[job_id]


class Engine:
    """One worker, up to the thread that would run it."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.stage, self.name = stage, name
        stores = stage.stores
        self.ledger = Interrupted(stores.ledger)
        self.targets = stage.targets()
        self.leases = Leases(GIVE_UP_S)
        self.ended: dict[int, JobStatus] = {}
        waits = Waits(stage.clock)
        self.publisher = Publisher(
            self.ledger,
            stores.queue,
            self.targets,
            self.leases,
            POLICY,
            self.ended.__setitem__,
            waits,
        )
        context = dataclasses.replace(EtlContext.capture(), id=name)
        self.keeper = Keeper(
            context.node(("worker",), "", stage.clock()),
            _Context(stage.dead),
            stores.queue,
            self.ledger,
            self.leases,
            POLICY,
            LEASE_US,
            10.0,
            5.0,
            self.sinks,
            lambda job_ids: None,
            self._inherit,
            dict,
            stage.clock,
            waits,
        )
        self.keeper.beat()
        for sink in self.sinks():
            sink.check()

    def sinks(self) -> list[Sink]:
        return self.targets.configured([LivePlugin(self.stage.config, HASH)])

    def _inherit(self, taken: Sequence[Promoting]) -> None:
        for job in taken:
            self.publisher.inherit(Decided(job.manifest, job.token, inherited=True))

    # --- S0 and S1 ------------------------------------------------------------------------

    def claim(self) -> Claim:
        (claim,) = self.stage.stores.queue.claim(self.name, {PLUGIN: HASH}, 1, LEASE_US)
        self.leases.add([(claim.job_id, claim.token)])
        return claim

    def stages(
        self,
        claim: Claim,
        tables: Tables,
        config: PluginConfig | None = None,
        vouched: Mapping[str, int] | None = None,
    ) -> None:
        """Stage these rows and hand the job to the publisher. `vouched`: the rows of each topic
        by the plugin's word, where that is not how many there are."""
        live = LivePlugin(config or self.stage.config, HASH)
        context = WorkerContext(
            claim, live, self.ledger.installation, self.targets, self._known_schema
        )
        try:
            totals = _staged(context, tables, vouched)
            manifest = context.finish(totals)
        except Exception:
            context.discard()
            raise
        self.publisher.submit(Staged(claim, live.config, manifest))
        self.publisher._collect()

    def _known_schema(self, target: Target) -> TargetSchema | None:
        return self.ledger.schemas([target]).get(target)

    def new(self, path: bytes, text: str, tables: Tables | None = None) -> Claim:
        """Record a file, claim its job and stage rows for it: by default one, holding `text`."""
        self.stage.world.record((path, text))
        claim = self.claim()
        self.stages(claim, {"rows": {"v": [text]}} if tables is None else tables)
        return claim

    # --- S2 to S5 -------------------------------------------------------------------------

    def decide(self) -> None:
        self.publisher._decide_due()
        self.publisher._report_failures()

    def promote(self) -> None:
        self.publisher._promote_due()

    def publish(self) -> None:
        self.decide()
        self.promote()

    @property
    def staged(self) -> list[int]:
        return [s.claim.job_id for s in self.publisher._staged]

    @property
    def decided(self) -> list[int]:
        return [d.manifest.job_id for d in self.publisher._decided]

    # --- the keeper -----------------------------------------------------------------------

    def recover(self) -> None:
        """Take over and reap what others left; what was inherited waits for `promote`."""
        self.keeper.recover()
        if not self.publisher._inbox.empty():
            self.publisher._collect()

    def believes(self, claim: Claim) -> None:
        """Its clock stood still: to itself this engine holds the job as before."""
        self.leases.add([(claim.job_id, claim.token)])


def _staged(
    context: WorkerContext, tables: Tables, vouched: Mapping[str, int] | None
) -> dict[str, TopicTotals]:
    totals = {}
    for topic, columns in tables.items():
        table = pa.table(dict(columns))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        payload = sink.getvalue()
        context.frame(topic, Flag.STREAM, payload)
        rows = table.num_rows if vouched is None else vouched[topic]
        totals[topic] = TopicTotals(1, rows, payload.size)
    return totals


class Interrupted:
    """A ledger that does something else before a call, or loses the answer to it."""

    def __init__(self, ledger: PublishLedger) -> None:
        self._ledger = ledger
        self._before: dict[str, Callable[[], None]] = {}
        self._after: dict[str, Callable[[], None]] = {}

    def before(self, name: str, do: Callable[[], None]) -> None:
        """Do this once, when `name` is called next."""
        self._before[name] = do

    def after(self, name: str, do: Callable[[], None]) -> None:
        self._after[name] = do

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._ledger, name)
        if name not in self._before and name not in self._after:
            return value

        def call(*arguments: Any) -> Any:
            self._before.pop(name, lambda: None)()
            answer = value(*arguments)
            self._after.pop(name, lambda: None)()
            return answer

        return call


class _Context:
    """Knows who died."""

    def __init__(self, dead: set[str]) -> None:
        self._dead = dead

    def is_dead(self, node: Any) -> bool:
        return node.id in self._dead


@contextlib.contextmanager
def virtual_time(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The monotonic clock stands, and moves with the queue's."""
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: clock.now_us / 1e6)
        yield


def lost() -> None:
    """For `Interrupted`: the answer does not come."""
    raise UnavailableError("the connection was lost before the answer came")
