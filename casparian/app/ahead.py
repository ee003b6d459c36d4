"""What sidecars are forked from is started before the engine itself is loaded, where there is work.

It takes about as long to load as the engine: so neither waits for the other. A guess that was wrong
costs the start of a process, which is ended unused.
"""

from __future__ import annotations

import os
from contextlib import suppress

from casparian.adapters.host.forking import start_ahead
from casparian.app.settings import Settings

FILES = "sqlite:///"
MOST_LOOKED_AT = 1000


def start_sidecars_ahead(settings: Settings, drain: bool) -> None:
    """To be called by the main thread, for an engine that runs jobs."""
    if settings.plugin_host.adapter != "subprocess" or not settings.plugin:
        return
    # One that runs for ever starts its sidecars anyhow, so that no first file waits for them.
    if not drain or something_is_new(settings):
        start_ahead(settings.plugin_host.sidecars)


def something_is_new(settings: Settings) -> bool:
    """Whether right below a source root something changed after the queue was last written to;
    True where there is something and no queue yet. A guess, from at most MOST_LOOKED_AT names."""
    if not settings.database_url.startswith(FILES):
        return False
    written_ns = -1
    with suppress(OSError):
        written_ns = os.stat(settings.database_url.removeprefix(FILES)).st_mtime_ns
    return any(_changed_after(settings.path(r.path), written_ns) for r in settings.source_root)


def _changed_after(root: os.PathLike[str], time_ns: int) -> bool:
    # What is wrong with a root is for the scan to find and to say.
    with suppress(OSError), os.scandir(root) as entries:
        for _, entry in zip(range(MOST_LOOKED_AT), entries, strict=False):
            if entry.stat(follow_symlinks=False).st_ctime_ns > time_ns:
                return True
    return False
