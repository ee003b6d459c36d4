"""`casparian forget`: files are seen as new at the next scan, and it is known who asked."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from casparian.app.cli._jobs import actor
from casparian.app.cli._output import count, show_json, show_table
from casparian.app.cli._shared import ConfigOption, JsonOption, load_settings, open_stores
from casparian.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from casparian.adapters.queue import QueueStores
    from casparian.app.cli.change_shapes import ForgottenDocument, ForgottenFileDocument
    from casparian.app.settings import Settings


def forget(
    ctx: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH", help="Files by their path below the source root, or in the file system."
        ),
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """See files as new at the next scan.

    Each gets a new version then, with jobs of its own, though its content may be the same:
    topics of mode replace get their rows again in place of the old, topics of mode append get
    them once more. What is published stays until then. The history of the jobs of the version
    that stands says who asked.

    Exits with 2, with nothing changed, when a file is not known, or when several source roots
    have a file of that path.

    Example: casparian forget 2013/flights.csv
    """
    settings = load_settings(ctx, config)
    with closing(open_stores(settings)) as stores:
        # All are found before the first is forgotten.
        chosen = dict(_location(stores, path, settings) for path in paths)
        for location_id in chosen:
            stores.catalog.forget(location_id, actor())
    if as_json:
        document: ForgottenDocument = {"forgotten": list(chosen.values())}
        show_json(document)
        return
    show_table(
        ("path", "versions", "source_root"),
        [(file["path"], file["versions"], file["source_root"]) for file in chosen.values()],
        numbers=["versions"],
    )
    print(f"{count(len(chosen), 'file')} forgotten: the next scan records a new version of each.")


def _location(
    stores: QueueStores, path: str, settings: Settings
) -> tuple[int, ForgottenFileDocument]:
    """The location that `path` means, and how it is told."""
    from casparian.app.cli._paths import find, unknown
    from casparian.domain.files import path_bytes, path_text

    documents = find(stores, path)
    if not documents:
        raise ConfigurationError(f"{unknown(stores, path, settings)} Nothing was forgotten.")
    if len(documents) > 1:
        roots = ", ".join(document["source_root"] for document in documents)
        raise ConfigurationError(
            f"Several source roots have a file {path!r} ({roots}): give its path in the file "
            "system. Nothing was forgotten."
        )
    (document,) = documents
    roots_by_path = {path_text(root.path): root for root in stores.catalog.roots()}
    root = roots_by_path.get(document["source_root"])
    found = root and stores.catalog.find(root.id, path_bytes(document["path"]))
    if not found:
        raise ConfigurationError(
            f"The source root {document['source_root']!r} of {path!r} is no longer in the "
            "configuration, so that no scan would find the file. Nothing was forgotten."
        )
    return found.id, {
        "path": document["path"],
        "source_root": document["source_root"],
        "versions": found.versions,
    }
