"""Where files come from and where rows go must not lie in each other.

A file below two source roots would be met twice, and its rows published twice; what is published
below a source root would be found there as input.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import permutations

from casparian.app.targets import Targets
from casparian.domain.errors import ConfigurationError
from casparian.domain.files import path_text
from casparian.domain.plugins import EVERY_TOPIC
from casparian.domain.ports import Applied


def refuse_overlaps(applied: Applied, targets: Targets) -> None:
    """Raises ConfigurationError for source roots, or a root and a sink, in each other."""
    roots = [path_text(root) for root in applied.roots]
    for inner, outer in permutations(roots, 2):
        if inside(inner, outer):
            raise ConfigurationError(
                f"[[source_root]] path: {inner!r} lies in {outer!r}, another source root, so that "
                "each file in it would be met twice. Leave one of them out; rules tell their "
                "files apart by pattern."
            )
    for where, location in _outputs(applied, targets):
        for root in roots:
            if inside(location, root):
                raise ConfigurationError(
                    f"{where}: {location!r} lies in the source root {root!r}, so that what is "
                    "published would be taken for input. Publish outside of every source root."
                )


def inside(inner: str, outer: str) -> bool:
    """True where `inner` is `outer` or lies in it, links followed."""
    inner, outer = os.path.realpath(inner), os.path.realpath(outer)
    return os.path.commonpath((inner, outer)) == outer


def _outputs(applied: Applied, targets: Targets) -> Iterator[tuple[str, str]]:
    """The key and the path of each sink that is on a disk."""
    for plugin in applied.plugins:
        for topic in plugin.topics:
            # Under "*" the location is the same for every topic.
            name = "any" if topic.topic == EVERY_TOPIC else topic.topic
            location = targets.parse(topic.sink, "/", plugin.plugin, name).location
            if os.path.isabs(location):
                yield f"plugin.{plugin.plugin}.topics.{topic.topic!r}.sink", location
