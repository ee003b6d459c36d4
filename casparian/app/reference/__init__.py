"""The pages of docs/reference that are made from the code, so that they cannot be out of date.

python -m casparian.app.reference docs/reference
"""

from __future__ import annotations

from collections.abc import Callable, Mapping


def pages() -> Mapping[str, Callable[[], str]]:
    """What makes each page, by the page's file name; a page ends with a line's end."""
    from casparian.app import config_reference
    from casparian.app.cli import reference as cli_reference
    from casparian.app.reference import protocol, sdk, tables

    return {
        "cli.md": cli_reference.reference,
        "configuration.md": config_reference.reference,
        "protocol.md": protocol.reference,
        "sdk.md": sdk.reference,
        "tables.md": tables.reference,
    }
