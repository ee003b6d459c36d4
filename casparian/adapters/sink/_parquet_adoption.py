"""Parquet rows that change their owner: markers are written anew, directories stay as they are.

Readers list directories by name and open what they listed. So no directory is renamed: where a
slot then lies is said beside them (`_slot_names`). Each marker is replaced in one step.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from casparian.adapters.sink._errors import disk_error
from casparian.adapters.sink._marked import MARKER, Held, read_held
from casparian.adapters.sink._places import Places
from casparian.adapters.sink._schema import to_domain
from casparian.adapters.sink._slot_names import SlotNames, write_names
from casparian.adapters.sink._types import canonical_field
from casparian.domain import lineage
from casparian.domain.adoption import Renewal, StandingSlot
from casparian.domain.publish import Marker, Target
from casparian.domain.schemas import TargetSchema, reconcile


class ParquetAdoption:
    """The published directories below one root."""

    def __init__(self, scheme: str, location: str, root: str, names: SlotNames) -> None:
        self._scheme, self._location, self._root, self._names = scheme, location, root, names

    def standing(self) -> Iterator[StandingSlot]:
        for topic in directories(self._root):
            target = Target(self._scheme, self._location, topic)
            for name, held in self._held(topic):
                if isinstance(held, Marker):
                    yield StandingSlot(target, self._with_content(topic, name, held))
                    continue
                for member in held.members:
                    yield StandingSlot(target, member, held.name, held.revision)

    def _with_content(self, topic: str, name: str, marker: Marker) -> Marker:
        """Markers that say nothing of the content lie with files that do."""
        if marker.content_hash:
            return marker
        directory = os.path.join(self._root, topic, name)
        for path in parquet_files(directory):
            metadata = pq.read_metadata(path).metadata or {}
            for entry in json.loads(metadata.get(lineage.METADATA_KEY.encode(), b"[]")):
                if entry["job_id"] == marker.job_id:
                    return replace(marker, content_hash=entry["content_hash"])
        return marker

    def _held(self, topic: str) -> Iterator[tuple[str, Held]]:
        """Each directory of a topic that has a marker, by name, with it."""
        for name in directories(os.path.join(self._root, topic)):
            held = read_held(os.path.join(self._root, topic, name))
            if held is not None:
                yield name, held

    def schema_of(self, target: Target) -> TargetSchema | None:
        """From the feet of all files, in the order in which they were published."""
        schema: TargetSchema | None = None
        for path in self._files(target):
            fields = [f for f in pq.read_schema(path) if f.name not in lineage.COLUMNS]
            columns = to_domain(pa.schema([canonical_field(field) for field in fields]))
            schema = reconcile(schema, columns, str(target)).schema
        return schema

    def _files(self, target: Target) -> list[str]:
        topic = os.path.join(self._root, target.name)
        found: list[tuple[int, str]] = []
        for name, held in self._held(target.name):
            members = [held] if isinstance(held, Marker) else held.members
            newest = max((member.job_id for member in members), default=0)
            found += [(newest, path) for path in parquet_files(os.path.join(topic, name))]
        return [path for _, path in sorted(found)]

    # --- renewing -------------------------------------------------------------------------

    def renew(self, renewals: Sequence[Renewal], places: Places) -> None:
        """Raises JobError where the disk refuses."""
        topics: dict[str, dict[Marker, Marker]] = {}
        for renewal in renewals:
            topics.setdefault(renewal.target.name, {})[renewal.before] = renewal.after
        for topic, after in topics.items():
            try:
                self._renew(topic, after, places)
            except OSError as error:
                path = os.path.join(self._root, topic)
                raise disk_error(f"Writing the new markers below {path}", error) from error

    def _renew(self, topic: str, after: Mapping[Marker, Marker], places: Places) -> None:
        began = places.epoch()
        directory = os.path.join(self._root, topic)
        names: dict[str, str] = {}
        changed: list[str] = []
        for name, held in self._held(topic):
            renewed = renewed_by(held, after)
            if isinstance(renewed, Marker) and renewed.slot.name != name:
                names[renewed.slot.name] = name
            if renewed is not held:
                path = os.path.join(directory, name)
                with open(os.path.join(path, f"{MARKER}.new"), "w", encoding="ascii") as file:
                    file.write(renewed.to_json())
                changed.append(path)
        # A marker never names a slot whose directory nobody would find.
        write_names(directory, names)
        self._names.forget(topic)
        places.syncer.sync([os.path.join(path, f"{MARKER}.new") for path in changed], began)
        for path in changed:
            os.replace(os.path.join(path, f"{MARKER}.new"), os.path.join(path, MARKER))
        places.syncer.sync(changed, began)


def renewed_by(held: Held, after: Mapping[Marker, Marker]) -> Held:
    """The marker of a directory with its slots renewed; the same object where none is."""
    if isinstance(held, Marker):
        return after.get(held, held)
    members = tuple(after.get(member, member) for member in held.members)
    if members == held.members:
        return held
    return replace(held, installation=members[0].installation, members=members)


def parquet_files(directory: str) -> list[str]:
    names = sorted(name for name in os.listdir(directory) if name.endswith(".parquet"))
    return [os.path.join(directory, name) for name in names]


def directories(path: str) -> list[str]:
    """The names of the directories in one that readers look into."""
    try:
        with os.scandir(path) as entries:
            return sorted(e.name for e in entries if e.is_dir() and e.name[0] not in "._")
    except FileNotFoundError:
        return []
