"""A sink in place of another that publishes nothing: it takes the rows that the other would take,
refuses those that it would refuse, and keeps them in files of a private directory.

For a job it is the other sink: same scheme, same targets, the schemas that stand there. Nothing of
the other is opened; what its values look like there it says without its place.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from casparian.adapters.sink._schema import Shaper
from casparian.domain import lineage
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.ports import PromoteItem, Sink, SinkFactory, StagedRows, StageRequest, Staging
from casparian.domain.publish import (
    EMPTY_DIGEST,
    InstallCase,
    Manifest,
    ManifestItem,
    Marker,
    Receipt,
    StagingKey,
    Target,
)
from casparian.domain.readback import ReadableSink
from casparian.domain.schemas import TargetSchema


@dataclass(slots=True)
class MadeRows:
    """What a job made for one topic, in files. `columns` are the target's as they would be after
    it; `named`: the columns that the job itself gave."""

    target: Target
    columns: TargetSchema = field(default_factory=lambda: TargetSchema(()))
    named: set[str] = field(default_factory=set)
    files: list[str] = field(default_factory=list)
    rows: int = 0

    def batches(self) -> Iterator[pa.RecordBatch]:
        """In the order in which they were made; from the beginning at each call."""
        for path in self.files:
            with pa.memory_map(path) as file, pa.ipc.open_stream(file) as stream:
                yield from stream


class Spool:
    """The rows of all shadow sinks, in one directory, by file version and topic. Any thread."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.made: dict[tuple[int, str], MadeRows] = {}
        self.failure: OSError | None = None
        """Why rows could not be kept: then what was made is not all."""
        self._staged: dict[tuple[str, Target], MadeRows] = {}
        self._files = 0
        self._lock = threading.Lock()

    def stage(self, key: StagingKey, target: Target) -> MadeRows:
        with self._lock:
            self._staged[key.name, target] = made = MadeRows(target)
        return made

    def new_file(self) -> str:
        with self._lock:
            self._files += 1
            return os.path.join(self.directory, f"{self._files}.arrows")

    def install(self, job: PromoteItem) -> Receipt:
        with self._lock:
            made = self._staged[job.key.name, job.item.target]
            self.made[job.manifest.file_version_id, job.item.slot.topic] = made
        return Receipt(job.item, InstallCase.INSTALLED)

    def failed(self, error: OSError) -> JobError:
        self.failure = error
        return JobError(ErrorClass.DATA, f"{self.directory} takes no more rows: {error}.")


class ShadowStaging:
    """Port `Staging`."""

    def __init__(
        self, spool: Spool, request: StageRequest, known: TargetSchema | None, other: Sink
    ) -> None:
        self._spool = spool
        self._where = str(request.target)
        self._made = spool.stage(request.key, request.target)
        self._shaper = Shaper(known, self._where)
        self._other = other if isinstance(other, ReadableSink) else None
        self._open: tuple[pa.Schema, Any] | None = None

    def write(self, batch: Any) -> None:
        self._made.named |= set(batch.schema.names) - set(lineage.COLUMNS)
        shaped = self._shaper.shape(batch)
        if self._other is not None:
            self._other.plain(shaped, self._where)
        try:
            self._writer(shaped.schema).write_batch(shaped)
        except OSError as error:
            raise self._spool.failed(error) from error
        self._made.rows += shaped.num_rows

    def _writer(self, schema: pa.Schema) -> Any:
        """Of a file of this schema: each widening begins another."""
        if self._open is None or self._open[0] != schema:
            self._close()
            path = self._spool.new_file()
            self._made.files.append(path)
            self._open = schema, pa.ipc.new_stream(path, schema)
        return self._open[1]

    def _close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def finish(self) -> StagedRows:
        try:
            self._close()
        except OSError as error:
            raise self._spool.failed(error) from error
        self._made.columns = self._shaper.columns
        return StagedRows(self._made.rows, EMPTY_DIGEST, self._shaper.columns, ())

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            # Why it is discarded was told when it failed.
            self._close()
        for path in self._made.files:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


class ShadowSink:
    """Port `Sink`. What is promoted lies in the spool, and nowhere else."""

    def __init__(self, scheme: str, location: str, spool: Spool, other: Sink) -> None:
        self.scheme = scheme
        self.location = location
        self._spool = spool
        self._other = other

    def check(self) -> None:
        """Nothing is published, so nothing has to be there."""

    def stage(self, request: StageRequest, known: TargetSchema | None) -> Staging:
        return ShadowStaging(self._spool, request, known, self._other)

    def stage_empty(self, manifest: Manifest, item: ManifestItem, key: StagingKey) -> None:
        """Nothing stands that could be emptied."""

    def stage_marker(self, manifest: Manifest, item: ManifestItem, key: StagingKey) -> None:
        """Nobody reads the spool for markers."""

    def sync(self, keys: Sequence[StagingKey]) -> None:
        """Nothing of it outlives the process."""

    def promote(self, items: Sequence[PromoteItem]) -> list[Receipt]:
        return [self._spool.install(job) for job in items]

    def rekey(self, key: StagingKey) -> None:
        """There is one worker, so nobody takes over."""

    def stagings(self) -> list[StagingKey]:
        return []

    def discard(self, key: StagingKey) -> None:
        """What was staged goes with the spool's directory."""

    def clean(self, now_us: int) -> None:
        """Nothing is replaced."""

    def markers(self) -> Iterator[tuple[Target, Marker]]:
        return iter(())


class ShadowSinkFactory:
    """Port `SinkFactory`, in place of another. `met` is told each target that comes up."""

    def __init__(self, other: SinkFactory, spool: Spool, met: Callable[[Target], None]) -> None:
        self.scheme = other.scheme
        self._other = other
        self._spool = spool
        self._met = met

    def absolute(self, uri: str, base: str) -> str:
        return self._other.absolute(uri, base)

    def parse(self, uri: str, base: str, plugin: str, topic: str) -> Target:
        target = self._other.parse(uri, base, plugin, topic)
        self._met(target)
        return target

    def open(self, location: str) -> Sink:
        return ShadowSink(self.scheme, location, self._spool, self._other.open(location))
