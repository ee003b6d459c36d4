"""Which directory of a topic a slot lies in, where that is not the one named after it.

Adopted rows stay in the directory where readers know them, whatever slot they are of from then
on: renaming it would let a reader that lists just then miss it. A file in the topic says so,
which changes only when rows are adopted, and no engine runs then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from casparian.adapters.sink._durable import fsync_all
from casparian.domain.errors import ErrorClass, JobError

SLOTS = "_casparian_slots.json"


class SlotNames:
    """The directories of the slots below one root. Any thread."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._known: dict[str, tuple[Mapping[str, str], frozenset[str]]] = {}

    def directory(self, topic: str, slot: str) -> str:
        """The name of the directory in which the slot of this name lies, or is to lie.

        Raises JobError (FOREIGN_ROWS) for a file that cannot be read.
        """
        elsewhere, taken = self._of(topic)
        if slot in elsewhere:
            return elsewhere[slot]
        name, n = slot, 1
        while name in taken:
            n += 1
            name = f"{slot}~{n}"
        return name

    def forget(self, topic: str) -> None:
        self._known.pop(topic, None)

    def _of(self, topic: str) -> tuple[Mapping[str, str], frozenset[str]]:
        found = self._known.get(topic)
        if found is None:
            elsewhere = read_names(os.path.join(self._root, topic))
            found = self._known[topic] = elsewhere, frozenset(elsewhere.values())
        return found


def read_names(directory: str) -> dict[str, str]:
    """Slot to directory of a topic, of those that are not named alike."""
    path = os.path.join(directory, SLOTS)
    try:
        with open(path, encoding="ascii") as file:
            names = json.load(file)
        return {str(slot): str(name) for slot, name in names.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as error:
        raise JobError(
            ErrorClass.FOREIGN_ROWS,
            f"{path} cannot be read: {error}. It says where adopted rows lie: "
            "restore it, or the whole directory, from a backup.",
        ) from error


def write_names(directory: str, names: Mapping[str, str]) -> None:
    """Write the file in one step, durably. Raises OSError."""
    path = os.path.join(directory, SLOTS)
    fresh = f"{path}.new"
    with open(fresh, "w", encoding="ascii") as file:
        json.dump(names, file, indent=0, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
    fsync_all([directory])
