"""`casparian why`: the story of one file. How it reads for people stands in `_story`."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from casparian.app.cli._output import show_json
from casparian.app.cli._shared import ConfigOption, JsonOption, load_settings, open_stores
from casparian.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from casparian.adapters.queue import QueueStores
    from casparian.app.settings import Settings
    from casparian.domain.documents.files import FileStoryDocument


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
    settings = load_settings(ctx, config)
    with closing(open_stores(settings)) as stores:
        document = _tell(stores, path, settings)
    if as_json:
        show_json(document)
        return
    from casparian.app.cli._story import story

    print(story(document))


def _tell(stores: QueueStores, path: str, settings: Settings) -> FileStoryDocument:
    from casparian.app.cli._paths import find, unknown

    documents = find(stores, path)
    if not documents:
        raise ConfigurationError(unknown(stores, path, settings))
    wants = {plugin["name"]: plugin["tags"] for plugin in stores.reports.status()["plugins"]}
    for document in documents:
        _tell_of_the_file(stores, document, settings)
        for version in document["versions"]:
            for job in version["jobs"]:
                wanted = wants.get(job["plugin"], ())
                job["subscription"] = sorted(set(wanted) & set(version["tags"]))
    first, *others = documents
    first["others"] = others
    return first


def _tell_of_the_file(stores: QueueStores, document: FileStoryDocument, settings: Settings) -> None:
    """What keeps the file as it is now from becoming a version, and what the engine did with it."""
    from casparian.app.cli._departures import tell_departures
    from casparian.app.cli._not_taken import not_taken, unpacked_here
    from casparian.domain.files import path_bytes, path_text

    path = path_bytes(document["path"])
    ids = {path_text(root.path): root.id for root in stores.catalog.roots()}
    root_id = ids.get(document["source_root"])
    location = None if root_id is None else stores.catalog.find(root_id, path)
    known = location.identity if location is not None else None
    reason = not_taken(settings, document["source_root"], document["path"], known)
    if reason is not None:
        document["advice"].insert(0, reason)
    wanted = any(version["tags"] for version in document["versions"] if version["current"])
    if reason is None and not wanted and unpacked_here(settings, document["source_root"], path):
        document["advice"] = ["It is an archive: its members are files of their own."]
    if location is not None and hasattr(stores.catalog, "departures_of"):
        tell_departures(document, stores.catalog.departures_of(location.id))
