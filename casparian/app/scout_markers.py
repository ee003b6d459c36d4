"""Done markers on the disk: whether one stands for what a file is now."""

from __future__ import annotations

from casparian.domain.files import SourceRoot, StatIdentity, path_text
from casparian.domain.ports import FileSource
from casparian.domain.roots import DoneMarker


def lacks_marker(
    source: FileSource, root: SourceRoot, done: DoneMarker, path: bytes, identity: StatIdentity
) -> str | None:
    """Why the file does not count yet, as the end of a sentence; None when its marker stands."""
    marker = done.of(path)
    name = repr(path_text(marker))
    try:
        found = source.stat(root.path, marker)
    except (FileNotFoundError, IsADirectoryError):
        return f"it waits for its marker {name}"
    except OSError as error:
        return f"its marker {name} cannot be examined: {error.strerror or error}"
    if not done.vouches(found, identity):
        return f"it was written after its marker {name} was: it waits for a newer one"
    return None
