"""`casparian plugins`: what runs on which tags, and how many sidecars do it."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import typer

from casparian.app.cli._output import show_json, show_table
from casparian.app.cli._shared import ConfigOption, JsonOption, load_settings, open_stores

if TYPE_CHECKING:
    from casparian.app.cli.shapes import PluginStateDocument
    from casparian.domain.documents import PluginDocument, WorkerDocument

ACTIVE, INACTIVE, QUARANTINED = "active", "not in the configuration", "under quarantine"


def plugins(ctx: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List plugins: their code, tags, topics, state and sidecars.

    Those that have left the configuration are listed too, since their rows may still stand.

    Example: casparian plugins
    """
    with closing(open_stores(load_settings(ctx, config))) as stores:
        status = stores.reports.status()
    sidecars = _sidecars(status["workers"])
    documents: list[PluginStateDocument] = [
        {**plugin, "state": state_of(plugin), "sidecars": sidecars[plugin["name"]]}
        for plugin in status["plugins"]
    ]
    if as_json:
        show_json(documents)
        return
    show_table(
        ("plugin", "version", "code", "tags", "topics", "state", "sidecars"),
        [
            (
                plugin["name"],
                plugin["version"],
                (plugin["content_hash"] or "")[:12],
                ", ".join(plugin["tags"]),
                ", ".join(f"{t['topic']} to {t['sink']} ({t['mode']})" for t in plugin["topics"]),
                _told(plugin),
                plugin["sidecars"],
            )
            for plugin in documents
        ],
        numbers=["version", "sidecars"],
    )


def state_of(plugin: PluginDocument) -> str:
    if plugin["quarantined"]:
        return QUARANTINED
    return ACTIVE if plugin["active"] else INACTIVE


def _told(plugin: PluginStateDocument) -> str:
    reason = f": {plugin['quarantined']}" if plugin["quarantined"] else ""
    return plugin["state"] + reason


def _sidecars(workers: list[WorkerDocument]) -> Counter[str]:
    """Sidecars by plugin, over all workers that are alive."""
    total: Counter[str] = Counter()
    for worker in workers:
        if worker["alive"]:
            total.update(worker["load"].get("sidecars", {}))
    return total
