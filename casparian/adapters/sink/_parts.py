"""What waits in a staging, by name: rows of a topic, an emptied slot, a bundle."""

from __future__ import annotations

import hashlib

from casparian.domain.publish import ManifestItem, Target


def part_of(item: ManifestItem) -> str:
    """Where an item waits that has a place of its own. One topic may empty several slots beside
    the one it fills, and the names of both can be too long for one name."""
    if item.staged:
        return rows_part(item.target)
    return f"emptied-{_short(item.target.name, item.slot.name)}.staged"


def rows_part(target: Target) -> str:
    return f"{target.name}.staged"


def bundle_part(target: Target, name: str, revision: int) -> str:
    """Where a bundle waits, whichever of its jobs' stagings it lies in."""
    return f"bundle-{_short(target.name, name, str(revision))}.staged"


def _short(*names: str) -> str:
    return hashlib.sha256("/".join(names).encode()).hexdigest()[:24]
