"""What a target remembers of a slot's publication, and what a promoter does about it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from casparian.domain.publish.manifest import Manifest, ManifestItem, field_names
from casparian.domain.publish.slots import Generation, SlotKey


@dataclass(frozen=True, slots=True)
class Marker:
    """What a target keeps of the publication that a slot holds.

    `content_hash` is that of the file version, empty in targets that were published to before
    markers had it. `ordinal` is 0 for rows taken over from another installation, so that every
    publication of the queue that took them over is newer.
    """

    installation: str
    job_id: int
    attempt: int
    plugin: str
    topic: str
    location_id: int
    version_id: int
    root_path: str
    path: str
    ordinal: int
    rows: int
    digest: str
    content_hash: str = field(default="", compare=False)

    @staticmethod
    def of(manifest: Manifest, item: ManifestItem) -> Marker:
        return Marker(
            manifest.installation,
            manifest.job_id,
            manifest.attempt,
            item.slot.plugin,
            item.slot.topic,
            item.slot.location_id,
            item.slot.version_id,
            manifest.root_path,
            manifest.path,
            manifest.ordinal,
            item.rows,
            item.digest,
            manifest.content_hash,
        )

    @property
    def adopted(self) -> bool:
        return self.ordinal == 0

    @property
    def generation(self) -> Generation:
        return Generation(self.ordinal, self.job_id)

    @property
    def slot(self) -> SlotKey:
        return SlotKey(self.plugin, self.topic, self.location_id, self.version_id)

    def values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in field_names(Marker)}

    def to_json(self) -> str:
        return json.dumps(self.values())

    @staticmethod
    def from_json(text: str) -> Marker:
        return Marker(**json.loads(text))


class MarkerCase(StrEnum):
    """What a promoter does, given the marker that stands in the slot."""

    INSTALL = "install"
    ALREADY = "already"
    OLDER = "older"
    CONFLICT = "conflict"
    FOREIGN = "foreign"


def compare_marker(standing: Marker | None, mine: Marker) -> MarkerCase:
    """The one rule of every sink's promote."""
    if standing is None:
        return MarkerCase.INSTALL
    if standing.installation != mine.installation:
        return MarkerCase.FOREIGN
    if standing.job_id == mine.job_id:
        same = (standing.digest, standing.rows) == (mine.digest, mine.rows)
        return MarkerCase.ALREADY if same else MarkerCase.CONFLICT
    return MarkerCase.INSTALL if mine.generation > standing.generation else MarkerCase.OLDER
