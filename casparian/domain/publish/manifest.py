"""What one job does to its slots, as it is decided and kept."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from casparian.domain.plugins import Mode
from casparian.domain.publish.slots import Generation, PublishedSlot, SlotKey, Target
from casparian.domain.publish.staging import StagingKey

EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()
_COMPACT = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class ManifestItem:
    """What one job does to one slot. `staged` is False for a slot that is emptied
    (its rows removed, its marker kept).

    `schema_json` is the staged rows' schema, `digest` the SHA-256 by which the target's
    content can be checked. `bundle` names the bundle that the slot shares with others (empty:
    it has a place of its own), which will be of this `revision`.
    """

    target: Target
    mode: Mode
    slot: SlotKey
    staged: bool
    rows: int
    digest: str
    schema_json: str = "[]"
    files: tuple[str, ...] = ()
    bundle: str = ""
    revision: int = 0


@cache
def field_names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@dataclass(frozen=True, slots=True)
class Manifest:
    """The decision of a job, as written in S2 and promoted from for ever after.

    `withheld` counts the items that a newer publication of the location kept out.
    """

    installation: str
    job_id: int
    attempt: int
    plugin: str
    plugin_hash: str
    location_id: int
    file_version_id: int
    ordinal: int
    root_path: str
    path: str
    content_hash: str
    items: tuple[ManifestItem, ...] = ()
    withheld: int = 0

    @property
    def generation(self) -> Generation:
        return Generation(self.ordinal, self.job_id)

    @property
    def emptied(self) -> tuple[PublishedSlot, ...]:
        """The slots whose rows this job removes without putting any in their place."""
        return tuple(
            PublishedSlot(i.target, i.mode, i.slot, i.bundle) for i in self.items if not i.staged
        )

    @property
    def rows(self) -> int:
        return sum(item.rows for item in self.items)

    def staging(self, token: str) -> StagingKey:
        return StagingKey(self.installation, self.job_id, self.attempt, token)

    def to_json(self) -> str:
        # `asdict` copies every value deeply, at ten times the cost of the rest.
        values = {name: getattr(self, name) for name in field_names(Manifest)}
        values["items"] = [
            {name: getattr(item, name) for name in field_names(ManifestItem)} for item in self.items
        ]
        return _COMPACT.encode(values)

    @staticmethod
    def from_json(text: str) -> Manifest:
        raw: dict[str, Any] = json.loads(text)
        items = tuple(
            ManifestItem(
                **{
                    **item,
                    "target": Target(*item["target"]),
                    "mode": Mode(item["mode"]),
                    "slot": SlotKey(*item["slot"]),
                    "files": tuple(item["files"]),
                }
            )
            for item in raw.pop("items")
        )
        return Manifest(**raw, items=items)
