"""The private directory of a sink, beside its root or file: stagings, and what was replaced.

    <parent>/.<name>.casparian/staging/<installation>.<job>.<attempt>.<token>/
    <parent>/.<name>.casparian/replaced/<microseconds>.<staging's name>.<n>/

Nothing here lies below the root, whatever a reader globs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator, Sequence

from casparian.adapters.sink._durable import Syncer
from casparian.adapters.sink._errors import disk_error
from casparian.adapters.sink._libc import rename_new
from casparian.domain.publish import StagingKey

GRACE_US = 600 * 1_000_000
"""How long replaced files stay for readers that listed them before."""


class Places:
    """Stagings and replaced directories of one sink."""

    def __init__(self, working: str) -> None:
        self.working = working
        self.staging = os.path.join(working, "staging")
        self.replaced = os.path.join(working, "replaced")
        self.syncer = Syncer(self.staging)
        self._lock = threading.Lock()
        self._epochs: dict[str, int] = {}

    def make(self) -> None:
        os.makedirs(self.staging, exist_ok=True)
        os.makedirs(self.replaced, exist_ok=True)

    def of(self, key: StagingKey) -> str:
        return os.path.join(self.staging, key.name)

    def open(self, key: StagingKey) -> str:
        """The directory of a staging, made where it is missing."""
        path = self.of(key)
        try:
            os.mkdir(path)
        except FileExistsError:
            pass
        except FileNotFoundError:
            self.make()
            with contextlib.suppress(FileExistsError):
                os.mkdir(path)
        with self._lock:
            self._epochs.setdefault(key.name, self.syncer.epoch())
        return path

    def sync(self, keys: Sequence[StagingKey]) -> None:
        """Make these stagings durable; a key without one has nothing to lose.

        Raises JobError (INFRASTRUCTURE): they are then to be thrown away.
        """
        try:
            began = self.epoch(keys)
            paths = [self.staging]
            for key in keys:
                for directory, _, files in os.walk(self.of(key)):
                    paths.append(directory)
                    paths.extend(os.path.join(directory, name) for name in files)
            self.syncer.sync(paths, began)
        except OSError as error:
            raise disk_error(f"Making {len(keys)} stagings durable", error) from error

    def epoch(self, keys: Sequence[StagingKey] = ()) -> int:
        """The syncer's epoch before the first of these stagings was opened, or now."""
        try:
            now = self.syncer.epoch()
        except FileNotFoundError:
            self.make()
            now = self.syncer.epoch()
        with self._lock:
            # Stagings of an earlier process: nothing says that no sync failed since.
            return min((self._epochs.get(key.name, 0) for key in keys), default=now)

    def keys(self) -> list[StagingKey]:
        """Every staging; what carries no staging's name is not ours and not listed."""
        try:
            names = os.listdir(self.staging)
        except FileNotFoundError:
            return []
        return [key for name in names if (key := StagingKey.parse(name)) is not None]

    def rekey(self, key: StagingKey) -> None:
        """Rename the staging of this attempt, whatever its token, to `key`'s.

        From then on every path that an earlier holder names is gone. Without a staging there
        is nothing to do: all may be promoted already.
        """
        try:
            self._rekey(key)
        except OSError as error:
            raise disk_error(f"Taking over a staging below {self.staging}", error) from error

    def _rekey(self, key: StagingKey) -> None:
        for _ in range(8):
            same = [other for other in self.keys() if other.same_attempt(key)]
            if not same or any(other.name == key.name for other in same):
                return
            try:
                rename_new(self.of(same[0]), self.of(key))
                return
            except (FileNotFoundError, FileExistsError):
                continue  # Somebody renamed it between the listing and this; look again.
        raise OSError(f"the staging {self.of(key)} is renamed by others again and again")

    def discard(self, key: StagingKey) -> None:
        remove_tree(self.of(key))
        with self._lock:
            self._epochs.pop(key.name, None)

    def retire(self, path: str, key: StagingKey, now_us: int) -> None:
        """Keep a replaced directory for the grace period. Gone means that the job was taken
        over, and that its new holder does this."""
        for n in range(1_000_000):
            target = os.path.join(self.replaced, f"{now_us}.{key.name}.{n}")
            try:
                rename_new(path, target)
                return
            except FileExistsError:
                continue
            except FileNotFoundError:
                if os.path.isdir(path):
                    self.make()
                    continue
                return

    def clean(self, now_us: int, grace_us: int) -> None:
        """Remove what was replaced longer ago than the grace period."""
        for name in self._replaced_names():
            stamp = name.partition(".")[0]
            if stamp.isdecimal() and int(stamp) + grace_us <= now_us:
                remove_tree(os.path.join(self.replaced, name))

    def _replaced_names(self) -> Iterator[str]:
        try:
            yield from os.listdir(self.replaced)
        except FileNotFoundError:
            return


def remove_tree(path: str) -> None:
    """Remove a directory that somebody else may be removing as well."""
    try:
        os.rmdir(path)  # Mostly it is empty: its content was promoted.
    except FileNotFoundError:
        return
    except OSError:
        while os.path.lexists(path):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(path)


def beside(path: str) -> str:
    """The private directory of a root or file: in its parent, on the same file system."""
    parent, name = os.path.split(path)
    if os.path.ismount(path):
        return os.path.join(path, ".casparian")
    return os.path.join(parent, f".{name}.casparian")
