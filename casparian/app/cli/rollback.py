"""`casparian rollback`: an earlier version of a plugin becomes live again, as a new one."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from casparian.app.cli._jobs import actor
from casparian.app.cli._output import show_json
from casparian.app.cli._shared import ConfigOption, JsonOption, load_settings, open_stores
from casparian.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from casparian.adapters.queue import QueueStores
    from casparian.app.cli.deploy_shapes import RolledBackDocument
    from casparian.app.settings import Settings
    from casparian.domain.deployments import Deployment

DIRECTORY = "directory"


def rollback(
    ctx: typer.Context,
    plugin: Annotated[
        str, typer.Argument(metavar="PLUGIN", help="The plugin's name.", show_default=False)
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="VERSION",
            help="The version to go back to, or `directory` for the file in the plugin directory "
            "[default: the newest earlier one with other code].",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an earlier version of a plugin live again, as a new version.

    Its code is verified again: one whose signature does not hold any more, because its key was
    revoked, say, is refused. Engines may run, and take it for their next jobs; none needs to.
    Rows that are published stay as they are. The history says who asked.

    With `--to directory` the plugin's code comes from the plugin directory again, as it is there
    now and whenever an engine starts.

    Example: casparian rollback csv_table --to 3
    """
    settings = load_settings(ctx, config)
    version = _version(to)
    with closing(open_stores(settings)) as stores:
        if to == DIRECTORY:
            installed = _from_directory(settings, stores, plugin)
        else:
            installed = _back(settings, stores, plugin, version)
    if as_json:
        document: RolledBackDocument = {
            "plugin": plugin,
            "version": installed.version,
            "content_hash": installed.content_hash,
            "origin": installed.origin.value,
        }
        show_json(document)
        return
    what = installed.message or "the directory's file"
    print(f"Plugin {plugin} has version {installed.version}: {what}.")


def _version(to: str | None) -> int | None:
    if to is None or to == DIRECTORY:
        return None
    if not (to.isascii() and to.isdigit()):
        raise ConfigurationError(f"--to {to!r}: a version is a number, or `{DIRECTORY}`.")
    return int(to)


def _back(settings: Settings, stores: QueueStores, plugin: str, version: int | None) -> Deployment:
    from casparian.adapters.keys import KeyDirectory
    from casparian.adapters.queue import wall_clock_us
    from casparian.app.builtins import SystemDeployer
    from casparian.app.code_guard import CodeGuard

    keys = KeyDirectory(settings.key_directory)
    guard = CodeGuard(keys, settings.plugins.require_signature)
    deployer = SystemDeployer(stores.store, keys, lambda: stores.ledger.installation, wall_clock_us)
    return deployer.roll_back(plugin, version, guard, actor())


def _from_directory(settings: Settings, stores: QueueStores, plugin: str) -> Deployment:
    from casparian.adapters.queue import wall_clock_us
    from casparian.app.loader import PluginRegistry
    from casparian.domain.deployments import Deployment, Origin

    if settings.plugins.require_signature:
        raise ConfigurationError(
            f"{settings.place('plugins', 'require_signature')} = true: code of the directory is "
            "not signed, and does not run."
        )
    manifest = PluginRegistry(settings.plugin_directory).manifest(plugin)
    return stores.store.deploy(
        Deployment(
            plugin, 0, manifest.content_hash, Origin.DIRECTORY, wall_clock_us(), actor=actor()
        ),
        manifest.code,
    )
