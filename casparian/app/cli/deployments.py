"""`casparian deployments`: every version of the plugins, and what was refused."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from casparian.app.cli._output import show_json, show_table
from casparian.app.cli._shared import ConfigOption, JsonOption, load_settings, open_stores
from casparian.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from casparian.adapters.queue import QueueStores
    from casparian.app.cli.deploy_shapes import DeploymentDocument
    from casparian.domain.deployments import Deployment, RefusedDeploy

REFUSED = "refused"


def deployments(
    ctx: typer.Context,
    plugin: Annotated[
        str | None,
        typer.Argument(metavar="PLUGIN", help="Of this plugin only.", show_default=False),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List every version that plugins had, and the deployments that were refused, oldest first.

    Of refused ones, plugin, version and key are what the sender said.

    Example: casparian deployments csv_table
    """
    with closing(open_stores(load_settings(ctx, config))) as stores:
        documents = _documents(stores, plugin)
    if as_json:
        show_json(documents)
        return
    show_table(
        ("at", "plugin", "version", "origin", "verdict", "live", "key", "code", "asked by", "why"),
        [
            (
                one["at"],
                one["plugin"],
                one["version"],
                one["origin"],
                one["verdict"] if one["check"] is None else f"refused: {one['check']}",
                one["live"],
                one["key_id"],
                (one["content_hash"] or "")[:12],
                one["actor"],
                one["message"],
            )
            for one in documents
        ],
        numbers=["version"],
    )


def _documents(stores: QueueStores, plugin: str | None) -> list[DeploymentDocument]:
    live = {name: one.version for name, one in stores.store.standing().items()}
    known = {one["name"] for one in stores.reports.status()["plugins"]}
    versions = stores.store.deployments(plugin)
    refused = stores.store.refusals(plugin)
    if plugin is not None and plugin not in known and not versions and not refused:
        names = ", ".join(sorted(known)) or "none"
        raise ConfigurationError(f"There is no plugin {plugin!r}; known: {names}.")
    timed = [(one.at_us, _of_version(one, live)) for one in versions]
    timed += [(one.at_us, _of_refusal(one)) for one in refused]
    return [document for _, document in sorted(timed, key=lambda pair: pair[0])]


def _of_version(one: Deployment, live: dict[str, int]) -> DeploymentDocument:
    from casparian.adapters.queue.common import iso

    return {
        "at": iso(one.at_us),
        "plugin": one.plugin,
        "version": one.version,
        "content_hash": one.content_hash,
        "origin": one.origin.value,
        "verdict": one.verdict.value,
        "check": None,
        "message": one.message,
        "live": live.get(one.plugin) == one.version,
        "key_id": one.signed.key_id if one.signed else None,
        "scheme": one.signed.scheme if one.signed else None,
        "actor": one.actor or None,
    }


def _of_refusal(one: RefusedDeploy) -> DeploymentDocument:
    from casparian.adapters.queue.common import iso

    return {
        "at": iso(one.at_us),
        "plugin": one.plugin,
        "version": one.version or None,
        "content_hash": None,
        "origin": None,
        "verdict": REFUSED,
        "check": one.check.value,
        "message": one.message,
        "live": False,
        "key_id": one.key_id or None,
        "scheme": None,
        "actor": None,
    }
