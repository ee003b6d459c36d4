"""Why a file that is there is not taken as it is now: the scout's own rules, asked for one file."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from casparian.app.cli._in_the_way import in_the_way
from casparian.domain.files import SourceRoot, StatIdentity, path_bytes, path_text
from casparian.domain.ports import FileChangedError
from casparian.domain.unpacking import Refused, is_archive, split_member

if TYPE_CHECKING:
    from casparian.app.settings import Settings
    from casparian.domain.roots import RootRules


def not_taken(
    settings: Settings, root: str, path: str, known: StatIdentity | None = None
) -> str | None:
    """A sentence about the file at `path` below `root`, which the catalog has met as `known`.

    None where it is taken as it is or would be, where it is not there, and where the root has
    no table.
    """
    from casparian.adapters.files import LocalFileSource
    from casparian.app.root_rules import root_rules
    from casparian.app.scout_markers import lacks_marker

    rules = root_rules(settings).get(os.fsencode(root))
    if rules is None:
        return None
    reason = rules.left_out(path_bytes(path))
    if reason is not None:
        return f"It is not taken: {reason}."
    source, member = LocalFileSource(), split_member(path_bytes(path)) if rules.unpack else None
    file = path_bytes(path) if member is None else member[0]
    try:
        identity = source.stat(os.fsencode(root), file)
    except OSError:
        return in_the_way(root, path_text(file))
    if known is not None and (identity == known or member is not None):
        return None
    if rules.done is not None:
        where = SourceRoot(0, os.fsencode(root))
        lacks = lacks_marker(source, where, rules.done, file, identity)
        if lacks is not None:
            return f"It is not taken as it is now: {lacks}."
    return (
        _not_settled(rules, identity)
        or _refused(rules, os.fsencode(root), file)
        or in_the_way(root, path_text(file))
    )


def unpacked_here(settings: Settings, root: str, path: bytes) -> bool:
    """Whether the file is an archive whose members are files of their own."""
    from casparian.app.root_rules import unpack_limits

    return os.fsencode(root) in unpack_limits(settings) and is_archive(path)


def not_taken_on_disk(settings: Settings, absolute: str) -> str | None:
    """The same for a path in the file system."""
    real = os.path.join(os.path.realpath(os.path.dirname(absolute)), os.path.basename(absolute))
    for section in settings.source_root:
        root = str(settings.path(section.path))
        if real.startswith(os.path.realpath(root) + "/"):
            return not_taken(settings, root, os.path.relpath(real, os.path.realpath(root)))
    return None


def _refused(rules: RootRules, root: bytes, path: bytes) -> str | None:
    """Why an archive is not opened; it is read for that."""
    if rules.unpack is None or not is_archive(path):
        return None
    from casparian.adapters.files.unpacking import Unpacker

    try:
        Unpacker().expand(root, path, rules.unpack, lambda name: True)
    except Refused as error:
        return f"The archive {path_text(path)!r} is refused: {error}."
    except (OSError, FileChangedError) as error:
        return f"The archive {path_text(path)!r} cannot be read: {error}."
    return None


def _not_settled(rules: RootRules, identity: StatIdentity) -> str | None:
    now_ns = time.time_ns()
    wait_ns = rules.scan.settled_in_ns(identity, now_ns)
    if not wait_ns:
        return None
    if rules.scan.in_future(identity, now_ns):
        return (
            "Its timestamps lie in the future: it is taken when an engine has met it unchanged "
            f"for {rules.scan.settle_ns / 1e9:g} s (settle_s)."
        )
    return (
        f"It changed too short a time ago to be taken as whole: it is taken in {wait_ns / 1e9:.1f} "
        "s, unless it changes again (settle_s)."
    )
