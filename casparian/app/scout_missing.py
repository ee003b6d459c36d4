"""Known files that a walk did not meet, and which of them may be taken as missing.

Where a file system is not mounted, its files are not deleted: a file counts as missing only
while the device it was last met on is still met in the root.
"""

from __future__ import annotations

from array import array

from casparian.domain.files import FileLocation, StatIdentity

_NO_DEVICE = -1


class Missing:
    """Gathers what a walk met and did not meet: eight bytes for each missing file."""

    def __init__(self) -> None:
        self._by_device: dict[int, array[int]] = {}
        self._devices: set[int] = {_NO_DEVICE}

    def met(self, identity: StatIdentity, known: FileLocation | None) -> None:
        self._devices.add(identity.device)
        last = known.identity if known is not None else None
        if last is not None and last.device != identity.device and _moved(last, identity):
            # The file itself is the same: its file system has another number since a reboot.
            self._devices.add(last.device)

    def met_again(self, device: int | None) -> None:
        """Files that are as they were, all of one device."""
        if device is not None:
            self._devices.add(device)

    def add(self, known: FileLocation) -> None:
        if known.deleted:
            return
        device = known.identity.device if known.identity is not None else _NO_DEVICE
        self._by_device.setdefault(device, array("q")).append(known.id)

    def ids(self, root_device: int) -> tuple[list[int], int]:
        """Ids that may be counted as missed, and the number of those that may not."""
        devices = self._devices | {root_device}
        missed = [i for d, ids in self._by_device.items() if d in devices for i in ids]
        return missed, sum(map(len, self._by_device.values())) - len(missed)


def _moved(last: StatIdentity, now: StatIdentity) -> bool:
    return (last.inode, last.size, last.mtime_ns) == (now.inode, now.size, now.mtime_ns)
