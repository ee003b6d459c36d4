"""Bundles: small outputs of several jobs that share one directory of a target, and its files.

A bundle is written as a whole by jobs that are decided together, and known by its revision.
The queue database grants the next revision once the last one is installed, so what a job
read of a bundle before its decision is what it replaces.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from casparian.domain.publish import (
    BundleKey,
    Decision,
    Manifest,
    ManifestItem,
    Marker,
    MarkerCase,
    SlotKey,
    SlotState,
    compare_marker,
)


class BundleState(NamedTuple):
    """What the queue database knows: the revision decided last, and the one installed last."""

    revision: int = 0
    installed: int = 0

    @property
    def held(self) -> bool:
        """True while a decided revision is not installed: nobody may plan on the next."""
        return self.revision != self.installed


def bundle_name(job_id: int, plugin: str) -> str:
    """The directory of a bundle that this job is the first of; job ids are never used again."""
    return f"b{job_id}-{plugin}"


def revisions_of(manifest: Manifest) -> dict[BundleKey, int]:
    """The bundles that a manifest writes, with the revision each will have."""
    return {
        BundleKey(item.target, item.bundle): item.revision for item in manifest.items if item.bundle
    }


def bundles_in(state: SlotState) -> Iterator[BundleKey]:
    """The bundles in which slots of a location lie."""
    return (BundleKey(p.target, p.bundle) for p in state.published if p.bundle)


def in_bundles(
    manifest: Manifest, state: SlotState, standing: Mapping[BundleKey, BundleState]
) -> Manifest:
    """The manifest with the bundles that its slots already lie in, each at its next revision."""
    lies_in = {(p.target, p.slot): p.bundle for p in state.published if p.bundle}
    if not lies_in:
        return manifest

    def placed(item: ManifestItem) -> ManifestItem:
        name = lies_in.get((item.target, item.slot))
        if name is None:
            return item
        revision = standing[BundleKey(item.target, name)].revision + 1
        return replace(item, bundle=name, revision=revision)

    return replace(manifest, items=tuple(placed(item) for item in manifest.items))


def sharing(decisions: Mapping[int, Decision], lost: Iterable[int]) -> set[int]:
    """The jobs that write a bundle together with one of `lost`, or with one that does: a
    bundle is decided by all of its jobs or by none. `lost` are job ids, and among the result.
    """
    writers: dict[BundleKey, list[int]] = {}
    for job_id, decision in decisions.items():
        for key in revisions_of(decision.manifest):
            writers.setdefault(key, []).append(job_id)
    found: set[int] = set()
    waiting = list(lost)
    while waiting:
        job_id = waiting.pop()
        if job_id in found:
            continue
        found.add(job_id)
        if job_id in decisions:
            for key in revisions_of(decisions[job_id].manifest):
                waiting += writers.pop(key, ())
    return found


class BundleFile(NamedTuple):
    """A file of a bundle, and the SHA-256 of its bytes."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class BundleMarker:
    """What a target keeps of a bundle: the marker of each slot in it. A slot's digest is that
    of its rows as they were staged; the files' digests say what lies there now."""

    installation: str
    name: str
    revision: int
    members: tuple[Marker, ...]
    files: tuple[BundleFile, ...]

    def member(self, slot: SlotKey) -> Marker | None:
        return next((m for m in self.members if m.slot == slot), None)

    def to_json(self) -> str:
        # `asdict` copies every value deeply, at several times the cost of the rest.
        values = {name: getattr(self, name) for name in _FIELDS}
        values["members"] = [member.values() for member in self.members]
        return json.dumps({"bundle": values})

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> BundleMarker:
        """From the parsed value of `bundle`. Raises ValueError, TypeError or KeyError."""
        values = dict(raw)
        values["members"] = tuple(Marker(**member) for member in values["members"])
        values["files"] = tuple(BundleFile(*file) for file in values["files"])
        return BundleMarker(**values)


_FIELDS = tuple(field.name for field in fields(BundleMarker))


def compare_bundle(standing: BundleMarker | None, revision: int, mine: Marker) -> MarkerCase:
    """The one rule of promoting a slot within a bundle of this revision.

    While the job's own slot is not completed nobody else publishes to it, so a bundle of this
    revision or of a later one holds what the job put there.
    """
    if standing is None:
        return MarkerCase.INSTALL
    if standing.installation != mine.installation:
        return MarkerCase.FOREIGN
    if standing.revision < revision:
        return MarkerCase.INSTALL if standing.revision == revision - 1 else MarkerCase.CONFLICT
    member = standing.member(mine.slot)
    if member is None:
        return MarkerCase.OLDER
    case = compare_marker(member, mine)
    return MarkerCase.CONFLICT if case is MarkerCase.INSTALL else case
