"""Code on files as they are, in real sidecars, with nothing published.

An engine of its own does it, over a queue that lives in this process and sinks that keep what they
are given in a private directory. Those refuse what the real ones would refuse: the schemas that
stand are known to that queue, and are all that it is told of the real one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from casparian.adapters.queue import QueueStores, open_memory
from casparian.adapters.queue.memory import MemoryQueue
from casparian.adapters.sink.shadow import MadeRows, ShadowSinkFactory, Spool
from casparian.app.engine import WORKER, Engine
from casparian.app.settings import Settings, TransportSection
from casparian.app.settings_observing import LogSection, MetricsSection, OpenLineageSection
from casparian.app.shadow_samples import Sample
from casparian.domain.errors import ConfigurationError, UnavailableError
from casparian.domain.plugins import Duplicates, PluginConfig, PluginManifest, code_hash
from casparian.domain.ports import Applied, SinkFactory
from casparian.domain.publish import Target
from casparian.domain.routing import RoutingRule

TAG = "shadow"


class Ran(NamedTuple):
    """What the code made of one sample, by topic. `error` is why it failed, of `error_class`; both
    are empty where it did not."""

    topics: Mapping[str, MadeRows]
    error_class: str = ""
    error: str = ""


def run_code(
    settings: Settings,
    stores: QueueStores,
    factories: Mapping[str, SinkFactory],
    config: PluginConfig,
    code: bytes,
    samples: Sequence[Sample],
    spool: Spool,
) -> list[Ran]:
    """By sample. Raises ConfigurationError for code that cannot be run at all, UnavailableError
    where its rows could not be kept."""
    memory = open_memory()
    _record(memory, config, code, samples)

    def met(target: Target) -> None:
        ledger = memory.ledger
        assert isinstance(ledger, MemoryQueue)
        for known, schema in stores.ledger.schemas([target]).items():
            ledger.stands(known, schema)

    sinks = {name: ShadowSinkFactory(factory, spool, met) for name, factory in factories.items()}
    engine = Engine(_alone(settings), (WORKER,), sinks=sinks, queue=memory)
    result = engine.drain()
    if spool.failure is not None:
        raise UnavailableError(
            f"The rows that the new code makes could not be kept in {spool.directory}: "
            f"{spool.failure}. Make room there, set TMPDIR, or try it on fewer files."
        )
    if result.not_run:
        raise ConfigurationError(f"The code could not be run: {'; '.join(result.not_run.values())}")
    return _made(memory, samples, spool)


def _record(
    memory: QueueStores, config: PluginConfig, code: bytes, samples: Sequence[Sample]
) -> None:
    """One job for each sample."""
    topics = tuple(replace(topic, duplicates=Duplicates.PROCESS) for topic in config.topics)
    config = replace(config, tags=frozenset({TAG}), topics=topics)
    manifest = PluginManifest(code_hash(code), config.plugin, code)
    roots = tuple(dict.fromkeys(sample.root for sample in samples))
    memory.store.apply(Applied(roots, (RoutingRule("**", TAG),), (config,), (manifest,)))
    for root in memory.catalog.roots():
        sightings = [sample.sighting for sample in samples if sample.root == root.path]
        memory.catalog.record(root.id, sightings, memory.store.routing())


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
            "sinks": {},
        }
    )


def _made(memory: QueueStores, samples: Sequence[Sample], spool: Spool) -> list[Ran]:
    jobs = {job["file_version_id"]: job for job in memory.reports.jobs()}
    roots = {root.path: root.id for root in memory.catalog.roots()}
    ran: list[Ran] = []
    for sample in samples:
        location = memory.catalog.find(roots[sample.root], sample.sighting.path)
        assert location is not None
        version_id = location.current_version_id
        topics = {topic: made for (of, topic), made in spool.made.items() if of == version_id}
        error = jobs[version_id or 0]["error"]
        ran.append(Ran(topics, error["class"], error["message"]) if error else Ran(topics))
    return ran
