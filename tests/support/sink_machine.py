"""Two processes that publish to one sink, in any order of steps, held against the model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from casparian.domain import lineage
from casparian.domain.audit import AuditedSink
from casparian.domain.ports import Sink
from casparian.domain.publish import EMPTY_DIGEST, ManifestItem, StagingKey
from casparian.domain.schemas import TargetSchema, reconcile
from casparian.testing.sink import INSTALLATION, PLUGIN, Job, SinkPlace, batch
from casparian.testing.world import VirtualClock
from tests.support.sink_model import MODES, File, Planned, Row, SinkModel, pick

PROCESSES = 2
GRACE_S = 601
numbers = st.integers(0, 7)
processes = st.integers(0, PROCESSES - 1)
locations = st.integers(1, 2)
topics = st.dictionaries(st.sampled_from(sorted(MODES)), st.integers(0, 4), min_size=1)

staged: dict[str, Any] = {
    "process": processes,
    "location": locations,
    "older": numbers,
    "counts": topics,
    "wide": st.booleans(),
}

MakePlace = Callable[[VirtualClock], AbstractContextManager[SinkPlace]]


class SinkMachine(RuleBasedStateMachine):
    """One place, two processes that publish to it, and the model."""

    def __init__(self, make: MakePlace) -> None:
        super().__init__()
        self.clock, self.model = VirtualClock(), SinkModel()
        self._open = contextlib.ExitStack()
        self.place = self._open.enter_context(make(self.clock))
        parse = self.place.factory.parse
        self.targets = {t: parse(self.place.uri, self.place.base, PLUGIN, t) for t in MODES}
        self.sinks = [self._new_sink() for _ in range(PROCESSES)]
        self.known: dict[str, TargetSchema] = {}
        self.jobs: dict[int, tuple[int, Job]] = {}
        self.tokens = 0

    def teardown(self) -> None:
        try:
            sink = self.sinks[0]
            assert isinstance(sink, AuditedSink)
            for holding in sink.holdings():
                assert holding.faults == ()
        finally:
            self._open.close()

    def _new_sink(self) -> Sink:
        sink = self.place.factory.open(self.targets["orders"].location)
        sink.check()
        return sink

    def _token(self) -> str:
        self.tokens += 1
        return f"{self.tokens:012x}" + "0" * 20

    # --- staging --------------------------------------------------------------------------

    @rule(**staged)
    def stage(
        self, process: int, location: int, older: int, counts: dict[str, int], wide: bool
    ) -> None:
        """A new version of a file, or one that was there before (a backfill, a retry)."""
        newest = max((j.file.ordinal for j in self.model.jobs if j.file.location == location),
                     default=0)  # fmt: skip
        # Half of the time the next one; else one of those that were.
        ordinal = newest + 1 if older < 4 or not newest else max(1, newest - (older - 4))
        job_id = len(self.model.jobs) + 1
        rows = {
            t: [_row(job_id, n, wide) for n in range(count)] for t, count in sorted(counts.items())
        }
        planned = Planned(job_id, File(location, ordinal), rows, staged_by=self._token())
        job = Job(self.sinks[process], self.targets["orders"], job_id, location,
                  planned.file.version_id, ordinal)  # fmt: skip
        job.key = StagingKey(INSTALLATION, job_id, 1, str(planned.staged_by))
        for topic, some in rows.items():
            job.topic, job.mode = topic, MODES[topic]
            content = batch(_columns(some, wide), job_id, planned.file.version_id)
            job.stage(content, known=self.known.get(topic), target=self.targets[topic])
        self.model.jobs.append(planned)
        self.jobs[job_id] = (process, job)

    @rule(**staged)
    def stage_and_decide(self, **how: Any) -> None:
        self.stage(**how)
        self.decide(0)

    @initialize(**staged)
    def publish_first(self, **how: Any) -> None:
        self.publish(**how)

    @rule(**staged)
    def publish(self, **how: Any) -> None:
        self.stage_and_decide(**how)
        self.promote(0)
        self._discard(self.model.jobs[-1])

    @precondition(lambda self: self.model.slots)
    @rule(process=processes, location=locations)
    def purge(self, process: int, location: int) -> None:
        """A job without rows, for the newest version of the file: all that stands goes."""
        here = [j for j in self.model.jobs if j.file.location == location]
        if not here:
            return
        newest = max(j.file.ordinal for j in here)
        planned = Planned(len(self.model.jobs) + 1, File(location, newest), {}, decided=True)
        planned.emptied = [s for s in self.model.slots if s.location_id == location]
        planned.staged_by = self._token()
        job = Job(self.sinks[process], self.targets["orders"], planned.job_id, location,
                  planned.file.version_id, newest)  # fmt: skip
        job.key = StagingKey(INSTALLATION, planned.job_id, 1, planned.staged_by)
        self._plan_to_empty(job, planned)
        job.plan()
        self.model.jobs.append(planned)
        self.jobs[planned.job_id] = (process, job)

    @precondition(lambda self: any(j.staged_by and not j.decided for j in self.model.jobs))
    @rule(number=numbers)
    def decide(self, number: int) -> None:
        """What the model says is emptied is planned; markers, and durability."""
        planned = pick((j for j in self.model.jobs if j.staged_by and not j.decided), number)
        if planned is None:
            return
        _, job = self.jobs[planned.job_id]
        for item in job.items:
            topic = item.slot.topic
            incoming = TargetSchema.from_json(item.schema_json)
            self.known[topic] = reconcile(self.known.get(topic), incoming, topic).schema
        planned.emptied = self.model.to_empty(planned)
        self._plan_to_empty(job, planned)
        job.plan()
        planned.decided = True

    def _plan_to_empty(self, job: Job, planned: Planned) -> None:
        job.items += tuple(
            ManifestItem(self.targets[slot.topic], MODES[slot.topic], slot, False, 0, EMPTY_DIGEST)
            for slot in planned.emptied
        )

    # --- promoting ------------------------------------------------------------------------

    @rule(number=numbers)
    def promote(self, number: int) -> None:
        """By its holder, for the first time or again."""
        planned = self._decided(number)
        if planned is not None:
            self._promote(planned, self.jobs[planned.job_id][1].key.token)

    @rule(number=numbers)
    def promote_again(self, number: int) -> None:
        """Whatever stands by now."""
        planned = pick((j for j in self.model.jobs if j.decided), number)
        if planned is not None:
            self._promote(planned, self.jobs[planned.job_id][1].key.token)

    @rule(number=numbers, process=processes)
    def promote_without_the_staging(self, number: int, process: int) -> None:
        """By who held the job before it was taken over: nothing changes that did not stand."""
        planned = self._decided(number)
        if planned is not None:
            _, job = self.jobs[planned.job_id]
            before = job.sink
            job.sink = self.sinks[process]
            self._promote(planned, self._token())
            job.sink = before

    def _decided(self, number: int) -> Planned | None:
        """A job that is not promoted yet, where there is one."""
        decided = [j for j in self.model.jobs if j.decided]
        return pick([j for j in decided if not self.model.installed(j)] or decided, number)

    def _promote(self, planned: Planned, token: str) -> None:
        _, job = self.jobs[planned.job_id]
        mine = job.key
        job.key = mine._replace(token=token)
        expected = self.model.promote(planned, token)
        receipts = job.promote()
        job.key = mine
        assert [r.case for r in receipts] == expected, receipts
        assert all(r.error and not r.transient for r in receipts if r.case is None), receipts

    @rule(number=numbers, process=processes)
    def take_over(self, number: int, process: int) -> None:
        planned = self._decided(number)
        if planned is None:
            return
        _, job = self.jobs[planned.job_id]
        job.sink = self.sinks[process]
        job.key = job.key._replace(token=self._token())
        job.sink.rekey(job.key)
        if planned.staged_by:
            planned.staged_by = job.key.token
        self.jobs[planned.job_id] = (process, job)

    # --- upkeep ---------------------------------------------------------------------------

    @rule(number=numbers)
    def discard(self, number: int) -> None:
        """Of a job that ended: all of it was installed, or it was never decided."""
        planned = pick((j for j in self.model.jobs if j.staged_by), number)
        if planned is not None:
            self._discard(planned)

    def _discard(self, planned: Planned) -> None:
        if planned.decided and not self.model.installed(planned):
            return
        _, job = self.jobs[planned.job_id]
        job.sink.discard(job.key)
        job.sink.discard(job.key)
        planned.staged_by = None

    @rule(process=processes)
    def sweep(self, process: int) -> None:
        """Every staging that can be seen and belongs to nobody who decided goes."""
        sink, owners = self.sinks[process], self.model.owners()
        staged = {key.job_id for key in sink.stagings()}
        assert owners <= staged
        waiting = {j.job_id for j in self.model.jobs if not j.decided and j.staged_by}
        for key in sink.stagings():
            if key.job_id not in owners | waiting:
                sink.discard(key)
                self.model.jobs[key.job_id - 1].staged_by = None

    @rule(process=processes)
    def start_anew(self, process: int) -> None:
        """What a process had not decided is lost with it; the rest is still there."""
        for planned in self.model.jobs:
            there, job = self.jobs[planned.job_id]
            if there == process and not planned.decided:
                planned.staged_by = None
        self.sinks[process] = self._new_sink()
        gone = {j.job_id for j in self.model.jobs if j.staged_by is None and not j.decided}
        for there, job in self.jobs.values():
            if there == process:
                job.sink = self.sinks[process]
        for key in self.sinks[process].stagings():
            if key.job_id in gone:
                self.sinks[process].discard(key)

    @rule(process=processes)
    def time_passes(self, process: int) -> None:
        self.clock.advance(GRACE_S)
        self.sinks[process].clean(self.clock())

    # --- what holds -----------------------------------------------------------------------

    @precondition(lambda self: self.model.jobs)
    @invariant()
    def readers_see_what_stands(self) -> None:
        for topic, target in self.targets.items():
            assert _seen(self.place.read(target)) == self.model.rows(topic), topic

    @precondition(lambda self: self.model.jobs)
    @invariant()
    def markers_tell_it(self) -> None:
        found = [
            (m.topic, m.location_id, m.version_id, m.job_id, m.rows)
            for _, m in self.sinks[0].markers()
        ]
        assert len(found) == len(set(found))
        assert set(found) == self.model.markers()


def _row(job_id: int, number: int, wide: bool) -> Row:
    return (job_id, number, f"{job_id}.{number}", number * 10 if wide else None)


def _columns(rows: list[Row], wide: bool) -> dict[str, Any]:
    columns: dict[str, Any] = {"name": pa.array([row[2] for row in rows], pa.string())}
    if wide:
        columns["extra"] = pa.array([row[3] for row in rows], pa.int64())
    return columns


def _seen(table: pa.Table | None) -> list[Row]:
    if table is None:
        return []
    return sorted(
        (row[lineage.JOB_ID], row[lineage.ROW], row["name"], row.get("extra"))
        for row in table.to_pylist()
    )
