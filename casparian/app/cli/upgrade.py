"""`casparian upgrade`: the database's schema becomes the one this program knows."""

from __future__ import annotations

import typer

from casparian.app.cli._shared import ConfigOption, load_settings


def upgrade(ctx: typer.Context, config: ConfigOption = None) -> None:
    """Migrate the database to this release.

    It is one transaction; make a copy of the database first. Stop every engine that uses it
    before; one of an older release refuses it afterwards.

    Example: casparian upgrade --config flights/casparian.toml
    """
    from casparian.adapters.queue import upgrade_url

    url = load_settings(ctx, config).database_url
    before, after = upgrade_url(url)
    if before == after:
        typer.echo(f"{url} has schema {after} already; nothing was changed.")
    else:
        typer.echo(f"{url} was upgraded from schema {before or 'none'} to {after}.")
