"""WorkerContext: one job's rows on their way from frames to stagings, with lineage injected.

Nothing of a sidecar is believed: each batch is validated in full before anything touches it,
and the rows of a topic, rejected ones too, must add up to what the plugin vouched for. How
many may be rejected is held here, where no plugin can get round it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import pyarrow as pa

from casparian import _fastpath
from casparian.app.payloads import GarbledPayload, read_batch, read_schema, read_stream
from casparian.app.targets import Targets
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.files import path_text
from casparian.domain.jobs import Claim
from casparian.domain.lineage import JobLineage
from casparian.domain.messages import TopicTotals
from casparian.domain.plugins import REJECTS_TOPIC, LivePlugin, Mode
from casparian.domain.ports import Buffer, Sink, StageRequest, Staging, bundler_of
from casparian.domain.publish import Manifest, ManifestItem, StagingKey, Target, slot_for
from casparian.domain.rejects import MOST_SHOWN, RejectBound
from casparian.domain.schemas import TargetSchema
from casparian.domain.wire import Flag
from casparian.sdk.rejects import REJECTS_SCHEMA


@dataclass(slots=True)
class _Topic:
    target: Target
    mode: Mode
    sink: Sink
    schema: pa.Schema
    staging: Staging
    rows: int = 0


class WorkerContext:
    """Which job this is, and the stagings its rows are in. One thread at a time."""

    def __init__(
        self,
        claim: Claim,
        plugin: LivePlugin,
        installation: str,
        targets: Targets,
        known_schema: Callable[[Target], TargetSchema | None],
    ) -> None:
        self.claim = claim
        self.plugin = plugin
        self.opened_at = time.monotonic()
        self.key = StagingKey(installation, claim.job_id, claim.attempt, claim.token)
        self._targets = targets
        self._known_schema = known_schema
        self._topics: dict[str, _Topic] = {}
        self._rejects = RejectBound(claim.plugin, plugin.config.max_rejects)
        self._lineage = JobLineage(
            claim.job_id,
            claim.file_version_id,
            path_text(claim.path),
            claim.content_hash,
            claim.plugin,
            claim.plugin_hash,
        )

    def frame(self, topic: str, flags: Flag, payload: Buffer) -> None:
        """Stage one DATA payload. Raises GarbledPayload, or JobError for rows not to be held."""
        if flags & Flag.SCHEMA:
            self._open(topic, read_schema(payload))
            return
        if flags & Flag.STREAM:
            schema, batch = read_stream(payload)
            state = self._open(topic, schema)
        else:
            state = self._topics[topic]
            batch = read_batch(payload, state.schema)
        if batch.num_rows == 0:
            return
        if topic == REJECTS_TOPIC:
            self._count_rejects(batch)
        claim = self.claim
        with_lineage = _fastpath.add_lineage(batch, claim.job_id, claim.file_version_id, state.rows)
        state.staging.write(with_lineage)
        state.rows += batch.num_rows

    def _count_rejects(self, batch: pa.RecordBatch) -> None:
        first = batch.slice(0, MOST_SHOWN if self._rejects.wants_more else 0)
        lines, reasons = (first.column(name).to_pylist() for name in ("line", "reason"))
        self._rejects.add(batch.num_rows, zip(lines, reasons, strict=True))

    def _open(self, topic: str, schema: pa.Schema) -> _Topic:
        if topic == REJECTS_TOPIC and not schema.equals(REJECTS_SCHEMA):
            raise GarbledPayload("rejects came with other columns than those of rejects")
        state = self._topics.get(topic)
        if state is not None:
            state.schema = schema
            return state
        covered = self._targets.of_topic(self.plugin.config, topic)
        if covered is None:
            raise JobError(ErrorClass.UNKNOWN_TOPIC, f"topic {topic!r} has no configuration")
        target, mode = covered
        for name, other in self._topics.items():
            if other.target == target:
                raise JobError(
                    ErrorClass.DATA,
                    f"Topics {name!r} and {topic!r} would both go to {target}; "
                    "give each a target of its own.",
                )
        sink = self._targets.sink(target)
        shared = bundler_of(sink) is not None
        request = StageRequest(self.key, target, self._lineage, shared)
        staging = sink.stage(request, self._known_schema(target))
        self._topics[topic] = state = _Topic(target, mode, sink, schema, staging)
        return state

    def finish(self, totals: Mapping[str, TopicTotals]) -> Manifest:
        """Close the stagings; the manifest of what was staged, not yet planned."""
        for topic, total in totals.items():
            arrived = self._topics[topic].rows if topic in self._topics else 0
            if arrived != total.rows:
                raise GarbledPayload(
                    f"topic {topic!r} has {arrived} rows, the plugin vouched for {total.rows}"
                )
        self._rejects.finish(
            sum(state.rows for topic, state in self._topics.items() if topic != REJECTS_TOPIC)
        )
        claim = self.claim
        items: list[ManifestItem] = []
        for topic, state in self._topics.items():
            if not state.rows:
                # A topic without rows still has its columns.
                state.staging.write(_fastpath.add_lineage(_no_rows(state.schema), 0, 0, 0))
            staged = state.staging.finish()
            slot = slot_for(
                state.mode, claim.plugin, topic, claim.location_id, claim.file_version_id
            )
            items.append(
                ManifestItem(
                    state.target,
                    state.mode,
                    slot,
                    True,
                    staged.rows,
                    staged.digest,
                    staged.schema.to_json(),
                    staged.files,
                )
            )
        manifest = Manifest(
            self.key.installation,
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
            tuple(items),
        )
        for item in items:
            self._targets.sink(item.target).stage_marker(manifest, item, self.key)
        return manifest

    def discard(self) -> None:
        """Drop all that was staged. What cannot be removed keeps nothing else; raises its error."""
        topics = list(self._topics.values())
        self._topics.clear()
        with ExitStack() as steps:
            for sink in {id(state.sink): state.sink for state in topics}.values():
                steps.callback(sink.discard, self.key)
            for state in topics:
                steps.callback(state.staging.discard)


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)
