"""The tables about source roots."""

from __future__ import annotations

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
