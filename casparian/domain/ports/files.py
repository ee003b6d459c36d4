"""The port to input files."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple, Protocol

from casparian.domain.errors import CasparianError
from casparian.domain.files import StatIdentity


class FileEntry(NamedTuple):
    """One name met by a walk. `identity` is None when it could not be statted (`error`), `linked`
    is false where no other name can lead to the same file."""

    path: bytes
    identity: StatIdentity | None
    error: str | None = None
    linked: bool = True


class WalkError(NamedTuple):
    """A directory that could not be listed: nothing below it may be taken as deleted."""

    path: bytes
    error: str


class FileListing(Protocol):
    """Files of one directory that follow one another in the byte order of paths, as they were
    when it was listed."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[FileEntry]: ...

    def digest(self) -> Hashable | None:
        """128 bits that tell these names and stat identities from any others, in this process;
        None where a file could not be statted."""
        ...


class FileRun(NamedTuple):
    """All files of a root whose paths are `begin` or behind it, and before `end` (None: any)."""

    begin: bytes
    end: bytes | None
    files: FileListing


class FileChangedError(CasparianError):
    """A file changed while it was read."""


class FileSource(Protocol):
    """The only one who touches input files.

    1. `walk` yields every regular file below the root, once, in the byte order of its path, as
       it was when its directory was listed, and holds no more than the open directories'
       listings.
    2. Symbolic links, FIFOs, sockets and devices are skipped; nothing outside the root is met.
    3. A directory that cannot be listed is a WalkError in its place, and the walk goes on.
    4. `read_hash` opens without following links, and raises FileChangedError unless `fstat`
       says the same before and after the read; the hash is the SHA-256 of what it read.
    5. Names are bytes, and every name the file system allows survives.
    6. A vanished file is FileNotFoundError, an unreadable one PermissionError or OSError.
    7. `runs` is `walk` in pieces, each of files of one directory. A piece begins where the one
       before it ended, or behind a directory that could not be listed, so that every path is in
       one of them or below a WalkError's.
    """

    def walk(self, root: bytes, below: bytes = b"") -> Iterator[FileEntry | WalkError]: ...

    def runs(self, root: bytes, below: bytes = b"") -> Iterator[FileRun | WalkError]: ...

    def stat(self, root: bytes, path: bytes) -> StatIdentity: ...

    def read_hash(self, root: bytes, path: bytes) -> tuple[str, StatIdentity]: ...

    def read_hashes(
        self, root: bytes, paths: Sequence[bytes]
    ) -> Sequence[tuple[str, StatIdentity] | None]:
        """What `read_hash` says of each of some small files; None where it must be asked."""
        ...

    def snapshot(self, root: bytes, path: bytes, to: str) -> tuple[str, StatIdentity]:
        """Copy the bytes to the new file `to`, hashing them; checked like `read_hash`."""
        ...
