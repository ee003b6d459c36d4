"""`casparian keys curve`: a pair of keys for the transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from casparian.app.cli._output import show_json
from casparian.app.cli._shared import ConfigOption, JsonOption, load_settings
from casparian.app.printable import printable

if TYPE_CHECKING:
    from casparian.app.cli.deploy_shapes import CurveKeyDocument

DIRECTORY = "keys/curve"


def curve(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What the files are called.")],
    directory: Annotated[
        str,
        typer.Option(
            "--directory",
            metavar="DIR",
            help="Where they go [default: keys/curve beside the configuration file].",
            show_default=False,
        ),
    ] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a pair of keys for the transport: NAME.key is public, NAME.key_secret is not.

    An engine that is reached over TCP from other machines needs one, and so does each client that
    connects to it. A key is never overwritten.

    Example: casparian keys curve engine
    """
    from casparian.adapters.transport.curve import new_key_pair

    settings = load_settings(ctx, config)
    public, secret = new_key_pair(str(settings.path(directory or DIRECTORY)), name)
    if as_json:
        document: CurveKeyDocument = {"public": public, "secret": secret}
        show_json(document)
        return
    print(f"{printable(secret)} is secret: it stays here, with mode 0600.")
    print(f"{printable(public)} is public: copy it to who is to know this key.")
