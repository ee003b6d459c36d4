"""A small world for the contract suites of the queue: stores, a clock, and what fills them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from casparian.domain.documents.jobs import JobDocument
from casparian.domain.files import Sighting, SourceRoot, StatIdentity, path_text
from casparian.domain.jobs import Claim, JobStatus
from casparian.domain.plugins import (
    Mode,
    PluginConfig,
    PluginManifest,
    TopicConfig,
    code_hash,
)
from casparian.domain.ports import (
    Applied,
    FileCatalog,
    JobQueue,
    PluginStore,
    PublishLedger,
    RecordOutcome,
    Reports,
)
from casparian.domain.publish import (
    Completion,
    Decision,
    Manifest,
    ManifestItem,
    PublishedSlot,
    Refusal,
    SchemaChange,
    SlotState,
    Target,
    slot_for,
)
from casparian.domain.routing import RoutingRule

SECOND_US = 1_000_000
LEASE_US = 30 * SECOND_US
START_US = 1_700_000_000 * SECOND_US
ROOT = b"/in"
PLUGIN = "lines"
CODE = b"class Handler: ...\n"
HASH = code_hash(CODE)
TARGET = Target("parquet", "/out", "rows")
_inodes = itertools.count(1)


class VirtualClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_us = START_US

    def __call__(self) -> int:
        return self.now_us

    def advance(self, seconds: float) -> None:
        self.now_us += int(seconds * SECOND_US)


class Stores(Protocol):
    """What a suite needs of the adapter under test: one database, by port."""

    @property
    def catalog(self) -> FileCatalog: ...
    @property
    def queue(self) -> JobQueue: ...
    @property
    def ledger(self) -> PublishLedger: ...
    @property
    def store(self) -> PluginStore: ...
    @property
    def reports(self) -> Reports: ...


def plugin(
    name: str = PLUGIN, tags: Sequence[str] = ("csv",), topics: Sequence[TopicConfig] = ()
) -> PluginConfig:
    topics = tuple(topics) or (TopicConfig("rows", "parquet:///out"),)
    return PluginConfig(name, frozenset(tags), {"delimiter": ","}, topics)


def code(name: str = PLUGIN, source: bytes = CODE) -> PluginManifest:
    return PluginManifest(code_hash(source), name, source)


def applied(
    rules: Sequence[RoutingRule] = (RoutingRule("**/*.csv", "csv"),),
    plugins: Sequence[PluginConfig] = (),
    manifests: Sequence[PluginManifest] = (),
    ageing_us: int = 60 * SECOND_US,
    roots: Sequence[bytes] = (ROOT,),
) -> Applied:
    """A configuration: by default one root, one rule and one plugin."""
    plugins = tuple(plugins) or (plugin(),)
    manifests = tuple(manifests) or tuple(code(p.plugin) for p in plugins)
    return Applied(tuple(roots), tuple(rules), plugins, manifests, ageing_us)


def stat(size: int = 3, inode: int | None = None) -> StatIdentity:
    return StatIdentity(size, 1, 1, next(_inodes) if inode is None else inode, 1)


def content(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class World:
    """The adapter under test with a configuration applied."""

    stores: Stores
    clock: VirtualClock

    def apply(self, configuration: Applied | None = None) -> int:
        return self.stores.store.apply(configuration or applied())

    @property
    def root(self) -> SourceRoot:
        return self.stores.catalog.roots()[0]

    def record(self, *files: tuple[bytes, str]) -> RecordOutcome:
        """Record (path, content) pairs."""
        sightings = [Sighting(path, stat(), content(text)) for path, text in files]
        routing = self.stores.store.routing()
        return self.stores.catalog.record(self.root.id, sightings, routing)

    def record_many(self, count: int, text: str = "a") -> RecordOutcome:
        return self.record(*((b"file-%04d.csv" % i, f"{text}{i}") for i in range(count)))

    def claim(
        self,
        limit: int = 1,
        worker: str = "worker-1",
        plugins: Mapping[str, str] | None = None,
    ) -> list[Claim]:
        return self.stores.queue.claim(worker, plugins or {PLUGIN: HASH}, limit, LEASE_US)

    def claim_one(self, worker: str = "worker-1") -> Claim:
        (claim,) = self.claim(1, worker)
        return claim

    def statuses(self) -> dict[int, str]:
        return {job["id"]: job["status"] for job in self.stores.reports.jobs()}

    def job(self, job_id: int) -> JobDocument:
        return next(job for job in self.stores.reports.jobs() if job["id"] == job_id)

    def history(self, path: bytes) -> list[str]:
        """The events of all jobs of a file, in order of job and time."""
        (story,) = self.stores.reports.why(path)
        jobs = (job for version in story["versions"] for job in version["jobs"])
        return [event["event"] for job in jobs for event in job["events"]]

    # --- publishing ---

    def slot(self, claim: Claim) -> SlotState:
        key = (claim.plugin, claim.location_id)
        return self.stores.ledger.slots([key])[key]

    def manifest(
        self, claim: Claim, topics: Sequence[str] = ("rows",), mode: Mode = Mode.REPLACE
    ) -> Manifest:
        items = tuple(
            ManifestItem(
                TARGET._replace(name=topic),
                mode,
                slot_for(mode, claim.plugin, topic, claim.location_id, claim.file_version_id),
                staged=True,
                rows=5,
                digest=content(topic),
            )
            for topic in topics
        )
        return Manifest(
            self.stores.ledger.installation,
            claim.job_id,
            claim.attempt,
            claim.plugin,
            claim.plugin_hash,
            claim.location_id,
            claim.file_version_id,
            claim.ordinal,
            path_text(claim.root_path),
            path_text(claim.path),
            claim.content_hash,
            items,
        )

    def decision(
        self,
        claim: Claim,
        topics: Sequence[str] = ("rows",),
        mode: Mode = Mode.REPLACE,
        emptied: Sequence[PublishedSlot] = (),
        schemas: Sequence[SchemaChange] = (),
        state: SlotState | None = None,
    ) -> Decision:
        """A decision planned on the slot state given, or on that of now."""
        manifest = self.manifest(claim, topics, mode)
        return Decision(
            claim.job_id, claim.attempt, claim.token, manifest, state or self.slot(claim),
            tuple(emptied), tuple(schemas),
        )  # fmt: skip

    def with_items(self, decision: Decision, items: Sequence[ManifestItem]) -> Decision:
        """The decision with another manifest's items."""
        return replace(decision, manifest=replace(decision.manifest, items=tuple(items)))

    def decide(self, claim: Claim, topics: Sequence[str] = ("rows",)) -> None:
        refusals = self.stores.ledger.decide([self.decision(claim, topics)])
        assert refusals == {}

    def ledger_refuses(self, claim: Claim) -> bool:
        """True when the claim can no longer be decided."""
        return self.stores.ledger.decide([self.decision(claim)]) == {claim.job_id: Refusal.STALE}

    def complete(
        self,
        claim: Claim,
        status: JobStatus = JobStatus.COMPLETED,
        emptied: Sequence[PublishedSlot] = (),
    ) -> set[int]:
        done = Completion(claim.job_id, claim.token, status, 5, tuple(emptied))
        return self.stores.ledger.complete([done])

    def publish(self, claim: Claim, topics: Sequence[str] = ("rows",)) -> None:
        """All of S2 to S4 for one claim."""
        self.decide(claim, topics)
        assert self.complete(claim) == {claim.job_id}


def published(claim: Claim, topic: str = "rows", mode: Mode = Mode.REPLACE) -> PublishedSlot:
    slot = slot_for(mode, claim.plugin, topic, claim.location_id, claim.file_version_id)
    return PublishedSlot(TARGET._replace(name=topic), mode, slot)
