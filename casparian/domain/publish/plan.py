"""What a job installs and empties, given what is published."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.plugins import Mode
from casparian.domain.publish.manifest import EMPTY_DIGEST, Manifest, ManifestItem
from casparian.domain.publish.slots import PublishedSlot, SlotState, Target


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
