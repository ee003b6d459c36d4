"""The private directory of a sink, beside its root or file: stagings, and what was replaced.

    <parent>/.<name>.casparian/staging/<installation>.<job>.<attempt>.<token>[@<part>]/
    <parent>/.<name>.casparian/replaced/<microseconds>.<staging's name>.<n>/

Nothing here lies below the root, whatever a reader globs. A staging is one directory, or one
for each of its parts: a directory around them would cost more than what is in them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from casparian.adapters.sink._durable import Syncer, make_directories
from casparian.adapters.sink._errors import disk_error
from casparian.adapters.sink._kept_place import KeptPlace
from casparian.adapters.sink._libc import rename_new
from casparian.domain.publish import StagingKey

SEPARATOR = "@"
GRACE_US = 600 * 1_000_000
"""How long replaced files stay for readers that listed them before."""


class Places:
    """Stagings and replaced directories of one sink. `path` is what it publishes to."""

    def __init__(self, working: str, path: str) -> None:
        self.working = working
        self.kept = KeptPlace(path, working)
        self.staging = os.path.join(working, "staging")
        self.replaced = os.path.join(working, "replaced")
        self.syncer = Syncer(self.staging)
        self._lock = threading.Lock()
        self._epochs: dict[str, int] = {}
        self._opened: dict[str, list[str]] = {}

    def missing(self, sink: str, markers: Callable[[], Iterable[object]]) -> str:
        """What is to be said where rows were published, and their disk seems to be away: it has
        neither this directory nor any marker. A copy that was brought back has one of them."""
        known = os.path.isdir(self.working) or any(True for _ in markers())
        if known and self.kept.same():
            return ""
        return (
            f"The sink {sink}: {self.kept.gone()} Mount it, or bring a copy back. Where those rows "
            f"are not wanted any more, let the place be made anew: `mkdir -p {self.working}`."
        )

    def look(self) -> None:
        """Raises OSError where the disk of what was kept is away."""
        if self.kept.look():
            self.syncer.reopen()

    def make(self) -> None:
        """Raises OSError, also where the disk of what was kept is away."""
        self.look()
        for directory in (self.working, self.staging, self.replaced):
            make_directories(directory)

    def of(self, key: StagingKey, part: str = "") -> str:
        return os.path.join(self.staging, f"{key.name}{SEPARATOR}{part}" if part else key.name)

    def open(self, key: StagingKey, part: str = "") -> str:
        """The directory of a staging, or of a part of it, made where it is missing."""
        path = self.begin(key, part)
        self.note(key, path)
        try:
            os.mkdir(path)
        except FileExistsError:
            pass
        except FileNotFoundError:
            self.make()
            with contextlib.suppress(FileExistsError):
                os.mkdir(path)
        return path

    def begin(self, key: StagingKey, part: str) -> str:
        """The same directory, not made yet; its syncs count from here on."""
        epoch = self.epoch()
        with self._lock:
            self._epochs.setdefault(key.name, epoch)
            self._opened.setdefault(key.name, [])
        return self.of(key, part)

    def note(self, key: StagingKey, path: str) -> None:
        """A directory that is about to be made for a staging: it goes when that does."""
        with self._lock:
            self._opened.setdefault(key.name, []).append(path)

    def sync(self, keys: Sequence[StagingKey]) -> None:
        """Make these stagings durable; a key without one has nothing to lose.

        Raises JobError (INFRASTRUCTURE): they are then to be thrown away.
        """
        try:
            self.syncer.sync_all(lambda: self._contents(keys), len(keys), self.epoch(keys))
        except OSError as error:
            raise disk_error(f"Making {len(keys)} stagings durable", error) from error

    def _contents(self, keys: Sequence[StagingKey]) -> list[str]:
        """Every directory and file of these stagings, and the directory they lie in."""
        wanted = {key.name for key in keys}
        paths = [self.staging]
        for _, name in self._entries():
            if name.partition(SEPARATOR)[0] in wanted:
                for directory, _, files in os.walk(os.path.join(self.staging, name)):
                    paths.append(directory)
                    paths.extend(os.path.join(directory, file) for file in files)
        return paths

    def epoch(self, keys: Sequence[StagingKey] = ()) -> int:
        """The syncer's epoch before the first of these stagings was opened, or now."""
        self.look()
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
        return list(dict.fromkeys(key for key, _ in self._entries()))

    def _entries(self) -> list[tuple[StagingKey, str]]:
        """Each staging's directories, by key and name."""
        try:
            names = os.listdir(self.staging)
        except FileNotFoundError:
            return []
        keys = ((StagingKey.parse(name.partition(SEPARATOR)[0]), name) for name in names)
        return [(key, name) for key, name in keys if key is not None]

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
            others = [
                (other, name)
                for other, name in self._entries()
                if other.same_attempt(key) and other.name != key.name
            ]
            if not others:
                return
            for other, name in others:
                part = name[len(other.name) :].removeprefix(SEPARATOR)
                # Somebody may have renamed it between the listing and this: look again.
                with contextlib.suppress(FileNotFoundError, FileExistsError):
                    rename_new(os.path.join(self.staging, name), self.of(key, part))
        raise OSError(f"the staging {self.of(key)} is renamed by others again and again")

    def parts(self, part: str) -> list[str]:
        """The directories of a part, whichever stagings they lie in."""
        ends = SEPARATOR + part
        return [
            os.path.join(self.staging, name) for _, name in self._entries() if name.endswith(ends)
        ]

    def take(self, path: str, key: StagingKey, part: str) -> str | None:
        """Make a part that lies in another's staging one of `key`'s: its new path, None where
        somebody else was quicker. Raises OSError."""
        own = self.of(key, part)
        try:
            rename_new(path, own)
        except (FileNotFoundError, FileExistsError):
            return None
        self.note(key, own)
        return own

    def discard(self, key: StagingKey) -> None:
        with self._lock:
            self._epochs.pop(key.name, None)
            paths = self._opened.pop(key.name, None)
        if paths is None:
            # Another process's, or inherited under a new name.
            paths = [
                os.path.join(self.staging, name)
                for other, name in self._entries()
                if other.name == key.name
            ]
        for path in paths:
            remove_tree(path)

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
