"""What waits while another of its kind is worked at: the newest alone, one for each name."""

from __future__ import annotations

import threading
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")


class Superseded(NamedTuple, Generic[Item]):
    """An item that waits no longer, or never did, since there is another `version`."""

    item: Item
    version: int


class Mailboxes(Generic[Item]):
    """Who came first to an empty mailbox is taken first, whichever item it holds by then."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[str, tuple[int, Item]] = {}
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

    def take(self) -> Item | None:
        """Waits for one; None once all that came before `close` is taken."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return None
                self._changed.wait()
            return self._waiting.pop(next(iter(self._waiting)))[1]

    def close(self) -> None:
        """Nothing more will be put."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
