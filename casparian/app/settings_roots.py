"""The tables about source roots."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from casparian.app.settings_base import Section


class SourceRootSection(Section):
    """A watched directory."""

    path: str = Field(min_length=1)
    """The directory."""
    settle_s: float | None = Field(default=None, ge=0)
    """A file is taken when both its timestamps are older than this; default: that of [scout]."""
    include: tuple[str, ...] = ()
    """Only files whose path below the root matches one of these globs are taken; none: all."""
    exclude: tuple[str, ...] = ()
    """Files whose path below the root matches one of these globs are not taken."""
    ignore: tuple[str, ...] = ()
    """Files whose name, in whatever directory, matches one of these globs are not taken."""
    done_marker: str = ""
    """A file is taken once this other file stands beside it and is not older: `{name}.done`, where
    `{name}` stands for the file's name, `{stem}` for the name without its last ending. A name
    with neither is one marker for all files of its directory. Markers are no input."""
    unpack: bool = False
    """Open archives and compressed files. Members of `.zip`, `.tar`, `.tar.gz` and the like are
    files of their own, as `drop.zip!/a.csv`; of `.gz`, `.bz2`, `.xz` and `.zst` the plugin gets
    what is in them. Limits are in [scout]."""
    after: str = "keep"
    """What is done with a file when every job of its version is COMPLETED: `keep`, `delete`, or
    `archive:DIR`, a directory that is in no source root. A file without jobs is kept."""


class ArchiveSection(Section):
    """The bytes of every version, kept once: for jobs whose file is gone or another."""

    directory: str = ""
    """Where they are kept, in no source root; on the file system of the roots it takes no copies
    where that can clone files (XFS, Btrfs). Empty: off. Nothing is ever removed from it."""


class ExpectSection(Section):
    """A file that is to come each day by a time; one that does not is told by `casparian status`,
    the log and the metrics."""

    pattern: str
    """Glob on the path below its root. Any new version of a file that matches will do."""
    by: str
    """The time of the day, as 08:00. What came before midnight does not count."""
    time_zone: str = ""
    """Whose midnight and whose time, such as Europe/Berlin; default: the time zone of the host."""
    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = ()
    """Only on these days; default: every day."""
