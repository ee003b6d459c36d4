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
NOT_RUN = "not run"


def plugins(ctx: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List plugins: their code, tags, topics, state and sidecars.

    Those that have left the configuration are listed too, since their rows may still stand.

    Example: casparian plugins
    """
    with closing(open_stores(load_settings(ctx, config))) as stores:
        status = stores.reports.status()
    sidecars = _sidecars(status["workers"])
    not_run = not_run_now(status["workers"])
    documents: list[PluginStateDocument] = [
        {
            **plugin,
            "state": state_of(plugin) if plugin["name"] not in not_run else NOT_RUN,
            "not_run": not_run.get(plugin["name"]),
            "sidecars": sidecars[plugin["name"]],
        }
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
    reason = plugin["not_run"] or plugin["quarantined"]
    return plugin["state"] + (f": {reason}" if reason else "")


def not_run_now(workers: list[WorkerDocument]) -> dict[str, str]:
    """Plugins that a living worker does not run, with the reason that it gives."""
    return {
        name: reason
        for worker in workers
        if worker["alive"]
        for name, reason in worker["load"].get("not_run", {}).items()
    }


def _sidecars(workers: list[WorkerDocument]) -> Counter[str]:
    """Sidecars by plugin, over all workers that are alive."""
    total: Counter[str] = Counter()
    for worker in workers:
        if worker["alive"]:
            total.update(worker["load"].get("sidecars", {}))
    return total
