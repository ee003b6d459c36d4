"""`casparian keys`: makes, lists and revokes the keys that deployments are signed with.

Those of the transport are made by `keys curve`, a module of its own.
"""

from __future__ import annotations

import time
from contextlib import closing
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from casparian.app.cli._jobs import actor
from casparian.app.cli._output import show_json, show_table
from casparian.app.cli._shared import ConfigOption, JsonOption, load_settings, open_stores
from casparian.app.cli.keys_curve import curve
from casparian.domain.errors import CasparianError

if TYPE_CHECKING:
    from casparian.adapters.keys import KeyDirectory, KeyEntry
    from casparian.app.cli.deploy_shapes import KeyDocument
    from casparian.app.settings import Settings

keys = typer.Typer(
    help="Make, list and revoke the keys that deployments are signed with; make the transport's.",
    no_args_is_help=True,
)

KeyId = Annotated[
    str,
    typer.Argument(metavar="ID", help="Letters, digits, - and _, at most 64.", show_default=False),
]


class SchemeOption(StrEnum):
    """How a key signs."""

    HMAC = "hmac"
    ED25519 = "ed25519"


@keys.command()
def new(
    ctx: typer.Context,
    key_id: KeyId,
    scheme: Annotated[
        SchemeOption,
        typer.Option(
            "--scheme",
            metavar="SCHEME",
            help="hmac: one secret, at the engine too. ed25519: the engine has the public half.",
        ),
    ] = SchemeOption.HMAC,
    config: ConfigOption = None,
) -> None:
    """Make a key, in files that only you can read.

    It is good at once, beside the keys that are there; an id names one key for ever. The secret
    is shown nowhere. Of an ed25519 key, move ID.key to where deployments are signed, and leave
    ID.pub at the engine.

    Example: casparian keys new office-2026
    """
    from casparian.domain.signing import Scheme

    settings = load_settings(ctx, config)
    kind = Scheme.ED25519 if scheme is SchemeOption.ED25519 else Scheme.HMAC
    files = _directory(settings).create(key_id, kind, time.time_ns() // 1000)
    print(f"Key {key_id} ({kind}): {', '.join(str(file) for file in files)}")
    if kind is Scheme.HMAC:
        print("Whoever has this file can deploy. The engine needs it to verify.")
    else:
        print(
            f"Whoever has {files[0].name} can deploy: the engine does not need it. It verifies by "
            f"{files[1].name}."
        )


@keys.command("list")
def list_keys(ctx: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List keys: their scheme, age, and whether they were revoked.

    Example: casparian keys list
    """
    documents = [_document(entry) for entry in _directory(load_settings(ctx, config)).entries()]
    if as_json:
        show_json(documents)
        return
    show_table(
        ("id", "scheme", "made", "state", "signs here"),
        [(k["id"], k["scheme"], k["created_at"], k["state"], k["signs"]) for k in documents],
    )


@keys.command()
def revoke(ctx: typer.Context, key_id: KeyId, config: ConfigOption = None) -> None:
    """Revoke a key: nothing that it signed is accepted, or loaded, from now on.

    What signs with it is removed from the directory, and its id cannot be made anew. Live plugins
    that it signed are not run any more, and their jobs wait, until they are deployed again with
    another key: they are named. Running engines look at once.

    Example: casparian keys revoke office-2025
    """
    settings = load_settings(ctx, config)
    _directory(settings).revoke(key_id, actor(), time.time_ns() // 1000)
    print(f"Key {key_id} is revoked.")
    try:
        with closing(open_stores(settings)) as stores:
            signed = [
                name
                for name, one in stores.store.standing().items()
                if one.signed is not None and one.signed.key_id == key_id
            ]
            stores.store.recheck()
    except CasparianError as error:
        print(
            "Running engines are not told, since the queue's database cannot be used: they look "
            f"when plugins change, or when they are started again ({error})"
        )
        return
    for name in signed:
        print(
            f"Plugin {name} is not run any more: deploy it again with another key, or go back by "
            f"`casparian rollback {name}`."
        )


keys.command()(curve)


def _directory(settings: Settings) -> KeyDirectory:
    from casparian.adapters.keys import KeyDirectory

    return KeyDirectory(settings.key_directory)


def _document(entry: KeyEntry) -> KeyDocument:
    from casparian.adapters.queue.common import iso

    revoked = entry.revoked_at_us
    return {
        "id": entry.id,
        "scheme": entry.scheme.value if entry.scheme else None,
        "created_at": iso(entry.created_at_us),
        "state": "valid" if revoked is None else "revoked",
        "signs": entry.signs,
        "revoked_at": None if revoked is None else iso(revoked),
        "revoked_by": entry.revoked_by or None,
    }
