"""`casparian prune`: old history goes; what a row is traced by stays."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from casparian.app.cli._jobs import actor
from casparian.app.cli._output import count, show_json
from casparian.app.cli._shared import ConfigOption, JsonOption, load_settings, open_stores
from casparian.domain.errors import ConfigurationError

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
    before_us = _moment(before)
    with closing(open_stores(load_settings(ctx, config))) as stores:
        pruned = stores.queue.prune(before_us, actor())
    if as_json:
        document: PrunedDocument = {"jobs": pruned.jobs, "events": pruned.events}
        show_json(document)
    else:
        print(f"{count(pruned.events, 'event')} and {count(pruned.jobs, 'job')} removed.")


def _moment(text: str) -> int:
    """Microseconds since the epoch. Raises ConfigurationError for what is no date."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"--before {text!r} is no date: write 2026-01-31 or 2026-01-31T10:00:00."
        ) from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()) * 1_000_000
