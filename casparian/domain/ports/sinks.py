"""The port to where rows are published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

from casparian.domain.errors import JobError
from casparian.domain.lineage import JobLineage
from casparian.domain.publish import (
    Manifest,
    ManifestItem,
    Marker,
    Receipt,
    StagingKey,
    Target,
)
from casparian.domain.schemas import TargetSchema


@dataclass(frozen=True, slots=True)
class StageRequest:
    """What a staging is for. `shared`: the rows may wait in memory for those of other jobs,
    since `Bundler.seal` will be called before anything else is done with the staging."""

    key: StagingKey
    target: Target
    lineage: JobLineage
    shared: bool = False


class Staging(Protocol):
    """One topic's rows on their way: private until promoted. One thread at a time."""

    def write(self, batch: Any) -> None:
        """Append a validated RecordBatch with its lineage columns; raises JobError
        (SCHEMA_DRIFT, DATA) for rows that the target cannot hold as they are."""
        ...

    def finish(self) -> StagedRows:
        """Close the files. Durable only after `Sink.sync`."""
        ...

    def discard(self) -> None: ...


@dataclass(frozen=True, slots=True)
class StagedRows:
    """What `finish` leaves: rows, their digest, the schema without lineage, file names."""

    rows: int
    digest: str
    schema: TargetSchema
    files: tuple[str, ...]


class PromoteItem(NamedTuple):
    """One item of one job to be promoted by the holder of `key.token`."""

    key: StagingKey
    manifest: Manifest
    item: ManifestItem


class Sink(Protocol):
    """One output location: a directory tree, a database file, a database.

    1. What is staged is seen by no reader, whatever it globs.
    2. `promote` is idempotent: where the slot's marker is the job's, it does nothing.
    3. `promote` installs only where the generation is higher than the slot's; the rows of
       the slot are replaced as a whole, in one step for readers.
    4. A reader sees whole, published rows and nothing else at every moment.
    5. A promoter whose staging was taken over (`rekey`) changes nothing: its receipt has an
       error and the rows stand as the new holder left them.
    6. A marker of the same job with another digest, or of another installation, is refused.
    7. After `sync` returns, what was staged survives a power cut; after `promote`, what it
       installed does.
    8. `rekey` is found by installation, job and attempt, whatever the token.
    9. `stagings` lists every staging by its key; `discard` removes one and is idempotent.
    10. Values and types survive by the sink's documented mapping, or the write is refused.
    11. One item that fails does not fail the others.
    """

    scheme: str
    location: str

    def check(self) -> None:
        """Raise ConfigurationError where this sink could not keep its promises."""
        ...

    def stage(self, request: StageRequest, known: TargetSchema | None) -> Staging:
        """Open a staging; rows are cast to `known` where the schema rules allow."""
        ...

    def stage_empty(self, manifest: Manifest, item: ManifestItem, key: StagingKey) -> None:
        """Stage what emptying a slot needs (nothing, for most sinks)."""
        ...

    def stage_marker(self, manifest: Manifest, item: ManifestItem, key: StagingKey) -> None:
        """Put the marker beside finished rows, before `sync`."""
        ...

    def sync(self, keys: Sequence[StagingKey]) -> None: ...

    def promote(self, items: Sequence[PromoteItem]) -> list[Receipt]: ...

    def rekey(self, key: StagingKey) -> None:
        """Rename the staging of this installation, job and attempt to `key.token`."""
        ...

    def stagings(self) -> list[StagingKey]: ...

    def discard(self, key: StagingKey) -> None: ...

    def clean(self, now_us: int) -> None:
        """Remove what was replaced longer ago than the grace period."""
        ...

    def markers(self) -> Iterator[tuple[Target, Marker]]:
        """Every slot's marker, for checks."""
        ...


class Bundler(Protocol):
    """What a sink can do besides: put the small rows of several jobs into one place.

    1. `seal` completes stagings that were opened as `shared`, markers included, and those of
       slots to be emptied. Its result is in the order of the items: each as it is to be
       decided, or why its job fails.
    2. An item that comes with a bundle stays in it; the sink decides which others share one.
    3. Items of one bundle are written together, for a decision that is all or nothing. Until
       they are decided they may be sealed again, in other company.
    4. `promote` installs a bundle once, whoever of its jobs comes first.
    """

    def seal(self, items: Sequence[PromoteItem]) -> list[ManifestItem | JobError]: ...


def bundler_of(sink: Sink) -> Bundler | None:
    """The sink, if it can put the rows of several jobs into one place."""
    # A check against the protocol itself costs as much as parsing a small file's header.
    return cast(Bundler, sink) if callable(getattr(sink, "seal", None)) else None


@runtime_checkable
class LastingSink(Protocol):
    """What a sink can do besides: tell that the place it published to is not there, such as a
    disk that is not mounted.

    1. `missing` says what is missing and what can be done, or is empty. It makes nothing.
    2. Once `check` has passed, nothing is written where the disk is not: what is staged fails
       with INFRASTRUCTURE, what is promoted has a transient error, until it is back.
    """

    def missing(self) -> str: ...


class SinkFactory(Protocol):
    """Registered per URI scheme: parses the URI, opens the sink of a location."""

    scheme: str

    def absolute(self, uri: str, base: str) -> str:
        """The same URI with a relative path in it made absolute."""
        ...

    def parse(self, uri: str, base: str, plugin: str, topic: str) -> Target:
        """The target of a topic; raises ConfigurationError saying what is wrong with the URI.

        `base` is the directory that relative paths are relative to.
        """
        ...

    def open(self, location: str) -> Sink: ...
