"""Checks of what plugins may read by their sandbox: nothing of the engine's own lies there."""

from __future__ import annotations

import os
from collections.abc import Iterator

from casparian.app.cli._findings import Findings, warning
from casparian.app.places import inside
from casparian.app.settings import Settings

DATABASE = "The queue's database"
KEYS_OF_TRANSPORT = ("key", "clients", "client_key")


def check_readable(settings: Settings) -> Findings:
    """The database, keys and the configuration file, below a source root or a plugin's grant. What
    the engine writes below a source root is told elsewhere: it would be taken for input, too."""
    if not settings.sandboxed:
        return  # Plugins may read all that the engine may, which is told already.
    roots = [str(settings.path(root.path)) for root in settings.source_root]
    # Of snapshots a plugin is given its own, and no root.
    every = [] if settings.worker.verify == "snapshot" else roots
    for what, place, move in _own(settings):
        for root in every:
            if what != DATABASE and inside(place, root):
                yield warning(
                    place,
                    f"{what} lies in the source root {root}, and every plugin may read it.",
                    f'{move}; or give plugins copies alone: [worker] verify = "snapshot".',
                )
        for plugin, section in settings.plugin.items():
            for granted in (str(settings.path(path)) for path in section.allow_read):
                if inside(place, granted):
                    yield warning(
                        place,
                        f"{what} lies in {granted}, which [plugin.{plugin}] allow_read grants.",
                        f"{move}; or grant the files that the plugin needs, by name.",
                    )


def _own(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """What it is, where, and how it is moved."""
    database = settings.database_url.removeprefix("sqlite:///")
    if database != settings.database_url:
        move = "Stop the engine, move the file with its -wal, and change [database] url"
        yield DATABASE, database, move
    yield (
        "The directory of deploy keys",
        str(settings.key_directory),
        "Move it, and change [plugins] keys",
    )
    for key in KEYS_OF_TRANSPORT:
        value = settings.transport.settings.get(key)
        if isinstance(value, str) and value:
            move = f"Move it, and change [transport.settings] {key}"
            yield "A key of the transport", str(settings.path(value)), move
    if os.path.isfile(settings.document.name):
        file = os.path.abspath(settings.document.name)
        yield "The configuration file", file, "Move it out, and the paths in it with it"
