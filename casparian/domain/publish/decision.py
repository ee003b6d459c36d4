"""What the one transaction is given that decides, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from casparian.domain.jobs import JobStatus
from casparian.domain.publish.manifest import Manifest
from casparian.domain.publish.slots import BundleKey, PublishedSlot, SlotState, Target


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """A target's schema as one job sets or widens it: compare-and-set by `expected`
    (the JSON that stood before, None where there was none)."""

    target: Target
    expected: str | None
    schema_json: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One job's S2: the manifest, guarded by token and by the slot state it was planned on."""

    job_id: int
    attempt: int
    token: str
    manifest: Manifest
    planned_on: SlotState
    emptied: tuple[PublishedSlot, ...] = ()
    schema_changes: tuple[SchemaChange, ...] = ()
    sandbox: str = ""
    environment: str = ""

    @property
    def raises_generation(self) -> bool:
        standing = self.planned_on.generation
        return standing is None or self.manifest.generation > standing


class Refusal(StrEnum):
    """Why a decision was not taken."""

    STALE = "stale"
    HELD = "held"
    MOVED = "moved"
    SCHEMA = "schema"


@dataclass(frozen=True, slots=True)
class Completion:
    """One job's S4. `bundles`: the revision of each bundle that it knows to be installed."""

    job_id: int
    token: str
    status: JobStatus
    rows: int
    emptied: tuple[PublishedSlot, ...] = ()
    bundles: Mapping[BundleKey, int] = field(default_factory=dict)
