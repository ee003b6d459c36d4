"""Skipping duplicates, through any history: one copy of each content, by memory and SQLite alike.

Workers, files and a target are played here; the queue, the plan of what is published and the rule
of what replaces what are the real ones.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from casparian.adapters.queue import QueueStores
from casparian.adapters.queue.memory import MemoryQueue
from casparian.adapters.queue.sqlite import open_stores
from casparian.domain.errors import ErrorClass
from casparian.domain.files import Sighting
from casparian.domain.jobs import Claim, Failure, JobKind, JobStatus, RetryPolicy
from casparian.domain.plugins import Duplicates, Mode, TopicConfig
from casparian.domain.publish import (
    Completion,
    Decision,
    Generation,
    Manifest,
    ManifestItem,
    SlotKey,
    plan_items,
    plan_purge,
    planned,
)
from casparian.testing.world import (
    HASH,
    LEASE_US,
    PLUGIN,
    TARGET,
    VirtualClock,
    World,
    applied,
    content,
    plugin,
    stat,
)
from tests.support.examples import examples

POLICY = RetryPolicy()
PATHS = [b"a.csv", b"b.csv", b"c.csv"]
BAD = "bad"
paths, contents = st.sampled_from(PATHS), st.sampled_from(["x", "x", "y", "y", "z", BAD])
picks = st.integers(0, 30)


@dataclass
class Side:
    """One queue, with the target that its jobs publish to."""

    world: World
    mode: Mode
    rows: dict[SlotKey, str] = field(default_factory=dict)
    markers: dict[SlotKey, Generation] = field(default_factory=dict)
    decided: dict[int, Manifest] = field(default_factory=dict)

    def finish(self, claim: Claim, found: str | None) -> None:
        """Do what a worker does with a claim whose file holds `found` now."""
        if claim.kind is JobKind.RUN and found != claim.content_hash:
            gone, newer = ErrorClass.SOURCE_CHANGED, self.mode is Mode.REPLACE
            if found is None:
                gone = ErrorClass.SOURCE_GONE
            self._fail(claim, gone, newer)
        elif claim.kind is JobKind.RUN and found == content(BAD):
            self._fail(claim, ErrorClass.DATA, False)
        elif self.decide(claim):
            self.promote(claim.job_id, claim.token)

    def _fail(self, claim: Claim, error_class: ErrorClass, newer: bool) -> None:
        job = (claim.job_id, claim.attempt, claim.token)
        failure = Failure(*job, error_class, "It broke.", supersede_if_newer=newer)
        self.world.stores.queue.fail([failure], POLICY)

    def decide(self, claim: Claim) -> bool:
        state = self.world.slot(claim)
        topics = ("rows",) if claim.kind is JobKind.RUN else ()
        manifest = self.world.manifest(claim, topics, self.mode)
        kept: list[ManifestItem] = []
        if claim.kind is JobKind.PURGE:
            emptied = plan_purge(manifest, state)
        else:
            kept, emptied = plan_items(manifest, state, lambda topic: (TARGET, self.mode))
        manifest = planned(manifest, kept, emptied)
        decision = Decision(
            claim.job_id, claim.attempt, claim.token, manifest, state, tuple(emptied)
        )
        if self.world.stores.ledger.decide([decision]):
            return False
        self.decided[claim.job_id] = manifest
        return True

    def promote(self, job_id: int, token: str) -> None:
        manifest = self.decided[job_id]
        installed = [item for item in manifest.items if self._is_newer(manifest, item.slot)]
        for item in installed:
            self.markers[item.slot] = manifest.generation
            self.rows.pop(item.slot, None)
            if item.staged:
                self.rows[item.slot] = manifest.content_hash
        late = manifest.withheld if not manifest.items else not installed
        status = JobStatus.SUPERSEDED if late else JobStatus.COMPLETED
        done = Completion(job_id, token, status, 5, manifest.emptied)
        assert self.world.stores.ledger.complete([done]) == {job_id}

    def _is_newer(self, manifest: Manifest, slot: SlotKey) -> bool:
        return slot not in self.markers or manifest.generation > self.markers[slot]

    def block(self, claim: Claim, found: str | None) -> None:
        if found == claim.content_hash and self.decide(claim):
            self.world.stores.ledger.block(claim.job_id, claim.token, "It is full.")
        else:
            self.finish(claim, found)

    def purge(self, location_id: int) -> None:
        key = (PLUGIN, location_id)
        begun = self.world.stores.queue.begin_purges("p", [key], LEASE_US, "me")
        for claim in begun.claims:
            assert self.decide(claim)
            self.promote(claim.job_id, claim.token)

    def take_over(self) -> None:
        for job in self.world.stores.ledger.take_over("w9", 100, LEASE_US):
            self.promote(job.job_id, job.token)


class Copies(RuleBasedStateMachine):
    """Every step is done by both queues, and must have the same outcome."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.clock = VirtualClock()
        memory = MemoryQueue(self.clock, chance=lambda: 0.5)
        path = str(self.directory / "queue.sqlite3")
        self.stores = (
            QueueStores(memory, memory, memory, memory, memory, lambda: None),
            open_stores(path, self.clock, chance=lambda: 0.5),
        )
        self.files: dict[bytes, str] = {}
        self.touched: set[str] = set()
        """Contents whose jobs an operator cancelled, or whose rows one purged."""
        self.again: set[str] = set()
        """Contents that an operator wanted once more, in mode append."""
        self.held: list[tuple[Claim, ...]] = []
        self.inode = 0

    def teardown(self) -> None:
        self.settle()
        for stores in self.stores:
            stores.close()
        shutil.rmtree(self.directory)

    @initialize(mode=st.sampled_from(Mode))
    def start(self, mode: Mode) -> None:
        topics = (TopicConfig("rows", "parquet:///out", mode, Duplicates.SKIP),)
        self.sides = [Side(World(stores, self.clock), mode) for stores in self.stores]
        for side in self.sides:
            side.world.apply(applied(plugins=(plugin(topics=topics),)))

    def both(self, act: Callable[[Side], Any]) -> Any:
        one, other = (act(side) for side in self.sides)
        assert one == other
        return one

    def location_id(self, path: bytes) -> int:
        known = self.sides[0].world.stores.catalog.find(1, path)
        assert known is not None
        return known.id

    # --- files ---

    @rule(found=st.lists(st.tuples(paths, contents), min_size=1, max_size=3))
    def write(self, found: list[tuple[bytes, str]]) -> None:
        for path, text in found:
            self.record(path, content(text))

    def record(self, path: bytes, content_hash: str) -> None:
        self.files[path] = content_hash
        self.inode += 1
        sighting = Sighting(path, stat(inode=self.inode), content_hash)
        self.both(
            lambda s: s.world.stores.catalog.record(1, [sighting], s.world.stores.store.routing())
        )

    @precondition(lambda self: self.files)
    @rule(number=picks, what=st.sampled_from(["remove", "forget", "forget"]))
    def change(self, number: int, what: str) -> None:
        getattr(self, what)(sorted(self.files)[number % len(self.files)])

    def remove(self, path: bytes) -> None:
        del self.files[path]
        location = [self.location_id(path)]
        for _ in range(2):
            self.both(lambda s: s.world.stores.catalog.missed(location))

    def forget(self, path: bytes) -> None:
        """And scan again."""
        location = self.location_id(path)
        self.both(lambda s: s.world.stores.catalog.forget(location, "me"))
        if self.sides[0].mode is Mode.APPEND:
            self.again.add(self.files[path])
        self.record(path, self.files[path])

    # --- workers ---

    def claim(self, limit: int) -> list[tuple[Claim, ...]]:
        won = [side.world.claim(limit, plugins={PLUGIN: HASH}) for side in self.sides]
        pairs = list(zip(*won, strict=True))
        for one, other in pairs:
            assert one._replace(token="") == other._replace(token="")
        return pairs

    def work_on(self, pair: tuple[Claim, ...], how: str = "finish") -> None:
        for side, claim in zip(self.sides, pair, strict=True):
            getattr(side, how)(claim, self.files.get(claim.path))

    @rule(limit=st.integers(1, 3))
    def work(self, limit: int) -> None:
        for pair in self.claim(limit):
            self.work_on(pair)

    @rule(number=picks, what=st.sampled_from(["hold", "hold", "go_on", "block", "reap"]))
    def disturb(self, number: int, what: str) -> None:
        getattr(self, what)(number)

    def hold(self, _: int) -> None:
        self.held += self.claim(1)

    def go_on(self, number: int) -> None:
        if self.held:
            self.work_on(self.held.pop(number % len(self.held)))

    def block(self, _: int) -> None:
        for pair in self.claim(1):
            self.touched.add(pair[0].content_hash)
            self.work_on(pair, "block" if pair[0].kind is JobKind.RUN else "finish")

    def reap(self, _: int) -> None:
        self.clock.advance(31)
        self.both(lambda s: s.world.stores.queue.reap(POLICY))

    # --- operators ---

    @rule(number=picks, what=st.sampled_from(["cancel", "retry", "purge", "quarantine"]))
    def operate(self, number: int, what: str) -> None:
        jobs = self.sides[0].world.stores.reports.jobs()
        if jobs:
            getattr(self, what)(jobs[number % len(jobs)])

    def contents_of(self, job: dict[str, Any]) -> dict[int, str]:
        """Of the versions of a job's file, by id."""
        (story,) = self.sides[0].world.stores.reports.why(job["path"].encode())
        return {v["file_version_id"]: v["content_hash"] for v in story["versions"]}

    def cancel(self, job: dict[str, Any]) -> None:
        done = self.both(lambda s: s.world.stores.queue.cancel([job["id"]], "me"))
        versions = self.contents_of(job)
        if done and job["kind"] == "WITHDRAW":
            self.touched |= set(versions.values())
        elif done:
            self.touched.add(versions[job["file_version_id"]])

    def retry(self, job: dict[str, Any]) -> None:
        self.both(lambda s: s.world.stores.queue.retry([job["id"]], "me"))

    def purge(self, job: dict[str, Any]) -> None:
        location = self.location_id(job["path"].encode())
        rows = self.sides[0].rows
        self.touched |= {text for slot, text in rows.items() if slot.location_id == location}
        # A job that failed publishes nothing any more where a purge is newer.
        self.touched.add(list(self.contents_of(job).values())[-1])
        self.both(lambda s: s.purge(location))

    def quarantine(self, _: dict[str, Any]) -> None:
        """And mend it at once."""
        self.both(lambda s: s.world.stores.queue.fail_queued(PLUGIN, "It crashes."))
        failed = [j["id"] for j in self.sides[0].world.stores.reports.jobs(status="FAILED")]
        self.both(lambda s: s.world.stores.queue.retry(failed, "me"))

    # --- what must hold ---

    @invariant()
    def no_content_stands_twice(self) -> None:
        for side in getattr(self, "sides", ()):
            copies = Counter(side.rows.values())
            assert all(n == 1 for c, n in copies.items() if c not in self.again), copies

    @invariant()
    def both_tell_the_same(self) -> None:
        if hasattr(self, "sides"):
            self.both(lambda s: s.world.statuses())
            self.both(lambda s: s.rows)

    @rule()
    def settle(self) -> None:
        """All work is done: each content that lies in the source stands once."""
        if not hasattr(self, "sides"):
            return
        while self.held:
            self.work_on(self.held.pop())
        for _ in range(60):
            self.clock.advance(700)
            self.both(lambda s: s.world.stores.queue.reap(POLICY))
            for side in self.sides:
                side.take_over()
            pairs = self.claim(5)
            for pair in pairs:
                self.work_on(pair)
            counts = self.sides[0].world.statuses().values()
            if not {"QUEUED", "RUNNING", "PROMOTING"} & set(counts):
                break
        else:
            raise AssertionError("It never came to rest.")
        self._check_rest()

    def _check_rest(self) -> None:
        here = set(self.files.values()) - {content(BAD)} - self.touched
        for side in self.sides:
            missing = here - set(side.rows.values())
            assert not missing, missing
            if side.mode is Mode.REPLACE:
                self._check_stale(side)

    def _check_stale(self, side: Side) -> None:
        """What stands for a file that is there is its content, or its content could not be
        published."""
        for path, found in self.files.items():
            location_id = self.location_id(path)
            standing = side.rows.get(SlotKey(PLUGIN, "rows", location_id))
            if standing not in (None, found) and not {standing, found} & self.touched:
                (story,) = side.world.stores.reports.why(path)
                ended = {job["status"] for job in story["versions"][-1]["jobs"]}
                assert "FAILED" in ended, (path, ended)


TestCopies = Copies.TestCase
TestCopies.settings = settings(max_examples=examples(5), stateful_step_count=40, deadline=None)
