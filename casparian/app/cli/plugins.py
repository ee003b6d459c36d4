"""`casparian plugins`: what runs on which tags, and how many sidecars do it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING

import typer

from casparian.app.cli._output import show_json, show_table
from casparian.app.cli._shared import ConfigOption, JsonOption, load_settings, open_stores

if TYPE_CHECKING:
    from casparian.adapters.queue import QueueStores
    from casparian.app.cli.shapes import PluginStateDocument
    from casparian.app.settings import Settings
    from casparian.domain.documents.status import PluginDocument, WorkerDocument

ACTIVE, INACTIVE, QUARANTINED = "active", "not in the configuration", "under quarantine"
NOT_RUN, REFUSED, BUILT_IN = "not run", "refused", "built in"


def plugins(ctx: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List plugins: their code, tags, topics, state and sidecars.

    One whose code does not hold against its hash or signature is refused: it is not run, and its
    jobs wait. `casparian deployments` lists the versions of each.

    Those that have left the configuration are listed too, since their rows may still stand.

    Example: casparian plugins
    """
    settings = load_settings(ctx, config)
    with closing(open_stores(settings)) as stores:
        status = stores.reports.status()
        refused = refused_plugins(settings, stores)
    sidecars = _sidecars(status["workers"])
    not_run = not_run_now(status["workers"])
    documents: list[PluginStateDocument] = [
        {
            **plugin,
            "state": state_of(plugin, refused, not_run),
            "refused": refused.get(plugin["name"]),
            "not_run": not_run.get(plugin["name"]),
            "sidecars": sidecars[plugin["name"]],
        }
        for plugin in status["plugins"]
    ]
    documents.append(_built_in())
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


def refused_plugins(settings: Settings, stores: QueueStores) -> dict[str, str]:
    """Why live plugins may not be loaded, by name, with the keys that lie here."""
    from casparian.adapters.keys import KeyDirectory
    from casparian.app.code_guard import CodeGuard, problems

    keys = KeyDirectory(settings.key_directory)
    guard = CodeGuard(keys, settings.plugins.require_signature)
    return problems(stores.store, guard, {live.name: live for live in stores.store.live()})


def state_of(plugin: PluginDocument, refused: Mapping[str, str], not_run: Mapping[str, str]) -> str:
    if plugin["quarantined"]:
        return QUARANTINED
    if plugin["name"] in refused:
        return REFUSED
    if plugin["name"] in not_run:
        return NOT_RUN
    return ACTIVE if plugin["active"] else INACTIVE


def _told(plugin: PluginStateDocument) -> str:
    reason = plugin["quarantined"] or plugin["refused"] or plugin["not_run"]
    return f"{plugin['state']}: {reason}" if reason else plugin["state"]


def not_run_now(workers: list[WorkerDocument]) -> dict[str, str]:
    """Plugins that a living worker does not run, with the reason that it gives."""
    return {
        name: reason
        for worker in workers
        if worker["alive"]
        for name, reason in worker["load"].get("not_run", {}).items()
    }


def _built_in() -> PluginStateDocument:
    """The plugin by which all others are deployed: part of the engine, and of no configuration."""
    from casparian.app.builtins.system_deployer import own_hash
    from casparian.domain.plugins import SYSTEM_DEPLOYER

    return {
        "name": SYSTEM_DEPLOYER,
        "active": True,
        "version": None,
        "content_hash": own_hash(),
        "origin": "built-in",
        "tags": [],
        "topics": [],
        "quarantined": None,
        "environment": None,
        "jobs": {},
        "state": BUILT_IN,
        "refused": None,
        "not_run": None,
        "sidecars": 0,
    }


def _sidecars(workers: list[WorkerDocument]) -> Counter[str]:
    """Sidecars by plugin, over all workers that are alive."""
    total: Counter[str] = Counter()
    for worker in workers:
        if worker["alive"]:
            total.update(worker["load"].get("sidecars", {}))
    return total
