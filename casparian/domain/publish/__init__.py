"""The publish protocol's values and rules: slots, generations, manifests, stagings, markers.

A job's rows are staged in private, decided once in the queue database, and promoted from
the manifest written there, each target holding a marker that makes a second promote a no-op.
"""

from __future__ import annotations

from casparian.domain.publish.decision import Completion, Decision, Refusal, SchemaChange
from casparian.domain.publish.manifest import EMPTY_DIGEST, Manifest, ManifestItem
from casparian.domain.publish.marker import Marker, MarkerCase, compare_marker
from casparian.domain.publish.plan import group_by_target, plan_items, plan_purge, planned
from casparian.domain.publish.receipt import InstallCase, Receipt, final_status
from casparian.domain.publish.slots import (
    BundleKey,
    Generation,
    PublishedSlot,
    SlotKey,
    SlotState,
    Target,
    slot_for,
)
from casparian.domain.publish.staging import SHORT, JobFate, StagingKey, is_orphan

__all__ = [
    "EMPTY_DIGEST",
    "SHORT",
    "BundleKey",
    "Completion",
    "Decision",
    "Generation",
    "InstallCase",
    "JobFate",
    "Manifest",
    "ManifestItem",
    "Marker",
    "MarkerCase",
    "PublishedSlot",
    "Receipt",
    "Refusal",
    "SchemaChange",
    "SlotKey",
    "SlotState",
    "StagingKey",
    "Target",
    "compare_marker",
    "final_status",
    "group_by_target",
    "is_orphan",
    "plan_items",
    "plan_purge",
    "planned",
    "slot_for",
]
