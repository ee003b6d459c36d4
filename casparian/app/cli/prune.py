"""`casparian prune`: old history goes; what a row is traced by stays."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from casparian.app.cli._jobs import actor, moment_of
from casparian.app.cli._output import count, show_json
from casparian.app.cli._shared import ConfigOption, JsonOption, load_settings, open_stores

if TYPE_CHECKING:
    from casparian.adapters.queue import QueueStores
    from casparian.app.cli.change_shapes import PrunedDocument
    from casparian.app.settings import Settings


def prune(
    ctx: typer.Context,
    before: Annotated[
        str,
        typer.Option(
            "--before",
            metavar="DATE",
            help="What ended before: 2026-01-31, or 2026-01-31T10:00:00; UTC unless it says other.",
        ),
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove the history of jobs that ended long ago.

    Their events go, and of the jobs those that published nothing and whose file has a newer
    version. Whatever a published row is traced by stays. Environments that were used last before
    then, and that no live plugin needs, go too. Engines may run. Who asked, when, and how
    much was removed stands in the table `pruning`; `casparian status` tells it.

    Example: casparian prune --before 2026-01-31
    """
    before_us = moment_of("--before", before)
    settings = load_settings(ctx, config)
    with closing(open_stores(settings)) as stores:
        pruned = stores.queue.prune(before_us, actor())
        environments = _prune_environments(settings, stores, before_us)
    if as_json:
        document: PrunedDocument = {
            "jobs": pruned.jobs,
            "events": pruned.events,
            "environments": environments,
        }
        show_json(document)
    else:
        told = f"{count(pruned.events, 'event')} and {count(pruned.jobs, 'job')} removed"
        print(f"{told}, and {count(environments, 'environment')}." if environments else f"{told}.")


def _prune_environments(settings: Settings, stores: QueueStores, before_us: int) -> int:
    from casparian.adapters.host.environments import PluginEnvironments
    from casparian.domain.errors import ConfigurationError
    from casparian.domain.requirements import requirements_of

    places = PluginEnvironments(str(settings.path(settings.plugins.environments)))
    keep = set()
    for plugin in stores.store.live():
        code = stores.store.manifest(plugin.content_hash).code
        # One whose metadata is wrong needs none.
        with suppress(ConfigurationError):
            needed = places.needed(plugin.name, requirements_of(plugin.name, code))
            keep |= {needed.key} if needed is not None else set()
    return places.prune(keep, before_us / 1_000_000)
