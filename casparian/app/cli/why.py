"""`casparian why`: the story of one file. How it reads for people stands in `_story`."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from casparian.app.cli._output import show_json
from casparian.app.cli._paths import find, unknown
from casparian.app.cli._shared import ConfigOption, JsonOption, load_settings, open_stores
from casparian.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from casparian.adapters.queue import QueueStores


def why(
    ctx: typer.Context,
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH", help="The file's path below its source root, or in the file system."
        ),
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """The story of one file.

    Its versions, the rule that gave each tag, its jobs, what went wrong in which attempt,
    where its rows are, and what to do.

    Where several source roots know the path, the first is told and the others are named.

    Example: casparian why 2013/flights.csv
    """
    with closing(open_stores(load_settings(ctx, config))) as stores:
        document = _tell(stores, path)
    if as_json:
        show_json(document)
        return
    from casparian.app.cli._story import story

    print(story(document))


def _tell(stores: QueueStores, path: str) -> dict[str, Any]:
    documents = find(stores, path)
    if not documents:
        raise ConfigurationError(unknown(stores, path))
    wants = {plugin["name"]: plugin["tags"] for plugin in stores.reports.status()["plugins"]}
    for document in documents:
        for version in document["versions"]:
            for job in version["jobs"]:
                wanted = wants.get(job["plugin"], ())
                job["subscription"] = sorted(set(wanted) & set(version["tags"]))
    first, *others = documents
    if others:
        first["others"] = others
    return first
