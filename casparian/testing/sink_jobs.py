"""What the contracts of sinks are written with: places, rows, and one job on its way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import pyarrow as pa
import pytest

from casparian.domain import lineage
from casparian.domain.errors import JobError
from casparian.domain.lineage import JobLineage
from casparian.domain.plugins import Mode
from casparian.domain.ports import PromoteItem, Sink, SinkFactory, StagedRows, StageRequest
from casparian.domain.publish import (
    EMPTY_DIGEST,
    InstallCase,
    Manifest,
    ManifestItem,
    Receipt,
    StagingKey,
    Target,
    slot_for,
)
from casparian.domain.schemas import TargetSchema

INSTALLATION = "0123456789abcdef" * 2
OTHER_INSTALLATION = "fedcba9876543210" * 2
TOKEN = "1" * 32
NEXT_TOKEN = "2" * 32
PLUGIN = "plug"
GRACE_US = 600 * 1_000_000


class SinkPlace(Protocol):
    """Where a contract runs: one output location, empty at the start of each test."""

    factory: SinkFactory
    uri: str
    base: str

    def read(self, target: Target) -> pa.Table | None:
        """All rows a stranger sees, by the means of the format; None where there is nothing."""
        ...


def batch(columns: dict[str, Any], job_id: int, version_id: int = 1, first: int = 0) -> Any:
    """A RecordBatch with lineage columns, as the worker hands it to a staging."""
    data = pa.table(columns) if columns else None
    rows = data.num_rows if data is not None else 0
    fields = list(data.schema) if data is not None else []
    arrays = [column.combine_chunks() for column in data.columns] if data is not None else []
    arrays = [a.chunk(0) if isinstance(a, pa.ChunkedArray) else a for a in arrays]
    numbers = ([job_id] * rows, [version_id] * rows, range(first, first + rows))
    for name, values in zip(lineage.COLUMNS, numbers, strict=True):
        fields.append(pa.field(name, pa.int64(), nullable=False))
        arrays.append(pa.array(values, pa.int64()))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


@dataclass
class Job:
    """One job on its way through the steps, as worker and publisher take them."""

    sink: Sink
    target: Target
    job_id: int
    location_id: int = 1
    version_id: int = 1
    ordinal: int = 1
    mode: Mode = Mode.REPLACE
    installation: str = INSTALLATION
    topic: str = "orders"
    key: StagingKey = field(init=False)
    items: tuple[ManifestItem, ...] = ()

    def __post_init__(self) -> None:
        self.key = StagingKey(self.installation, self.job_id, 1, TOKEN)

    def stage(
        self, *batches: Any, known: TargetSchema | None = None, target: Target | None = None
    ) -> StagedRows:
        """Stage rows and note the item that installs them."""
        target = target or self.target
        origin = JobLineage(self.job_id, self.version_id, "in/a.csv", "c" * 64, PLUGIN, "p" * 64)
        staging = self.sink.stage(StageRequest(self.key, target, origin), known)
        try:
            for rows in batches:
                staging.write(rows)
            staged = staging.finish()
        except JobError:
            staging.discard()
            raise
        slot = slot_for(self.mode, PLUGIN, self.topic, self.location_id, self.version_id)
        self.items += (
            ManifestItem(
                target,
                self.mode,
                slot,
                True,
                staged.rows,
                staged.digest,
                staged.schema.to_json(),
                staged.files,
            ),
        )
        return staged

    def empty(self, other: Job) -> None:
        """Plan to empty the slot that another job filled."""
        item = other.items[0]
        self.items += (ManifestItem(item.target, item.mode, item.slot, False, 0, EMPTY_DIGEST),)

    @property
    def manifest(self) -> Manifest:
        return Manifest(
            self.installation,
            self.job_id,
            1,
            PLUGIN,
            "p" * 64,
            self.location_id,
            self.version_id,
            self.ordinal,
            "/data\udcff",
            "in/a\udc80.csv",
            "c" * 64,
            self.items,
        )

    def plan(self) -> None:
        """Markers, then durability: what comes before the decision."""
        for item in self.items:
            put = self.sink.stage_marker if item.staged else self.sink.stage_empty
            put(self.manifest, item, self.key)
        self.sink.sync([self.key])

    def to_promote(self) -> list[PromoteItem]:
        return [PromoteItem(self.key, self.manifest, item) for item in self.items]

    def promote(self) -> list[Receipt]:
        return self.sink.promote(self.to_promote())

    def publish(self, *batches: Any, known: TargetSchema | None = None) -> Job:
        """All steps; every item must have been installed."""
        self.stage(*batches, known=known)
        self.plan()
        assert outcomes(self.promote()) == [InstallCase.INSTALLED] * len(self.items)
        self.sink.discard(self.key)
        return self


def outcomes(receipts: Iterable[Receipt]) -> list[InstallCase | str | None]:
    return [receipt.error or receipt.case for receipt in receipts]


def rows_of(table: pa.Table | None) -> list[tuple[int, int]]:
    """(job, row number), sorted."""
    if table is None:
        return []
    pairs = zip(table[lineage.JOB_ID].to_pylist(), table[lineage.ROW].to_pylist(), strict=True)
    return sorted(pairs)


def numbered(job_id: int, rows: int) -> list[tuple[int, int]]:
    return [(job_id, row) for row in range(rows)]


def values(rows: int, start: int = 0) -> dict[str, Any]:
    """Sample columns."""
    return {
        "id": pa.array(range(start, start + rows), pa.int64()),
        "name": pa.array([f"n{i}" for i in range(rows)]),
    }


class SinkFixtures:
    """Subclass, and give the fixture `place`."""

    @pytest.fixture
    def target(self, place: SinkPlace) -> Target:
        return place.factory.parse(place.uri, place.base, PLUGIN, "orders")

    @pytest.fixture
    def sink(self, place: SinkPlace, target: Target) -> Sink:
        return self.reopen(place, target)

    def reopen(self, place: SinkPlace, target: Target) -> Sink:
        """A sink as a new process would open it."""
        sink = place.factory.open(target.location)
        sink.check()
        return sink


def replace_key(job: Job, sink: Sink) -> Job:
    """The same decided job in the hands of its next holder."""
    holder = replace(job, sink=sink)
    holder.key = job.key._replace(token=NEXT_TOKEN)
    return holder
