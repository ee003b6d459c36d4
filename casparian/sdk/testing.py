"""Runs a plugin on a file without an engine: for the tests of plugin authors.

What the engine would refuse of a plugin's rows (a topic's name, batches that do not fit
together) is refused here in the same words; targets and their schemas play no part.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from casparian.domain.schemas import Column, TargetSchema, reconcile
from casparian.sdk.convert import record_batches
from casparian.sdk.loader import make_handler
from casparian.sdk.plugin import CaspPlugin, Job, JobFields
from casparian.sdk.rejects import Row, reject_batch, reject_row, topic_problem


@dataclass(frozen=True, slots=True)
class PluginResult:
    """What a plugin published: a table per topic, a topic without rows included.

    `rejects`: what it put aside, by the topic it named (None where it named none), as tables
    with the columns topic, line, offset, raw and reason.
    """

    tables: dict[str, pa.Table] = field(default_factory=dict)
    rejects: dict[str | None, pa.Table] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows over all topics, without those rejected."""
        return sum(table.num_rows for table in self.tables.values())

    @property
    def rejected(self) -> int:
        """Rows put aside, over all topics."""
        return sum(table.num_rows for table in self.rejects.values())


def run_plugin(
    handler: type[CaspPlugin],
    path: str | os.PathLike[str],
    settings: Mapping[str, Any] | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
) -> PluginResult:
    """Configure a fresh `Handler` with `settings`, let it execute the file, return its rows.

    `root` stands for the source root: `ctx.path` is the file's path below it (default: the
    file's own directory). Whatever the plugin raises is raised here. So are ValueError for a
    topic's name that cannot be one, and JobError (SCHEMA_DRIFT) for batches of one topic
    whose types cannot be one table.
    """
    file = Path(path).resolve()
    base = file.parent if root is None else Path(root).resolve()
    name = handler.__module__.rpartition(".")[2]
    instance = make_handler(name, handler)
    context = _Context(_job(file, base), name)
    instance.configure(context, dict(settings or {}))
    context.begin()
    try:
        instance.execute(str(file))
    finally:
        context.end()
    return PluginResult(
        {topic: rows.table() for topic, rows in context.topics.items()},
        {
            topic: pa.Table.from_batches([reject_batch(rows)])
            for topic, rows in context.rejects.items()
        },
    )


def _job(file: Path, base: Path) -> Job:
    with file.open("rb") as stream:
        content_hash = hashlib.file_digest(stream, "sha256").hexdigest()
    return Job(1, 1, 1, content_hash, file.relative_to(base).as_posix())


class _Context(JobFields):
    """A `PluginContext` that keeps what is published."""

    def __init__(self, job: Job, plugin: str) -> None:
        self._job = job
        self._executing = False
        self.topics: dict[str, _Rows] = {}
        self.rejects: dict[str | None, list[Row]] = {}
        self.logger = logging.LoggerAdapter(logging.getLogger(f"casparian.plugin.{plugin}"), {})

    def begin(self) -> None:
        self._executing = True

    def end(self) -> None:
        self._executing = False

    @property
    def job(self) -> Job:
        if not self._executing:
            raise RuntimeError("there is no current job outside execute()")
        return self._job

    def publish(self, topic: str, data: Any) -> int:
        problem = topic_problem(topic)
        if problem is not None:
            raise ValueError(problem)
        self._check_executing("publish")
        rows = self.topics.setdefault(topic, _Rows(topic))
        count = 0
        for schema, batch in record_batches(data):
            count += rows.add(schema, batch)
        return count

    def reject(
        self,
        raw: bytes | str,
        reason: str,
        *,
        line: int | None = None,
        offset: int | None = None,
        topic: str | None = None,
    ) -> None:
        self._check_executing("reject")
        row = reject_row(raw, reason, line, offset, topic)
        self.rejects.setdefault(topic, []).append(row)

    def _check_executing(self, what: str) -> None:
        if not self._executing:
            raise RuntimeError(f"{what}() works only inside execute()")


class _Rows:
    """The batches of one topic, and the schema that holds them all."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._schema: TargetSchema | None = None
        self._types: dict[tuple[str, str], pa.DataType] = {}
        self._batches: list[pa.RecordBatch] = []

    def add(self, schema: pa.Schema, batch: pa.RecordBatch | None) -> int:
        self._types.update({(f.name, str(f.type)): f.type for f in schema})
        columns = TargetSchema(tuple(Column(f.name, str(f.type), f.nullable) for f in schema))
        self._schema = reconcile(self._schema, columns, f"topic {self._topic!r}").schema
        if batch is None:
            return 0
        batch.validate(full=True)
        self._batches.append(batch)
        return batch.num_rows

    def table(self) -> pa.Table:
        assert self._schema is not None
        schema = pa.schema(
            [
                pa.field(c.name, self._types[c.name, c.type], c.nullable)
                for c in self._schema.columns
            ]
        )
        return pa.Table.from_batches([_shaped(b, schema) for b in self._batches], schema)


def _shaped(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    if batch.schema.equals(schema):
        return batch
    present = set(batch.schema.names)
    arrays = [
        batch.column(f.name).cast(f.type) if f.name in present else pa.nulls(batch.num_rows, f.type)
        for f in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
