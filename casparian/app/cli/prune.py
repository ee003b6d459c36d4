"""`casparian prune`: old history goes; what a row is traced by stays."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from casparian.app.cli._jobs import actor, moment_of
from casparian.app.cli._output import count, show_json
from casparian.app.cli._shared import ConfigOption, JsonOption, load_settings, open_stores

if TYPE_CHECKING:
    from casparian.app.cli.shapes import PrunedDocument


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
    version. Whatever a published row is traced by stays. Engines may run. Who asked, when, and how
    much was removed stands in the table `pruning`; `casparian status` tells it.

    Example: casparian prune --before 2026-01-31
    """
    before_us = moment_of("--before", before)
    with closing(open_stores(load_settings(ctx, config))) as stores:
        pruned = stores.queue.prune(before_us, actor())
    if as_json:
        document: PrunedDocument = {"jobs": pruned.jobs, "events": pruned.events}
        show_json(document)
    else:
        print(f"{count(pruned.events, 'event')} and {count(pruned.jobs, 'job')} removed.")
