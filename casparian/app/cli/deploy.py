"""`casparian deploy`: new code for a plugin of a running engine, signed."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from casparian.app.cli._output import count, show_json
from casparian.app.cli._shadow import shadow_document, show_shadow
from casparian.app.cli._shared import ConfigOption, JsonOption, load_settings, open_stores
from casparian.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from casparian.adapters.queue import QueueStores
    from casparian.app.cli.deploy_shapes import DeployedDocument
    from casparian.app.cli.shadow_shapes import ShadowDocument
    from casparian.app.settings import Settings
    from casparian.domain.deployments import Signed
    from casparian.domain.messages import Deployed
    from casparian.domain.signing import SigningKey


def deploy(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The plugin's code.", show_default=False)
    ],
    plugin: Annotated[
        str,
        typer.Option("--plugin", metavar="NAME", help="The plugin that it is the new code of."),
    ],
    key_id: Annotated[
        str,
        typer.Option(
            "--key-id", metavar="ID", help="The key to sign with, made by `casparian keys new`."
        ),
    ],
    shadow: Annotated[
        int | None,
        typer.Option(
            "--shadow",
            metavar="N",
            min=1,
            help="First run it on the last N file versions, and show what would change.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    uncompared: Annotated[
        bool,
        typer.Option(
            "--uncompared",
            help="With --shadow and --yes, also where some file could not be compared.",
        ),
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign new code for a plugin, send it to a running engine, and wait for the verdict.

    The engine verifies the signature, loads the code in a sidecar of its own, and only then makes
    it live, as the plugin's next version: every worker takes it for its next jobs. Code that
    cannot be loaded is recorded, and what was live stays. From then on the plugin's file in the
    plugin directory is not used. The plugin must be in the configuration.

    With --shadow the new code is run before that, in sidecars, on the last versions of files that
    the plugin is to publish, and what it makes is compared with the rows that stand in the targets;
    nothing of it is published. Without --yes it is then deployed only where somebody can be asked.
    Differences do not keep --yes from deploying. A file whose published rows could not be read
    does, unless --uncompared is given.

    On a terminal it asks first. Exits with 1 when the deployment is refused, saying by which
    check, or kept back by --shadow, and with 3 when no engine is running.

    Example: casparian deploy csv_table.py --plugin csv_table --key-id office-2026 --shadow 20
    """
    settings = load_settings(ctx, config)
    from casparian.adapters.keys import KeyDirectory
    from casparian.app.access import client_access
    from casparian.domain.plugins import check_plugin_name, code_hash

    check_plugin_name(plugin)
    if uncompared and shadow is None:
        raise ConfigurationError("--uncompared is about what --shadow N compares: give both.")
    code = _read(file)
    key = KeyDirectory(settings.key_directory).signing(key_id)
    document: DeployedDocument = {
        "plugin": plugin,
        "version": None,
        "content_hash": code_hash(code),
        "key_id": key.id,
        "engine": None,
        "shadow": None,
    }
    with closing(open_stores(settings)) as stores:
        if shadow is not None:
            document["shadow"] = found = _shadow(settings, stores, plugin, code, shadow)
            if not as_json:
                show_shadow(found)
        unknown = document["shadow"]["uncompared"] if document["shadow"] else 0
        kept_back = bool(yes and unknown and not uncompared)
        if kept_back or not _agreed(stores, plugin, file, document["shadow"], yes, as_json):
            if as_json:
                show_json(document)
            elif kept_back:
                print(
                    f"Nothing was deployed, since {count(unknown, 'file')} could not be compared. "
                    "With --uncompared it is deployed all the same."
                )
            else:
                print("Nothing was deployed.")
            raise typer.Exit(1 if kept_back else 0)
        installed, engine = _deploy(stores, key, plugin, code, client_access(settings))
    if as_json:
        document["version"], document["engine"] = installed.version, engine
        show_json(document)
        return
    print(
        f"Plugin {installed.plugin} has version {installed.version} "
        f"({installed.content_hash[:12]}), signed by {key.id}."
    )


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}.") from error


def _shadow(
    settings: Settings, stores: QueueStores, plugin: str, code: bytes, limit: int
) -> ShadowDocument:
    from casparian.app.logs import configure_logs
    from casparian.app.shadow import shadow_run

    # Its engine would tell of jobs that are none, and of failures that the document tells.
    configure_logs("error", as_json=False)
    return shadow_document(shadow_run(settings, stores, plugin, code, limit))


def _agreed(
    stores: QueueStores,
    plugin: str,
    file: Path,
    shown: ShadowDocument | None,
    yes: bool,
    as_json: bool,
) -> bool:
    """`shown`: what would change, which is to be judged first."""
    if yes:
        return True
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return shown is None
    standing = stores.store.standing().get(plugin)
    former = (
        f"version {standing.version}, of {standing.origin}, is live"
        if standing
        else "no code is live"
    )
    unknown = shown["uncompared"] if shown else 0
    doubt = f" {count(unknown, 'file')} could not be compared." if unknown else ""
    return typer.confirm(f"Plugin {plugin}: {former}.{doubt} Deploy {file}?")


def _deploy(
    stores: QueueStores, key: SigningKey, plugin: str, code: bytes, access: Mapping[str, str]
) -> tuple[Deployed, str]:
    """What is live now, and the engine that says so."""
    from casparian.app.context import EtlContext
    from casparian.app.deploying import deploy_to, reachable
    from casparian.domain.signing import NONCE_BYTES, sign

    context = EtlContext.capture()
    try:
        engines = reachable(stores.reports.status()["workers"], context.host_key)
    finally:
        context.seat.leave()
    version = stores.store.newest_version(plugin) + 1
    audience = stores.ledger.installation

    def signed() -> Signed:
        nonce, now = secrets.token_bytes(NONCE_BYTES), int(time.time())
        return sign(key, plugin, version, code, audience, now, nonce)

    return deploy_to(engines, stores.store, plugin, signed, code, access)
