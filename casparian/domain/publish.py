"""The publish protocol's values and rules: slots, generations, manifests, stagings, markers.

A job's rows are staged in private, decided once in the queue database, and promoted from
the manifest written there, each target holding a marker that makes a second promote a no-op.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple

from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.jobs import JobStatus
from casparian.domain.plugins import Mode

SHORT = 12
_COMPACT = json.JSONEncoder(separators=(",", ":"))
EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()
_STAGING_NAME = re.compile(
    rf"([0-9a-f]{{{SHORT}}})\.([0-9]{{1,19}})\.([0-9]{{1,10}})\.([0-9a-f]{{{SHORT}}})"
)


class Generation(NamedTuple):
    """Which of two publications of a slot is the newer: compared in this order.

    `ordinal` is the file version's at its location; `enqueue` is the job's id, which grows
    with every enqueueing. So backfilling an old version cannot bring old content back.
    """

    ordinal: int
    enqueue: int


class Target(NamedTuple):
    """Where a topic's rows live: `location` is a directory, file or database; `name` the
    topic directory or table in it."""

    scheme: str
    location: str
    name: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.location}/{self.name}"


class BundleKey(NamedTuple):
    """A directory that several slots of a target share: see `casparian.domain.bundles`."""

    target: Target
    name: str


class SlotKey(NamedTuple):
    """What one publication replaces as a whole, within a target.

    `version_id` is 0 in replace mode, where the slot belongs to the file's location.
    """

    plugin: str
    topic: str
    location_id: int
    version_id: int = 0

    @property
    def name(self) -> str:
        """The slot as a directory name; never starts with `.` or `_`, never holds `=`."""
        version = f"v{self.version_id}" if self.version_id else ""
        return f"f{self.location_id}{version}-{self.plugin}"


def slot_for(mode: Mode, plugin: str, topic: str, location_id: int, version_id: int) -> SlotKey:
    return SlotKey(plugin, topic, location_id, version_id if mode is Mode.APPEND else 0)


class StagingKey(NamedTuple):
    """The private place of one attempt: `<installation>.<job>.<attempt>.<token>`."""

    installation: str
    job_id: int
    attempt: int
    token: str

    @property
    def name(self) -> str:
        return f"{self.installation[:SHORT]}.{self.job_id}.{self.attempt}.{self.token[:SHORT]}"

    @staticmethod
    def parse(name: str) -> StagingKey | None:
        """The key in a staging's name, with shortened installation and token; None if foreign."""
        match = _STAGING_NAME.fullmatch(name)
        if match is None:
            return None
        return StagingKey(match[1], int(match[2]), int(match[3]), match[4])

    def same_attempt(self, other: StagingKey) -> bool:
        """True whatever the token: a takeover changes it and inherits the staging."""
        return (
            self.installation[:SHORT] == other.installation[:SHORT]
            and self.job_id == other.job_id
            and self.attempt == other.attempt
        )


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
def _fields(kind: type[Manifest | ManifestItem | Marker]) -> tuple[str, ...]:
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
        values = {name: getattr(self, name) for name in _fields(Manifest)}
        values["items"] = [
            {name: getattr(item, name) for name in _fields(ManifestItem)} for item in self.items
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
        return {name: getattr(self, name) for name in _fields(Marker)}

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


@dataclass(frozen=True, slots=True)
class PublishedSlot:
    """One slot that may hold rows of a (plugin, location), as the queue database knows it.
    `bundle` names the bundle it lies in; empty where it has a place of its own."""

    target: Target
    mode: Mode
    slot: SlotKey
    bundle: str = ""


@dataclass(frozen=True, slots=True)
class SlotState:
    """The lock row of one (plugin, location): its generation, holder and published slots."""

    generation: Generation | None = None
    holder: int | None = None
    published: tuple[PublishedSlot, ...] = ()


def plan_items(
    manifest: Manifest,
    state: SlotState,
    target_of: Callable[[str], tuple[Target, Mode] | None],
) -> tuple[list[ManifestItem], list[PublishedSlot]]:
    """Which of a job's staged items are installed, and which standing slots it empties.

    `target_of` says where a topic goes today, None when no configuration covers it.

    - A job older than the location's generation installs no replace topic; its append
      topics stand on their own and are decided by their slots' markers.
    - A newer job empties each replace slot of its location, and each append slot of its
      version, to which it published nothing, and the slots of the mode a topic had before.
    - Rows in a target that the topic has left are kept until they are purged.
    """
    older = state.generation is not None and state.generation > manifest.generation
    kept = [i for i in manifest.items if not (older and i.mode is Mode.REPLACE)]
    written = {(i.target, i.slot) for i in kept}
    emptied: list[PublishedSlot] = []
    if older:
        return kept, emptied
    for standing in state.published:
        if (standing.target, standing.slot) in written:
            continue
        today = target_of(standing.slot.topic)
        if today is not None and today[0] != standing.target:
            continue
        mode_changed = today is not None and today[1] is not standing.mode
        own_version = standing.slot.version_id in (0, manifest.file_version_id)
        if own_version or mode_changed:
            emptied.append(standing)
    return kept, emptied


def plan_purge(manifest: Manifest, state: SlotState) -> list[PublishedSlot]:
    """The slots that a purge empties: all that stand, also in targets that a topic has left.

    Raises JobError where a newer version of the file has published since the purge began: its
    rows are not those that were to go.
    """
    if state.generation is not None and state.generation > manifest.generation:
        raise JobError(
            ErrorClass.CONFLICT,
            f"Job {state.generation.enqueue} has published a newer version of the file meanwhile: "
            "nothing was removed. Purge again if its rows are to go too.",
        )
    return list(state.published)


class InstallCase(StrEnum):
    """What a promote did to one slot."""

    INSTALLED = "installed"
    ALREADY = "already"
    OLDER = "older"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The outcome of promoting one item; `error` where it failed for good or for now.

    `transient`: worth another try without an operator (database locked, disk full).
    """

    item: ManifestItem
    case: InstallCase | None
    error: str | None = None
    transient: bool = False


def final_status(manifest: Manifest, receipts: Iterable[Receipt]) -> JobStatus:
    """COMPLETED if anything was installed, or nothing was to be; else SUPERSEDED."""
    cases = [r.case for r in receipts]
    if not cases:
        return JobStatus.SUPERSEDED if manifest.withheld else JobStatus.COMPLETED
    if any(case is not InstallCase.OLDER for case in cases):
        return JobStatus.COMPLETED
    return JobStatus.SUPERSEDED


@dataclass(frozen=True, slots=True)
class JobFate:
    """What the sweep needs to know of a job: its status, attempt and current token."""

    status: JobStatus
    attempt: int
    token: str | None


def is_orphan(staging: StagingKey, fate: JobFate | None) -> bool:
    """True when a staging of this installation belongs to nobody any more.

    `fate` is asked for after the stagings were listed. PROMOTING and BLOCKED keep theirs
    whatever the token in the name: a takeover changes the token.
    """
    if fate is None:
        return True
    if fate.status in (JobStatus.PROMOTING, JobStatus.BLOCKED):
        return staging.attempt != fate.attempt
    if fate.status is JobStatus.RUNNING:
        return fate.token is None or fate.token[:SHORT] != staging.token[:SHORT]
    return True


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


def planned(
    manifest: Manifest, kept: Sequence[ManifestItem], emptied: Sequence[PublishedSlot]
) -> Manifest:
    """The manifest as it is decided: what is installed, and what is emptied."""
    if len(kept) == len(manifest.items) and not emptied:
        return manifest
    empty = [ManifestItem(e.target, e.mode, e.slot, False, 0, EMPTY_DIGEST) for e in emptied]
    withheld = len(manifest.items) - len(kept)
    return replace(manifest, items=(*kept, *empty), withheld=withheld)


def group_by_target(items: Iterable[ManifestItem]) -> Mapping[tuple[str, str], list[ManifestItem]]:
    """Items by (scheme, location): what one sink promotes."""
    groups: dict[tuple[str, str], list[ManifestItem]] = {}
    for item in items:
        groups.setdefault((item.target.scheme, item.target.location), []).append(item)
    return groups
