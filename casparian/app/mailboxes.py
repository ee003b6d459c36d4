"""What waits while another of its name is worked at: the newest alone, one for each name."""

from __future__ import annotations

import threading
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")


class Superseded(NamedTuple, Generic[Item]):
    """An item that waits no longer, or never did, since there is another `version`."""

    item: Item
    version: int


class Mailboxes(Generic[Item]):
    """Who came first to an empty mailbox is taken first, whichever item it holds by then; of one
    name the next is taken when the one before is done."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[str, tuple[int, Item]] = {}
        self._taken: set[str] = set()
        self._closed = False

    def put(self, name: str, version: int, item: Item) -> Superseded[Item] | None:
        """Of two with one name the newer waits, and the other is returned; of the same version it
        is the one that came first."""
        with self._changed:
            before = self._waiting.get(name)
            if before is not None and before[0] >= version:
                return Superseded(item, before[0])
            self._waiting[name] = (version, item)
            self._changed.notify()
            return None if before is None else Superseded(before[1], version)

    def take(self) -> tuple[str, Item] | None:
        """Waits for one, with its name; None once all that came before `close` is taken. `done` is
        to be called when it is."""
        with self._changed:
            while True:
                name = next((n for n in self._waiting if n not in self._taken), None)
                if name is not None:
                    self._taken.add(name)
                    return name, self._waiting.pop(name)[1]
                if self._closed and not self._waiting:
                    return None
                self._changed.wait()

    def done(self, name: str) -> None:
        with self._changed:
            self._taken.remove(name)
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more will be put."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
