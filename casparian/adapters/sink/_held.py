"""Small stagings wait in memory for their marker: directory, rows and marker are then written
by one call, since on many file systems each of the three costs as much as encoding the rows.

Until then a crash loses what is not decided yet, which is what a crash before S2 does anyway.
"""

from __future__ import annotations

import os
import threading

from casparian._fastpath import NewFile, write_directory
from casparian.adapters.sink._places import Places, remove_tree
from casparian.adapters.sink._rows import HeldRows
from casparian.domain.publish import StagingKey


class HeldStagings:
    """The stagings of one sink that are whole but for their markers. Any thread."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._lock = threading.Lock()
        self._files: dict[str, dict[str, list[NewFile]]] = {}
        self._rows: dict[str, dict[str, HeldRows]] = {}

    def place(self, key: StagingKey, part: str) -> Place:
        """Where one topic's rows of a job go; what an earlier call left there is gone."""
        return Place(self, self._places, key, part)

    def hold(self, key: StagingKey, part: str, files: list[NewFile]) -> None:
        with self._lock:
            self._files.setdefault(key.name, {})[part] = files

    def hold_rows(self, key: StagingKey, part: str, rows: HeldRows) -> None:
        with self._lock:
            self._rows.setdefault(key.name, {})[part] = rows

    def rows(self, key: StagingKey, part: str) -> HeldRows | None:
        """The rows that wait to be sealed; None where they were too many to wait."""
        with self._lock:
            return self._rows.get(key.name, {}).get(part)

    def complete(self, key: StagingKey, part: str, marker: NewFile) -> None:
        """Write the marker, with what was held for it. Raises OSError."""
        with self._lock:
            files = self._files.get(key.name, {}).pop(part, None)
        if files is not None:
            fresh(self._places, key, self._places.of(key, part), [*files, marker])
            return
        name, content = marker
        with open(os.path.join(self._places.of(key, part), name), "wb") as file:
            file.write(content)

    def drop(self, key: StagingKey) -> None:
        with self._lock:
            self._files.pop(key.name, None)
            self._rows.pop(key.name, None)


class Place:
    """One staging's directory, made when the first file goes there."""

    def __init__(self, held: HeldStagings, places: Places, key: StagingKey, part: str) -> None:
        self.path = places.begin(key, part)
        self._held = held
        self._places = places
        self._key = key
        self._part = part

    def make(self) -> None:
        fresh(self._places, self._key, self.path, [])

    def hold(self, files: list[NewFile]) -> None:
        self._held.hold(self._key, self._part, files)

    def hold_rows(self, rows: HeldRows) -> None:
        self._held.hold_rows(self._key, self._part, rows)


def fresh(places: Places, key: StagingKey, path: str, files: list[NewFile]) -> None:
    """A new directory of a staging with these files, instead of whatever is there. Raises
    OSError."""
    places.note(key, path)
    for _ in range(8):
        try:
            write_directory(path, files)
            return
        except FileExistsError:
            remove_tree(path)
        except FileNotFoundError:
            places.make()
    raise OSError(f"{path} is made and removed by others again and again")
