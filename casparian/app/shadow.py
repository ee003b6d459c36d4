"""A shadow run: code on files that a plugin has published, in real sidecars, into memory.

An engine of its own does it, over a queue and sinks that live in this process. What the new code
makes is held against what the code makes that published the rows. Nothing is published, and the
queue's database is only read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from casparian.adapters.queue import QueueStores, open_memory
from casparian.adapters.sink.memory import MemorySinkFactory, MemoryStore
from casparian.app.engine import WORKER, Engine
from casparian.app.settings import (
    LogSection,
    MetricsSection,
    OpenLineageSection,
    Settings,
    TransportSection,
)
from casparian.domain import lineage
from casparian.domain.errors import ConfigurationError
from casparian.domain.files import Sighting, path_bytes
from casparian.domain.plugins import (
    REJECTS_TOPIC,
    Duplicates,
    PluginConfig,
    PluginManifest,
    code_hash,
)
from casparian.domain.ports import Applied
from casparian.domain.routing import RoutingRule
from casparian.domain.shadow import Made, TopicDifference, compare
from casparian.domain.statuses import JobKind, JobStatus

TAG = "shadow"
SINK = "memory://shadow"


class Sample(NamedTuple):
    """A file as it is, and the job that published its rows."""

    root: bytes
    sighting: Sighting
    job_id: int
    plugin_hash: str
    rows: int
    rejects: int

    @property
    def place(self) -> tuple[bytes, bytes]:
        return self.root, self.sighting.path


@dataclass(frozen=True, slots=True)
class Shadow:
    """What came of it, by sample. `drifted`: samples whose published counts are not those that
    their own code makes now, so that the comparison says little about them."""

    samples: Sequence[Sample]
    before: Sequence[Made]
    now: Sequence[Made]
    topics: dict[str, TopicDifference]
    drifted: Sequence[Sample]

    @property
    def same(self) -> bool:
        return (
            all(topic.same for topic in self.topics.values())
            and [m.rejects for m in self.before] == [m.rejects for m in self.now]
            and [m.error for m in self.before] == [m.error for m in self.now]
        )


def shadow_run(
    settings: Settings, stores: QueueStores, plugin: str, code: bytes, limit: int
) -> Shadow:
    """Run `code` on the last files, at most `limit`, that the plugin has published and that are as
    they were. Raises ConfigurationError where there is none, or no such plugin."""
    live = {one.name: one for one in stores.store.live()}
    if plugin not in live:
        raise ConfigurationError(
            f"Plugin {plugin!r} has no live code: there is nothing to compare with. Deploy it "
            "without --shadow."
        )
    samples = last_published(stores, plugin, limit)
    if not samples:
        raise ConfigurationError(
            f"No file that plugin {plugin!r} has published is as it was then: there is nothing to "
            "run new code on. Deploy it without --shadow."
        )
    config = _into_memory(live[plugin].config)
    before: dict[tuple[bytes, bytes], Made] = {}
    for made_by in sorted({sample.plugin_hash for sample in samples}):
        old = stores.store.manifest(made_by, plugin).code
        theirs = [sample for sample in samples if sample.plugin_hash == made_by]
        before |= run_code(settings, config, old, theirs)
    now = run_code(settings, config, code, samples)
    pairs = [(before[s.place], now[s.place]) for s in samples]
    drifted = [
        sample
        for sample, (old_made, _) in zip(samples, pairs, strict=True)
        if old_made.error or (_rows(old_made), old_made.rejects) != (sample.rows, sample.rejects)
    ]
    old_made, new_made = [b for b, _ in pairs], [n for _, n in pairs]
    return Shadow(samples, old_made, new_made, compare(old_made, new_made), drifted)


def last_published(stores: QueueStores, plugin: str, limit: int) -> list[Sample]:
    """The newest first."""
    found: dict[tuple[bytes, bytes], Sample] = {}
    roots = stores.catalog.roots()
    for job in reversed(stores.reports.jobs(JobStatus.COMPLETED.value, plugin)):
        if len(found) == limit:
            break
        if job["kind"] != JobKind.RUN or not job["plugin_hash"]:
            continue
        path = path_bytes(job["path"])
        for root in roots:
            known = stores.catalog.find(root.id, path)
            if (
                known is None
                or known.deleted
                or known.current_version_id != job["file_version_id"]
                or known.identity is None
                or known.content_hash is None
            ):
                continue
            sighting = Sighting(path, known.identity, known.content_hash)
            sample = Sample(
                root.path, sighting, job["id"], job["plugin_hash"], job["rows"], job["rejects"]
            )
            found.setdefault(sample.place, sample)
    return list(found.values())


def run_code(
    settings: Settings, config: PluginConfig, code: bytes, samples: Sequence[Sample]
) -> dict[tuple[bytes, bytes], Made]:
    """What the code makes of each sample, by its place."""
    stores, memory = open_memory(), MemoryStore()
    manifest = PluginManifest(code_hash(code), config.plugin, code)
    roots = tuple(dict.fromkeys(sample.root for sample in samples))
    rules = (RoutingRule("**", TAG),)
    stores.store.apply(Applied(roots, rules, (config,), (manifest,)))
    for root in stores.catalog.roots():
        sightings = [sample.sighting for sample in samples if sample.root == root.path]
        stores.catalog.record(root.id, sightings, stores.store.routing())
    engine = Engine(
        _alone(settings),
        (WORKER,),
        sinks={"memory": MemorySinkFactory(memory)},
        queue=stores,
    )
    result = engine.drain()
    if result.not_run:
        raise ConfigurationError(f"The code could not be run: {'; '.join(result.not_run.values())}")
    return _made(stores, memory, config)


def _into_memory(config: PluginConfig) -> PluginConfig:
    topics = tuple(
        replace(topic, sink=SINK, duplicates=Duplicates.PROCESS) for topic in config.topics
    )
    return replace(config, tags=frozenset({TAG}), topics=topics)


def _alone(settings: Settings) -> Settings:
    """The settings for an engine beside the one that runs: what both would want is left out, and a
    failure is told, not tried again."""
    plugins = settings.plugins.model_copy(update={"require_signature": False})
    worker = settings.worker.model_copy(update={"max_attempts": 1})
    return settings.model_copy(
        update={
            "transport": TransportSection(),
            "plugins": plugins,
            "worker": worker,
            "log": LogSection(),
            "metrics": MetricsSection(),
            "openlineage": OpenLineageSection(),
            "expect": [],
        }
    )


def _made(
    stores: QueueStores, memory: MemoryStore, config: PluginConfig
) -> dict[tuple[bytes, bytes], Made]:
    columns: dict[int, dict[str, dict[str, str]]] = {}
    rows: dict[int, dict[str, list[dict[str, Any]]]] = {}
    for (_, slot), held in sorted(memory.slots.items(), key=lambda one: str(one[0])):
        if held.rows is None or slot.topic == REJECTS_TOPIC:
            continue
        version_id = held.marker.version_id or _version_of(held.rows)
        table = held.rows.drop_columns(list(lineage.COLUMNS))
        columns.setdefault(version_id, {})[slot.topic] = {
            column.name: str(column.type) for column in table.schema
        }
        rows.setdefault(version_id, {})[slot.topic] = table.to_pylist()
    made: dict[tuple[bytes, bytes], Made] = {}
    for job in stores.reports.jobs():
        version_id = job["file_version_id"]
        root = _root_of(stores, path_bytes(job["path"]), version_id)
        error = job["error"]
        made[root, path_bytes(job["path"])] = Made(
            columns.get(version_id, {}),
            rows.get(version_id, {}),
            job["rejects"],
            f"{error['class']}: {error['message']}" if error else "",
        )
    return made


def _version_of(table: Any) -> int:
    return int(table[lineage.FILE_VERSION_ID][0].as_py()) if table.num_rows else 0


def _root_of(stores: QueueStores, path: bytes, version_id: int) -> bytes:
    for root in stores.catalog.roots():
        known = stores.catalog.find(root.id, path)
        if known is not None and known.current_version_id == version_id:
            return root.path
    raise LookupError(f"version {version_id} has no location")


def _rows(made: Made) -> int:
    return sum(len(rows) for rows in made.rows.values())
