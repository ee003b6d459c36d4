"""Which file a path on the command line means: below a source root, or in the file system."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from casparian.app.cli._not_taken import not_taken, not_taken_on_disk
from casparian.domain.files import path_bytes, path_text

if TYPE_CHECKING:
    from casparian.adapters.queue import QueueStores
    from casparian.app.settings import Settings
    from casparian.domain.documents.files import FileStoryDocument

NAMES_COMPARED = 20_000
NAMES_SHOWN = 5


def find(stores: QueueStores, path: str) -> list[FileStoryDocument]:
    """Documents of every file that `path` can mean: below a root first, then on disk."""
    found: dict[tuple[str, str], FileStoryDocument] = {}
    below = os.path.normpath(path)
    if not os.path.isabs(path):
        for document in stores.reports.why(path_bytes(below)):
            found[document["source_root"], document["path"]] = document
    absolute = os.path.abspath(path)
    for suffix in _suffixes(absolute):
        for document in stores.reports.why(path_bytes(suffix)):
            if _same_place(os.path.join(document["source_root"], suffix), absolute):
                found.setdefault((document["source_root"], document["path"]), document)
    return list(found.values())


def _suffixes(absolute: str) -> Iterator[str]:
    """`a/b/c`, `b/c`, `c` of `/a/b/c`: what the path can be below some root."""
    parts = absolute.lstrip("/").split("/")
    for start in range(len(parts)):
        yield "/".join(parts[start:])


def _same_place(one: str, other: str) -> bool:
    """True where both name one entry of one directory, links on the way followed."""
    return one == other or (
        os.path.basename(one) == os.path.basename(other)
        and os.path.realpath(os.path.dirname(one)) == os.path.realpath(os.path.dirname(other))
    )


# --- a path that nobody knows -----------------------------------------------------------------


def unknown(stores: QueueStores, path: str, settings: Settings) -> str:
    """Why no file is known by `path`, and what would be right."""
    roots = [path_text(root.path) for root in stores.catalog.roots()]
    known = list(_known(stores))
    said = f"No scan has recorded {path!r}."
    on_disk = os.path.abspath(path)
    reason = _not_taken_below(roots, path, settings)
    if reason is not None:
        said += f" {reason}"
    elif os.path.isfile(on_disk.partition("!/")[0]):
        if any(os.path.realpath(on_disk).startswith(os.path.realpath(r) + "/") for r in roots):
            reason = not_taken_on_disk(settings, on_disk)
            said += f" It is there. {reason or 'Run `casparian scan`.'}"
        else:
            said += f" It is in no source root; these are: {', '.join(roots) or 'none'}."
    near = _nearest(os.path.normpath(path), known)
    if near:
        said += f" Known are {', '.join(repr(name) for name in near)}."
    elif known:
        said += " `casparian files` lists what is known."
    else:
        said += " No file is known yet: run `casparian scan`."
    return said


def _not_taken_below(roots: list[str], path: str, settings: Settings) -> str | None:
    """What the scout would say of the path below the first root in which it has a reason."""
    for root in roots:
        top = root.rstrip("/") + "/"
        below = os.path.normpath(path)
        if os.path.isabs(path):
            if not below.startswith(top):
                continue
            below = below[len(top) :]
        reason = not_taken(settings, root, below)
        if reason is not None:
            return reason
    return None


def _known(stores: QueueStores) -> Iterator[str]:
    left = NAMES_COMPARED
    for root in stores.catalog.roots():
        for location in stores.catalog.locations(root.id):
            if not left:
                return
            left -= 1
            yield path_text(location.path)


def _nearest(path: str, known: list[str]) -> list[str]:
    """Names of this directory, of the same file elsewhere, then names written alike."""
    name = os.path.basename(path)
    below = [k for k in known if k.startswith(path + "/")]
    same = [k for k in known if os.path.basename(k) == name]
    alike = difflib.get_close_matches(path, known, n=NAMES_SHOWN)
    return list(dict.fromkeys(below + same + alike))[:NAMES_SHOWN]
